// Command e2e proves, inside a guest, that ipiptrace sees what the lab does: for each back-end one
// attach, and under it every scenario, then many healthy connections. Without -ipiptrace it proves
// the lab itself: each fault breaks the traffic as it should, and undoing it repairs it.
//
// It prints a line a check, in the manner of go test, and ends with status 1 if one failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"ipiptrace/internal/lab"
)

func main() {
	var o options
	flag.StringVar(&o.ipiptrace, "ipiptrace", "", "the binary to test; empty: test the lab alone")
	flag.StringVar(&o.tiers, "tiers", "fentry,kprobe,tracepoint", "back-ends, one attach each")
	flag.StringVar(&o.run, "run", "", "only scenarios that match")
	flag.BoolVar(&o.causes, "causes", false, "check the cause's code as well")
	flag.BoolVar(&o.reasons, "reasons", true, "this kernel has drop reasons")
	flag.IntVar(&o.connections, "connections", 100, "healthy connections and exchanges at the end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var r report
	if err := o.test(ctx, &r); err != nil {
		r.check("run", err)
	}
	os.Exit(r.end())
}

// options are the flags.
type options struct {
	ipiptrace, tiers, run string
	causes, reasons       bool
	connections           int
}

func (o options) test(ctx context.Context, r *report) error {
	only, err := regexp.Compile(o.run)
	if err != nil {
		return err
	}
	started := time.Now()
	l, err := lab.Build(ctx)
	if err != nil {
		return err
	}
	defer func() { r.check("lab/close", l.Close()) }()
	r.note("lab built in %v", time.Since(started).Round(time.Millisecond))
	if o.ipiptrace == "" {
		return o.lab(ctx, r, l, only)
	}
	for _, tier := range strings.Split(o.tiers, ",") {
		r.check(tier+"/attach", o.tier(ctx, r, l, only, tier))
	}
	return nil
}

// lab plays each scenario between two healthy rounds and watches only the client.
func (o options) lab(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp) error {
	for _, s := range lab.Scenarios() {
		if only.MatchString(s.Name) {
			before := readTraces(l, tracesOf(s.Name))
			r.check("lab/"+s.Name, o.play(ctx, r, l, s))
			r.check("lab/"+s.Name+"/counters", before.rose(3, math.MaxInt))
			r.check("lab/"+s.Name+"/undo", o.repair(ctx, r, l, s))
		}
	}
	before := readTraces(l, clean())
	err := o.healthy(ctx, r, l, "lab", nil)
	r.check("lab/healthy/no-errors", before.rose(0, 0))
	return err
}

// play injects the fault and checks that the client sees what the scenario says.
func (o options) play(ctx context.Context, r *report, l *lab.Lab, s lab.Scenario) error {
	if err := l.Inject(ctx, s); err != nil {
		return err
	}
	var errs []error
	for _, t := range s.Traffic {
		got, err := l.Traffic(ctx, t)
		r.note("%s %s: %s", s.Name, t.Proto, got)
		if err == nil {
			err = got.Saw(t.Want)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Proto, err))
		}
	}
	return errors.Join(errs...)
}

// repair undoes the fault and checks that every request is answered again.
func (o options) repair(ctx context.Context, r *report, l *lab.Lab, s lab.Scenario) error {
	if err := l.Undo(ctx, s); err != nil {
		return err
	}
	for _, t := range lab.Scenarios()[0].Traffic {
		got, err := l.Traffic(ctx, t)
		if err == nil {
			err = got.Saw(lab.Answered)
		}
		if err != nil {
			return fmt.Errorf("after undo, %s: %w", t.Proto, err)
		}
	}
	return nil
}
