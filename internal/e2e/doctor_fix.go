package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// byHand are the scenarios whose fault no command ends that doctor could print, and what a person has to do.
var byHand = []struct {
	what      string
	scenarios []string
}{
	{"the service is started, or bound otherwise, by whoever runs it", []string{
		"no-listener", "no-listener-untold", "listener-wrong-address", "listener-loopback", "listener-ipv6only", "listener-wrong-device", "listener-on-tunnel", "min-ttl",
		"local-node-silent", "local-node-route", "local-node-address",
	}},
	{"which real servers there are to be is known to nobody here", []string{"no-service", "no-destination"}},
	{"the director has to send to another address, or the tunnel of IPsec to have another peer", []string{"tunnel-vti-peer", "tunnel-vti-local"}},
}

// nobodysCommand is what a person has to do about a scenario's fault; ok is false if doctor prints commands that end it.
func nobodysCommand(scenario string) (what string, ok bool) {
	for _, b := range byHand {
		if slices.Contains(b.scenarios, scenario) {
			return b.what, true
		}
	}
	return "", false
}

// mend runs what doctor has printed, as it is printed, where doctor was asked: of what loses packets or may, and of the codes that
// are the matter. It has the codes of which commands were run.
func (o options) mend(ctx context.Context, r *report, l *lab.Lab, at lab.Role, all []found, matter ...string) (codes []string, err error) {
	var done []string
	for _, f := range all {
		if f.Severity == "note" && !slices.Contains(matter, f.Code) {
			continue
		}
		for _, text := range f.Fix {
			codes = append(codes, f.Code)
			if slices.Contains(done, text) {
				continue
			}
			done = append(done, text)
			if err := o.shell(ctx, r, l, at, text); err != nil {
				return codes, err
			}
		}
	}
	return codes, nil
}

// mended runs doctor's commands, and checks that the scenario's packets pass then, and that doctor finds nothing any more. Where
// there are none, it checks that none is expected.
func (o options) mended(ctx context.Context, r *report, l *lab.Lab, s fault.Scenario, all []found) error {
	codes, err := o.mend(ctx, r, l, s.Where(), all, s.Code)
	what, hand := nobodysCommand(s.Name)
	own := slices.Contains(codes, s.Code)
	sure := slices.ContainsFunc(all, func(f found) bool { return f.Code == s.Code && f.Severity != "note" })
	switch {
	case err != nil:
		return err
	case !sure && !own:
		r.note("it is a note, and no command is printed")
		return nil
	case hand && own:
		return fmt.Errorf("doctor has commands, and was said to have none: %s", what)
	case hand:
		return nil
	case !own:
		return fmt.Errorf("doctor has no command against it:\n%s", listFound(all))
	}
	if err := passes(ctx, l, s, all); err != nil {
		return err
	}
	after, err := o.examine(ctx, l, s)
	if err != nil {
		return err
	}
	return gone(s, after)
}

// passes checks that the scenario's own packets are answered, as far as they are a client's and doctor was asked about their
// protocol (which one has a service for a mark is not known), and else ordinary ones.
func passes(ctx context.Context, l *lab.Lab, s fault.Scenario, all []found) error {
	var own []lab.Traffic
	for _, t := range s.Traffic {
		if t.Frame == nil && asked(all, t.Proto) {
			own = append(own, lab.Traffic{Proto: t.Proto, Count: t.Count, Request: t.Request, Answer: t.Answer, Close: t.Close, Deadline: 10 * time.Second})
		}
	}
	if len(own) == 0 {
		return answered(ctx, l, "doctor", 1)
	}
	results, err := l.Traffics(ctx, own)
	for i, t := range own {
		if lost := results[i].Saw(lab.Answered); lost != nil {
			err = errors.Join(err, fmt.Errorf("after doctor, %s: %w", t.Proto, lost))
		}
	}
	return err
}

// gone checks that nothing loses packets any more.
func gone(s fault.Scenario, after []found) error {
	for _, f := range after {
		if f.Severity == "fault" || f.Severity == "risk" && !slices.Contains(alsoFound(s.Name), f.Code) {
			return fmt.Errorf("after its commands doctor finds\n%s", f.raw)
		}
	}
	return nil
}

// asked reports whether doctor has asked about a protocol.
func asked(all []found, p lab.Proto) bool {
	for _, s := range all[len(all)-1].Services {
		if slices.ContainsFunc(s.Asked, func(what string) bool { return strings.HasPrefix(what, string(p)+" ") }) {
			return true
		}
	}
	return false
}
