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
	first := map[string]error{}
	for _, p := range pairs {
		name := fmt.Sprintf("pair/%s+%s", p[0], p[1])
		err := o.pair(ctx, r, l, w, p)
		if err != nil {
			r.note("%s is played once more: %v", name, err)
			first[name] = err
			err = o.pair(ctx, r, l, w, p)
		}
		r.check(name, err)
	}
	account, err := w.stop()
	for name, wrong := range first {
		r.check(name+"/missed", excused(window{first: wrong}, account))
	}
	return err
}

func (o options) pair(ctx context.Context, r *report, l *lab.Lab, w *watch, names [2]string) (err error) {
	var both [2]fault.Scenario
	for i, name := range names {
		s, ok := fault.Named(name)
		if !ok {
			return fmt.Errorf("no scenario %s", name)
		}
		if err := fault.Inject(ctx, l, s); err != nil {
			return err
		}
		both[i] = s
	}
	defer func() {
		err = errors.Join(err, fault.Undo(ctx, l, both[1]), fault.Undo(ctx, l, both[0]), answered(ctx, l, "undo"))
	}()
	for i, s := range both {
		began := window{from: time.Now()}
		if _, err := l.Traffics(ctx, s.Traffic); err != nil {
			return err
		}
		began.to = time.Now()
		late := lateAnswer(l)
		var lost []line
		for _, t := range s.Traffic {
			found := w.await(began, t.Count, func(j line) bool { return (j.lost() || late(j)) && j.Inner.Proto == wire(t.Proto) })
			if len(found) < t.Count {
				return fmt.Errorf("%s: of %d losses by %s %d were told", t.Proto, t.Count, s.Name, len(found))
			}
			lost = append(lost, found...)
		}
		for _, j := range lost {
			if !late(j) && (j.Cause == nil || j.Cause.Code != s.Code) {
				return fmt.Errorf("step %d: want the cause %s, got\n%s\nin %s", i+1, s.Code, j.saying(), j.raw)
			}
		}
		fixed, err := o.fix(ctx, r, l, lost)
		if err != nil {
			return err
		}
		if !fixed {
			// No command can: a service that is not there, a person starts.
			if err := fault.Undo(ctx, l, s); err != nil {
				return err
			}
		}
	}
	return nil
}
