package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
	"ipiptrace/internal/recording"
	"ipiptrace/tracer/event"
)

// tapes records every scenario with the state of the machine that explains it, as <scenario>/<kernel>.jsonl.zst below
// the directory. Tests that need no guest replay them to the golden verdict.
func (o options) tapes(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp) error {
	kernel, err := kernelName()
	if err != nil {
		return err
	}
	for _, rd := range tapeRounds() {
		if rd, ok := rd.playable(ctx, r, l, only); ok {
			r.check("record/"+rd.String(), o.tapesOf(ctx, r, l, rd, kernel))
		}
	}
	return nil
}

// tapeRounds are one attach for each namespace that is watched, and one for each fault that must be there before.
func tapeRounds() (rounds []round) {
	var pinned, others []fault.Scenario
	for _, s := range fault.Scenarios() {
		switch {
		case s.Pinned:
			pinned = append(pinned, s)
		case s.Code == "" && s.Watched == "":
			s.Watched = everywhere // that nothing is lost, is said of all
			fallthrough
		default:
			others = append(others, s)
		}
	}
	for _, watched := range []lab.Role{everywhere, lab.RealServer, lab.Director} {
		of := faultsOf(watched, others)
		if watched == everywhere {
			of = append(of, faultsOf(lab.Switch, others)...)
		}
		rounds = append(rounds, round{tier: auto, watched: watched, scenarios: of})
	}
	for _, s := range pinned {
		rounds = append(rounds, round{tier: auto, watched: lab.RealServer, scenarios: []fault.Scenario{s}, before: true})
	}
	return rounds
}

// kernelName is what recordings of this kernel are called: "6.1".
func kernelName() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	if len(parts) < 3 {
		return "", fmt.Errorf("uname: release %q", u.Release)
	}
	return parts[0] + "." + parts[1], nil
}

// tapesOf records a round's scenarios under one attach, each for itself.
func (o options) tapesOf(ctx context.Context, r *report, l *lab.Lab, rd round, kernel string) error {
	if rd.before {
		if err := fault.Inject(ctx, l, rd.scenarios[0]); err != nil {
			return errors.Join(err, fault.Undo(ctx, l, rd.scenarios[0]))
		}
	}
	t, err := o.recording(ctx, l, rd)
	if err != nil {
		return errors.Join(err, fault.Undo(ctx, l, rd.scenarios[0]))
	}
	for _, s := range rd.scenarios {
		t.rewind()
		rewound := time.Now()
		during, err := o.play(ctx, r, l, s)
		if s.Notice {
			during.from = rewound // what is said of a packet may hang on those that came while the fault was brought about
		}
		run, events, wrong := o.awaitTape(l, t, during)
		if err = errors.Join(err, wrong); err == nil {
			err = recording.Recording{Dir: o.record, Scenario: s.Name, Kernel: kernel}.Write(run, events)
		} else if len(events) > 0 {
			// For people, who look into it: it is no recording.
			err = errors.Join(err, recording.Recording{Dir: o.record, Scenario: filepath.Join("refused", s.Name), Kernel: kernel}.Write(run, events))
		}
		r.check("record/"+s.Name, errors.Join(err, o.repair(ctx, l, s, 1)))
	}
	return t.stop()
}

// awaitTape waits until what was seen of the traffic says what the golden verdict says, and returns it.
func (o options) awaitTape(l *lab.Lab, t *tape, during window) (run event.Run, events []event.Event, err error) {
	o.update = ""
	for began := time.Now(); time.Since(began) < verdictPatience; time.Sleep(200 * time.Millisecond) {
		all := t.so()
		run, events = recording.Cut(t.run, all, during.from)
		if err = o.saidBy(l, during.scenario, run, events); err == nil || t.failed() != nil {
			break
		}
	}
	return run, events, cmp.Or(t.failed(), err)
}

// saidBy checks that a replay says the golden verdict, and of so many flows of each kind of traffic as were lost.
func (o options) saidBy(l *lab.Lab, s fault.Scenario, run event.Run, events []event.Event) error {
	journeys, err := replayed(run, func(yield func(event.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	own, err := o.own(l, s, journeys)
	return errors.Join(err, o.golden(s.Name, own))
}

// own are those journeys of a scenario's traffic that end as it says they do; an error if they are too few. Where nothing
// is wrong there are none: all arrived.
func (o options) own(l *lab.Lab, s fault.Scenario, journeys []line) (own []line, err error) {
	if s.Code == "" {
		return nil, silent(s, journeys, 0)
	}
	for _, t := range s.Traffic {
		want, ok := o.expected(l, s, t.Proto, auto)
		if !ok {
			return nil, errors.New("the scenario does not say how its journeys end")
		}
		flows := map[flow]bool{}
		for _, j := range journeys {
			if want.ours(j) {
				own = append(own, j)
				flows[j.flow()] = true
			}
		}
		if len(flows) < t.Count {
			err = errors.Join(err, fmt.Errorf("%s: %d were lost, %d journeys say so", t.Proto, t.Count, len(flows)))
		}
	}
	return own, err
}

// tape is a run that records: what it has written since it was last rewound.
type tape struct {
	cmd   *exec.Cmd
	ended chan error
	// run is there once the first line was read.
	run event.Run

	mu     sync.Mutex
	events []event.Event
	broken error
}

// recording starts a run that records, as the round says.
func (o options) recording(ctx context.Context, l *lab.Lab, rd round) (t *tape, err error) {
	t = &tape{}
	begun := make(chan struct{})
	args := []string{"record", "-", "-q", "--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port), "--netns", rd.netns(l)}
	t.cmd, t.ended, err = launch(ctx, l, o.ipiptrace, args, func(out io.Reader) { t.read(out, begun) })
	if err != nil {
		return nil, err
	}
	<-begun
	return t, t.failed()
}

// read takes what the run writes, until it ends.
func (t *tape) read(out io.Reader, begun chan<- struct{}) {
	in, err := event.NewReader(out)
	t.broken = err
	if err == nil {
		t.run = in.Run()
	}
	close(begun)
	if err != nil {
		return
	}
	for e, err := range in.Events() {
		t.mu.Lock()
		if t.broken = err; err == nil {
			t.events = append(t.events, e)
		}
		t.mu.Unlock()
	}
}

func (t *tape) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

// so is what was seen so far.
func (t *tape) so() []event.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.events)
}

// rewind forgets what was seen, but for what is watched by now.
func (t *tape) rewind() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.events {
		if e.Kind == event.Watch {
			t.run.Probes = e.Probes
		}
	}
	t.events = nil
}

// stop ends the run.
func (t *tape) stop() error {
	err := t.cmd.Process.Signal(syscall.SIGINT)
	<-t.ended // status 1: something was lost
	return err
}
