package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// pairs are two faults at once, the one first that the packet meets first: it is named, and the other one with it as
// what comes next, if both are on one machine. Once they are repaired, or the first one is, the rest follows.
var pairs = []struct {
	first, second string
	// apart: the second is on another machine, whose state is not asked.
	apart bool
}{
	{"weight-zero", "tunnel-down", true},
	{"no-service", "rp-filter", true},
	{"tc-drop", "firewall-outer", false},
	{"firewall-outer", "vip-missing", false},
	{"tunnel-down", "firewall-input", false},
	{"rp-filter", "firewall-input", false},
	{"rp-filter", "no-listener", false},
	{"vip-missing", "no-listener", false},
	{"firewall-input", "no-return-route", false},
	{"firewall-legacy", "firewall-output", false},
}

// pairs plays each pair and repairs it with what ipiptrace prints, step by step.
func (o options) pairs(ctx context.Context, r *report, l *lab.Lab, w *watch) afterwards {
	unseen := 0
	for _, p := range pairs {
		missing, err := o.pair(ctx, r, l, w, [2]string{p.first, p.second}, p.apart)
		r.check(fmt.Sprintf("pair/%s+%s", p.first, p.second), err)
		unseen += missing
	}
	return afterwards{"pairs", func(account line) error {
		if unseen > 0 && account.missed() == 0 {
			return fmt.Errorf("%d losses were not told, and the kernel had missed nothing", unseen)
		}
		return nil
	}}
}

// pair plays two faults, and counts the losses that were not told.
func (o options) pair(ctx context.Context, r *report, l *lab.Lab, w *watch, names [2]string, apart bool) (unseen int, err error) {
	var both [2]fault.Scenario
	for i, name := range names {
		s, ok := fault.Named(name)
		if !ok {
			return 0, fmt.Errorf("no scenario %s", name)
		}
		if err := fault.Inject(ctx, l, s); err != nil {
			return 0, err
		}
		both[i] = s
	}
	defer func() {
		err = errors.Join(err, fault.Undo(ctx, l, both[1]), fault.Undo(ctx, l, both[0]), answered(ctx, l, "undo", several))
	}()
	r.check(fmt.Sprintf("doctor/%s+%s", names[0], names[1]), o.doctorPair(ctx, l, both))
	lost, unseen, err := o.step(ctx, r, l, w, both[0])
	if err != nil {
		return unseen, fmt.Errorf("step 1: %w", err)
	}
	repaired := !apart
	for _, j := range lost {
		named, fixed := j.foretells(both[1].Code)
		if j.Gaps == 0 && named == apart {
			return unseen, fmt.Errorf("that %s comes next is said: %v, in %s", both[1].Code, named, j.raw)
		}
		repaired = repaired && fixed
	}
	if repaired {
		return unseen, answered(ctx, l, "repair of both", several)
	}
	_, missing, err := o.step(ctx, r, l, w, both[1])
	if err != nil {
		err = fmt.Errorf("step 2: %w", err)
	}
	return unseen + missing, err
}

// foretells reports whether a journey's cause names another one as what comes next, and has commands for it.
func (j line) foretells(code string) (named, fixed bool) {
	if j.Cause == nil {
		return false, false
	}
	for _, n := range j.Cause.Next {
		if n.Code == code {
			return true, len(n.Fix) > 0
		}
	}
	return false, false
}

// step plays one fault's traffic, checks that the fault is named, and repairs it with what is printed.
func (o options) step(ctx context.Context, r *report, l *lab.Lab, w *watch, s fault.Scenario) (lost []line, unseen int, err error) {
	during := window{from: time.Now()}
	if _, err := l.Traffics(ctx, s.Traffic); err != nil {
		return nil, 0, err
	}
	during.to = time.Now()
	late := lateAnswer(l)
	for _, t := range s.Traffic {
		found := w.await(during, t.Count, func(j line) bool { return (j.lost() || late(j)) && j.Inner.Proto == wire(t.Proto) })
		seen := countFlows(found)
		if seen == 0 {
			return lost, unseen, fmt.Errorf("%s: of %d losses by %s none was told", t.Proto, t.Count, s.Name)
		}
		unseen += max(0, t.Count-seen)
		r.verdicts += max(seen, t.Count)
		lost = append(lost, found...)
	}
	r.doubtful += unseen
	for _, j := range lost {
		switch {
		case late(j) || j.Cause != nil && j.Cause.Code == s.Code:
		case j.Gaps > 0 && j.Cause != nil && j.Cause.Certainty == "unknown":
			r.doubtful++
		default:
			return lost, unseen, fmt.Errorf("want the cause %s, got\n%s\nin %s", s.Code, j.saying(), j.raw)
		}
	}
	fixed, err := o.fix(ctx, r, l, lost)
	if err == nil && !fixed {
		// No command can: a service that is not there, a person starts.
		err = fault.Undo(ctx, l, s)
	}
	return lost, unseen, err
}
