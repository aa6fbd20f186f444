package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// pairs are two faults at once, the one first that the packet meets first: it is named, and once it is repaired
// the other one is.
var pairs = [][2]string{
	{"weight-zero", "tunnel-down"},
	{"no-service", "rp-filter"},
	{"tc-drop", "firewall-outer"},
	{"firewall-outer", "vip-missing"},
	{"tunnel-down", "firewall-input"},
	{"rp-filter", "firewall-input"},
	{"rp-filter", "no-listener"},
	{"vip-missing", "no-listener"},
	{"firewall-input", "no-return-route"},
	{"firewall-legacy", "firewall-output"},
}

// pairs plays each pair and repairs it with what ipiptrace prints, step by step.
func (o options) pairs(ctx context.Context, r *report, l *lab.Lab) error {
	w, err := start(ctx, l, o.ipiptrace, round{tier: auto, watched: everywhere})
	if err != nil {
		return err
	}
	unseen := 0
	for _, p := range pairs {
		missing, err := o.pair(ctx, r, l, w, p)
		r.check(fmt.Sprintf("pair/%s+%s", p[0], p[1]), err)
		unseen += missing
	}
	account, err := w.stop()
	if unseen > 0 && account.missed() == 0 {
		err = errors.Join(err, fmt.Errorf("%d losses were not told, and the kernel had missed nothing", unseen))
	}
	return err
}

// pair plays two faults, and counts the losses that were not told.
func (o options) pair(ctx context.Context, r *report, l *lab.Lab, w *watch, names [2]string) (unseen int, err error) {
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
		err = errors.Join(err, fault.Undo(ctx, l, both[1]), fault.Undo(ctx, l, both[0]), answered(ctx, l, "undo"))
	}()
	for i, s := range both {
		missing, err := o.step(ctx, r, l, w, s)
		unseen += missing
		if err != nil {
			return unseen, fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return unseen, nil
}

// step plays one fault's traffic, checks that the fault is named, and repairs it with what is printed.
func (o options) step(ctx context.Context, r *report, l *lab.Lab, w *watch, s fault.Scenario) (unseen int, err error) {
	during := window{from: time.Now()}
	if _, err := l.Traffics(ctx, s.Traffic); err != nil {
		return 0, err
	}
	during.to = time.Now()
	late := lateAnswer(l)
	var lost []line
	for _, t := range s.Traffic {
		found := w.await(during, t.Count, func(j line) bool { return (j.lost() || late(j)) && j.Inner.Proto == wire(t.Proto) })
		seen := countFlows(found)
		if seen == 0 {
			return unseen, fmt.Errorf("%s: of %d losses by %s none was told", t.Proto, t.Count, s.Name)
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
			return unseen, fmt.Errorf("want the cause %s, got\n%s\nin %s", s.Code, j.saying(), j.raw)
		}
	}
	fixed, err := o.fix(ctx, r, l, lost)
	if err == nil && !fixed {
		// No command can: a service that is not there, a person starts.
		err = fault.Undo(ctx, l, s)
	}
	return unseen, err
}
