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
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

func main() {
	var o options
	flag.StringVar(&o.ipiptrace, "ipiptrace", "", "the binary to test; empty: test the lab alone")
	flag.StringVar(&o.tiers, "tiers", strings.Join(tiers, ","), "back-ends")
	flag.StringVar(&o.set, "set", "quick", "quick: every fault in auto, six in each forced back-end; full: all in all, more connections, and what explain says")
	flag.StringVar(&o.run, "run", "", "only scenarios that match")
	flag.StringVar(&o.update, "update", "", "write verdict.golden of each scenario below this directory")
	flag.StringVar(&o.sessionDir, "sessions", "", "write session.txt of each scenario below this directory, and test nothing else")
	flag.StringVar(&o.record, "record", "", "record each scenario, with states, below this directory, and do nothing else")
	flag.BoolVar(&o.doctorOnly, "doctor", false, "ask doctor of each scenario, without any traffic, and do nothing else")
	flag.BoolVar(&o.doctorLarge, "doctor-large", false, "measure doctor on a machine with very much of everything, and do nothing else")
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
	ipiptrace, tiers, set, run, update, sessionDir, record string
	// reasons: this kernel has drop reasons.
	reasons bool
	// examines: doctor is asked of some scenarios, too; doctorOnly: of each, and nothing else is done.
	examines, doctorOnly bool
	// doctorLarge: doctor is measured, and nothing else is done.
	doctorLarge bool
}

func (o options) test(ctx context.Context, r *report) error {
	only, err := regexp.Compile(o.run)
	if err != nil {
		return err
	}
	if _, ok := sets[o.set]; !ok {
		return fmt.Errorf("-set %s: want quick or full", o.set)
	}
	if o.doctorLarge {
		return o.large(ctx, r)
	}
	if o.reasons, err = hasReasons(); err != nil {
		return err
	}
	if err := firewall(ctx); err != nil {
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
	if o.sessionDir != "" {
		o.sessions(ctx, r, l, only)
		return nil
	}
	if o.doctorOnly {
		return o.doctors(ctx, r, l, only)
	}
	if o.record != "" {
		return o.tapes(ctx, r, l, only)
	}
	for _, tier := range strings.Split(o.tiers, ",") {
		began := time.Now()
		o.tier(ctx, r, l, only, tier)
		if tier == auto {
			o.besides(ctx, r, l, only)
		}
		r.note("%s took %v", tier, time.Since(began).Round(100*time.Millisecond))
	}
	r.note("commands of explain took %v", r.explaining.Round(100*time.Millisecond))
	r.gaps()
	return nil
}

// firewall loads what every machine has loaded whose firewall is nftables or iptables-nft: the kernel is seen using a rule
// a moment after nf_tables came under a run, and one that rejects only if its module was there before.
func firewall(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "modprobe", "-a", "nf_tables", "nft_reject_inet", "nft_reject_ipv4", "nft_compat").CombinedOutput()
	if err != nil {
		return fmt.Errorf("modprobe: %w: %s", err, out)
	}
	return nil
}

// besides are the checks that need runs of their own.
func (o options) besides(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp) {
	if only.MatchString("replay") {
		r.check("replay", o.replay(ctx, l))
	}
	if only.MatchString("unchanged") {
		r.check("unchanged", o.unchanged(ctx, r, l))
	}
	if o.set == "full" || strings.Contains(o.run, "explain") {
		o.pages(ctx, r, l, only)
	}
}

// hasReasons asks the kernel whether it says why it frees a packet.
func hasReasons() (bool, error) {
	format, err := os.ReadFile("/sys/kernel/tracing/events/skb/kfree_skb/format")
	return strings.Contains(string(format), "skb_drop_reason reason;"), err
}

// lab plays each scenario between two healthy rounds and watches only the client.
func (o options) lab(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp) error {
	for _, s := range fault.Scenarios() {
		if only.MatchString(s.Name) && fault.Lacks(ctx, l, s) == nil {
			before := readCounts(l, s.Counts)
			_, err := o.play(ctx, r, l, s)
			r.check("lab/"+s.Name, err)
			r.check("lab/"+s.Name+"/counters", before.rise(3))
			r.check("lab/"+s.Name+"/undo", o.repair(ctx, l, s, several))
		}
	}
	before := readCounts(l, clean())
	_, err := o.healthy(ctx, r, l, round{tier: "lab", watched: everywhere, healthy: sets[o.set].connections}, func() {})
	r.check("lab/healthy/no-errors", before.rose(0, 0))
	return err
}

// play injects the fault and checks that the client sees what the scenario says. The window is the traffic's: what
// injecting needs itself may be lost, too.
func (o options) play(ctx context.Context, r *report, l *lab.Lab, s fault.Scenario) (during window, err error) {
	during = window{scenario: s}
	err = fault.Inject(ctx, l, s)
	if o.examines && err == nil && turn(s) {
		r.check("doctor/"+s.Name, o.doctor(ctx, l, s))
	}
	during.from = time.Now()
	if err != nil {
		return during, err
	}
	var errs []error
	results, err := l.Traffics(ctx, s.Traffic)
	errs = append(errs, err)
	for i, t := range s.Traffic {
		r.note("%s %s: %s", s.Name, t.Proto, results[i])
		if err := results[i].Saw(t.Want); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Proto, err))
		}
	}
	during.to = time.Now()
	return during, errors.Join(errs...)
}

// repair undoes the fault and checks that every request is answered again, so many of each kind.
func (o options) repair(ctx context.Context, l *lab.Lab, s fault.Scenario, count int) error {
	if err := fault.Undo(ctx, l, s); err != nil {
		return err
	}
	return answered(ctx, l, "undo", count)
}

// several connections and exchanges are asked for where nothing has shown yet that all is well again; else it is one.
const several = 3

// answered checks that so many requests of each kind are answered, after what was done for it.
func answered(ctx context.Context, l *lab.Lab, after string, count int) error {
	healthy := fault.Healthy().Traffic
	for i := range healthy {
		healthy[i].Count = count
	}
	results, err := l.Traffics(ctx, healthy)
	errs := []error{err}
	for i, t := range healthy {
		if err := results[i].Saw(lab.Answered); err != nil {
			errs = append(errs, fmt.Errorf("after the %s, %s: %w", after, t.Proto, err))
		}
	}
	return errors.Join(errs...)
}
