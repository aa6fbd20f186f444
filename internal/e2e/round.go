package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// auto is the tier that ipiptrace chooses itself, tracepoint the one without functions.
const (
	auto       = "auto"
	tracepoint = "tracepoint"
)

// tiers are the values of --backend.
var tiers = []string{auto, "fentry", "kprobe-multi", "kprobe", tracepoint}

// mayLack are the tiers that a kernel of ours need not have; ipiptrace says so itself, with exit status 3.
var mayLack = []string{"kprobe-multi"}

// everywhere, as what is being watched, is --netns all.
const everywhere = fault.Everywhere

// set says how much is tested.
type set struct {
	// forced are the faults under a forced tier; empty is all.
	forced []string
	// connections is the number of healthy connections, and of exchanges, in each round that watches everything; one
	// that watches a single namespace has half of them.
	connections int
}

var sets = map[string]set{
	"quick": {forced: []string{"rp-filter", "tunnel-down", "firewall-input", "tc-drop", "no-listener", "weight-zero"}, connections: 100},
	"full":  {connections: 500},
}

// round is one attach: what is played meanwhile.
type round struct {
	tier string
	// watched is the namespace: a role, or everywhere.
	watched   lab.Role
	scenarios []fault.Scenario
	// pairs of faults are played, too, and deferred is a service that waits for data.
	pairs, deferred bool
	// healthy is the number of connections and of exchanges at the end.
	healthy int
	// before: the fault is there before ipiptrace is.
	before bool
	// show is the value of --only, for text; empty is JSON of everything.
	show string
}

func (r round) String() string {
	if r.before {
		return fmt.Sprintf("%s/%s/%s", r.tier, r.watched, r.scenarios[0].Name)
	}
	return fmt.Sprintf("%s/%s", r.tier, r.watched)
}

// netns is the namespace, as --netns has it.
func (r round) netns(l *lab.Lab) string {
	if r.watched == everywhere {
		return string(everywhere)
	}
	return l.Node(r.watched).Path()
}

// rounds of auto watch each fault in the namespace in which it is, and the whole chain when all is well, or if a
// packet is lost where it should not be.
// A forced tier watches everything at once.
func (s set) rounds(tier string) []round {
	var faults, modules []fault.Scenario
	for _, f := range fault.Scenarios() {
		switch {
		case f.Name == "healthy" || tier != auto && (unforced(f) || len(s.forced) > 0 && !slices.Contains(s.forced, f.Name)):
		case f.Pinned:
			modules = append(modules, f)
		default:
			faults = append(faults, f)
		}
	}
	rounds := []round{{tier: tier, watched: everywhere, scenarios: faults, deferred: tier == tracepoint, healthy: s.connections}}
	if tier == auto {
		rounds = []round{
			{
				tier: tier, watched: everywhere, scenarios: append(faultsOf(lab.Switch, faults), faultsOf(everywhere, faults)...),
				pairs: true, deferred: true, healthy: s.connections,
			},
			{tier: tier, watched: lab.RealServer, scenarios: faultsOf(lab.RealServer, faults), healthy: s.connections / 2},
			{tier: tier, watched: lab.Director, scenarios: faultsOf(lab.Director, faults), healthy: s.connections / 2},
		}
	}
	for _, f := range modules {
		rounds = append(rounds, round{tier: tier, watched: lab.RealServer, scenarios: []fault.Scenario{f}, before: true})
	}
	return rounds
}

// unforced are the scenarios that only auto is to show: a notice depends on what is watched, too, and those without a
// fault are asked of once.
func unforced(s fault.Scenario) bool { return s.Code == "" || s.Notice || s.Unforced }

// faultsOf are those for which the role is to be watched.
func faultsOf(watched lab.Role, all []fault.Scenario) (of []fault.Scenario) {
	for _, s := range all {
		if s.Watch() == watched {
			of = append(of, s)
		}
	}
	return of
}

// only leaves the scenarios that match, and what else does by its name; ok is false if nothing is left.
func (r round) only(run *regexp.Regexp) (left round, ok bool) {
	r.scenarios = slices.DeleteFunc(r.scenarios, func(s fault.Scenario) bool { return !run.MatchString(s.Name) })
	if !run.MatchString("healthy") {
		r.healthy = 0
	}
	r.pairs, r.deferred = r.pairs && run.MatchString("pairs"), r.deferred && run.MatchString("deferred")
	return r, r.some()
}

func (r round) some() bool { return len(r.scenarios) > 0 || r.healthy > 0 || r.pairs || r.deferred }

// playable is only, without the scenarios that this kernel can't have: it notes why.
func (r round) playable(ctx context.Context, to *report, l *lab.Lab, run *regexp.Regexp) (left round, ok bool) {
	left, _ = r.only(run)
	left.scenarios = slices.DeleteFunc(left.scenarios, func(s fault.Scenario) bool {
		err := fault.Lacks(ctx, l, s)
		if err != nil {
			to.note("skipped: %v", err)
		}
		return err != nil
	})
	return left, left.some()
}

