package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/host/read"
	"ipiptrace/tracer/event"
)

// explaining is the flag that says whether losses are explained.
type explaining struct{ noDiagnose bool }

func (x *explaining) define(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&x.noDiagnose, "no-diagnose", false, "report what was seen, read no host state")
}

// source is a live run's, with the machine's state if losses are to be explained. The process keeps the
// privileges that it needs for that, and no others.
func (x *explaining) source(live *liveRun) (source, *diagnose.Inquiry) {
	live.rights.attached(x.noDiagnose)
	if x.noDiagnose {
		return source{events: live.events()}, nil
	}
	filter := live.Run().Filter
	m := &machine{
		options: read.Options{VIPs: filter.VIPs, Ports: filter.Ports, Client: filter.Client},
		rights:  live.rights,
		asked:   make(chan uint32, 1<<10),
		read:    make(chan event.Event),
	}
	go m.work()
	return source{events: m.join(live.events()), ask: m.ask, rest: m.rest}, diagnose.NewInquiry()
}

// machine reads the state of the machine beside a run: a loss waits for it, the ring does not.
type machine struct {
	options read.Options
	rights  *rights
	asked   chan uint32
	read    chan event.Event
	// due is the number of states that were asked for and not handed on.
	due int
}

// The pauses of reading: between two states at least that, and at the end of a run no more than that.
const (
	readPause = 200 * time.Millisecond
	lastWait  = 10 * time.Second
)

// ask has namespaces read. It does not wait; what is too much is not read.
func (m *machine) ask(netns []uint32) {
	for _, inode := range netns {
		select {
		case m.asked <- inode:
			m.due++
		default:
		}
	}
}

// work reads what is asked for, for as long as the process lives.
func (m *machine) work() {
	for inode := range m.asked {
		var e event.Event
		m.rights.during(func() { e = m.state(inode) })
		m.read <- e
		time.Sleep(readPause)
	}
}

// state reads a namespace.
func (m *machine) state(inode uint32) event.Event {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	e := event.Event{Kind: event.State, Time: time.Duration(now.Nano()), Netns: inode}
	ctx, cancel := context.WithTimeout(context.Background(), lastWait)
	defer cancel()
	var s *host.Snapshot
	if ns, err := read.Netns(inode); err == nil {
		s = read.Snapshot(ctx, ns, m.options)
	} else {
		s = &host.Snapshot{Netns: inode, Unread: []host.Unread{{Part: host.PartAll, Why: err.Error()}}}
	}
	e.Host, _ = json.Marshal(s) // plain data
	return e
}

// join puts what was read among the events of a run.
func (m *machine) join(events event.Stream) event.Stream {
	return func(yield func(event.Event, error) bool) {
		for e, err := range events {
			if !yield(e, err) {
				return
			}
			select {
			case state := <-m.read:
				m.due--
				if !yield(state, nil) {
					return
				}
			default:
			}
		}
	}
}

// rest is what was asked for and has not been handed on.
func (m *machine) rest(yield func(event.Event, error) bool) {
	timeout := time.After(lastWait)
	for m.due > 0 {
		select {
		case state := <-m.read:
			m.due--
			if !yield(state, nil) {
				return
			}
		case <-timeout:
			return
		}
	}
}