// tier plays the tier's rounds; if this kernel does not have the tier, it notes what ipiptrace said.
func (o options) tier(ctx context.Context, r *report, l *lab.Lab, run *regexp.Regexp, tier string) {
	for _, rd := range sets[o.set].rounds(tier) {
		rd, ok := rd.playable(ctx, r, l, run)
		if !ok {
			continue
		}
		err := o.round(ctx, r, l, rd)
		if errors.Is(err, errCannot) && slices.Contains(mayLack, tier) {
			r.check(tier+"/not-here", nil)
			return
		}
		r.check(rd.String()+"/attach", err)
	}
}

// round attaches, plays and takes the account.
func (o options) round(ctx context.Context, r *report, l *lab.Lab, rd round) error {
	o.examines = rd.tier == auto
	if rd.before {
		if err := fault.Inject(ctx, l, rd.scenarios[0]); err != nil {
			return errors.Join(err, fault.Undo(ctx, l, rd.scenarios[0]))
		}
	}
	w, err := start(ctx, l, o.ipiptrace, rd)
	if err != nil {
		if rd.before {
			err = errors.Join(err, fault.Undo(ctx, l, rd.scenarios[0]))
		}
		return err
	}
	r.note("%s: ready after %v", rd, w.ready.Round(time.Millisecond))
	r.check(rd.String()+"/ready", soon(w.ready))
	after, err := o.during(ctx, r, l, w, rd)
	if err != nil {
		return errors.Join(err, kill(w.cmd, w.ended))
	}
	w.settle(latest)
	if rd.before {
		w.settle(loading)
	}
	peak := w.peakRSS()
	account, err := w.stop()
	r.note("%s: peak memory %s; %s", rd, peak, account.raw)
	r.check(rd.String()+"/account", errors.Join(err, complete(account)))
	for _, c := range after {
		r.check(c.name, c.ask(account))
	}
	return nil
}

// afterwards is a check that is made when the round is over, and all has been said.
type afterwards struct {
	name string
	ask  func(account line) error
}

// during plays all that a round has. An error ends the round.
func (o options) during(ctx context.Context, r *report, l *lab.Lab, w *watch, rd round) (after []afterwards, err error) {
	for _, s := range rd.scenarios {
		play := o.scenario
		if s.Code == "" {
			play = o.twin
		}
		p, name := play(ctx, r, l, w, rd, s), fmt.Sprintf("%s/%s", rd, s.Name)
		after = append(after, afterwards{name + "/nothing-else", func(a line) error { return o.nothingElse(l, w, rd, p, a.missed()) }})
		if s.Code == "" {
			after = append(after, afterwards{name + "/silent", func(a line) error { return silent(s, w.during(p), a.missed()) }})
		}
	}
	if rd.pairs {
		after = append(after, o.pairs(ctx, r, l, w))
	}
	if rd.deferred {
		after = append(after, o.deferred(ctx, r, l, w, rd))
	}
	if rd.healthy > 0 {
		crowds, err := o.healthy(ctx, r, l, rd, func() { w.settle(late) })
		if err != nil {
			return after, err
		}
		for _, c := range crowds {
			after = append(after, afterwards{c.name, func(a line) error { return w.allArrived(r, l, rd.watched, c, a) }})
		}
	}
	return after, nil
}

// scenario plays one fault, checks what ipiptrace says of it, and repairs it.
func (o options) scenario(ctx context.Context, r *report, l *lab.Lab, w *watch, rd round, s fault.Scenario) window {
	name := rd.String()
	if !rd.before {
		name += "/" + s.Name
	}
	started := time.Now()
	began, err := o.play(ctx, r, l, s)
	r.check(name+"/client", err)
	lost, errs := o.verdicts(r, l, w, rd, &began)
	for i, t := range s.Traffic {
		r.check(fmt.Sprintf("%s/%s", name, t.Proto), errs[i])
	}
	left := several
	if rd.tier == auto {
		r.check(name+"/verdict", o.golden(s.Name, lost))
		if fixed, err := o.fix(ctx, r, l, lost); fixed {
			r.check(name+"/fix", err)
			r.check(name+"/fixed", answered(ctx, l, "fix", several))
			left = 1
		}
	}
	r.check(name+"/undo", o.repair(ctx, l, s, left))
	r.note("%s took %v", name, time.Since(started).Round(10*time.Millisecond))
	return began
}

// loading is how long ipiptrace may take, in an emulated guest, to watch the places of a module that came. It reads nothing
// meanwhile, and at its end it waits for nothing.
const loading = 5 * time.Second

// patient is how long it may take until ipiptrace is ready in an emulated guest: many times what it should,
// machines are noisy.
const patient = 30 * time.Second

func soon(ready time.Duration) error {
	if ready > patient {
		return fmt.Errorf("ready after %v, more than %v", ready, patient)
	}
	return nil
}
