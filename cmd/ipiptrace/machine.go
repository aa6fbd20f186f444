package main

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/host/read"
	"ipiptrace/tracer"
	"ipiptrace/tracer/event"
)

// explaining is the flag that says whether losses are explained.
type explaining struct{ noDiagnose bool }

func (x *explaining) define(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&x.noDiagnose, "no-diagnose", false, "report what was seen, read no host state")
}

// before has the machine's state read beside a run with that filter, from before the run begins; nil if losses are
// not to be explained.
func (x *explaining) before(filter event.Filter) *machine {
	if x.noDiagnose {
		return nil
	}
	m := &machine{
		options:  read.Options{VIPs: filter.VIPs, Ports: filter.Ports, Client: filter.Client},
		asked:    make(chan diagnose.Ask, diagnose.MaxAsked),
		read:     make(chan event.Event),
		counters: map[uint32]history{},
		lastRead: lastRead,
	}
	m.count(filter.Netns)
	return m
}

// start says at the start of a run what its causes will lack.
func (x *explaining) start(talk *talking, w io.Writer) {
	if lacks := stateLacks(permitted()); lacks != "" && !x.noDiagnose {
		talk.progress(w, "%s", lacks)
	}
}

// source is a live run's, with the machine's state if losses are to be explained. The process keeps the
// privileges that it needs for that, and no others.
func (m *machine) source(live *liveRun) (source, *diagnose.Inquiry) {
	live.rights.attached(m != nil)
	if m == nil {
		return source{events: live.events(), stop: live.stop}, nil
	}
	m.live = live
	m.reading, m.waiting = soonAfter(live.ctx, m.lastRead), soonAfter(live.ctx, m.lastRead+lastWait)
	go m.work()
	inquiry := diagnose.NewInquiry()
	over := soonAfter(live.ctx, m.lastRead+lastExplained)
	inquiry.Until(func() bool { return m.waiting.Err() != nil }, func() bool { return over.Err() != nil })
	return source{events: m.join(live.events()), ask: m.ask, rest: m.rest, stop: live.stop}, inquiry
}

// machine reads the state of the machine beside a run: a loss waits for it, the ring does not.
type machine struct {
	options read.Options
	live    *liveRun
	// reading is done when no more is read, waiting when nobody waits any more for what was read.
	reading, waiting context.Context
	// asked has room for all that an Inquiry asks for at a time.
	asked chan diagnose.Ask
	read  chan event.Event
	// lastRead is how long after the end of the run a state is still read. What could not be read by then is said in it.
	lastRead time.Duration
	// due is the number of states that were asked for and not handed on.
	due int
	// counters are those that tell of losses, as they were read, of the maxCounted namespaces that were read last.
	counters map[uint32]history
}

// history is what counters were, the oldest reading first.
type history []tally

type tally struct {
	at       time.Duration
	counters map[string]uint64
}

// ago is longer than it takes from a loss to its end as a journey. Counters are compared with a reading that is at least
// so much older than the first loss that it is to explain: on a busy machine a loss may wait for seconds.
const ago = 3 * time.Second

// counting is how long the run may wait for that on a machine of many namespaces and processes.
const counting = 500 * time.Millisecond

// maxCounted bounds the namespaces whose counters are kept: they come and go, and nobody says which are gone.
const maxCounted = 1 << 10

// count reads the counters of a namespace, of all if it is 0, before the run begins.
func (m *machine) count(inode uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), counting)
	defer cancel()
	var all []read.Namespace
	if inode == 0 {
		all = read.Namespaces(ctx)
	} else if ns, err := read.Netns(inode); err == nil {
		all = append(all, ns)
	}
	for _, ns := range all {
		if ctx.Err() != nil {
			return
		}
		if counters, err := ns.Telling(); err == nil {
			m.remember(ns.Inode(), history{{at: tracer.Now(), counters: counters}})
		}
	}
}

// remember keeps the counters of a namespace, and lets go of those that were not read for the longest time.
func (m *machine) remember(inode uint32, h history) {
	m.counters[inode] = h
	if len(m.counters) <= maxCounted {
		return
	}
	oldest := inode
	for i, h := range m.counters {
		if h.last().at < m.counters[oldest].last().at {
			oldest = i
		}
	}
	delete(m.counters, oldest)
}

func (h history) last() tally { return h[len(h)-1] }

// fallen reports whether a counter is lower than it was. The kernel gives the inode number of a namespace that is gone
// to the next one: what was counted there says nothing of this one.
func (h history) fallen(counters map[string]uint64) bool {
	return len(h) > 0 && slices.ContainsFunc(host.Telling, func(name string) bool { return counters[name] < h.last().counters[name] })
}

// compare says what has risen since shortly before a time, in a namespace whose counters were read before; at is when
// they were read now.
func (m *machine) compare(s *host.Snapshot, since, at time.Duration) {
	if s.Counters == nil {
		return
	}
	h := m.counters[s.Netns]
	if h.fallen(s.Counters) {
		h = nil
	}
	for len(h) > 1 && since-h[1].at >= ago {
		h = h[1:]
	}
	if len(h) > 0 {
		s.Compare(h[0].counters)
	}
	m.remember(s.Netns, append(h, tally{at: at, counters: host.OnlyTelling(s.Counters)}))
}

// The times of reading.
const (
	// readPause is between two states, at least.
	readPause = 200 * time.Millisecond
	// readTime is what one state may take.
	readTime = 10 * time.Second
	// lastRead is how long after the end of a run a state is still read, recordRead the same of what is kept: the machine
	// can't be asked again.
	lastRead   = 200 * time.Millisecond
	recordRead = time.Second
	// lastWait is how long after that a state is waited for: some parts can't be broken off.
	lastWait = 50 * time.Millisecond
	// lastExplained is how long after that more losses are explained than an Inquiry always explains.
	lastExplained = lastWait + 50*time.Millisecond
)

// soonAfter is a context that ends so long after ctx.
func soonAfter(ctx context.Context, delay time.Duration) context.Context {
	later, end := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(delay, end) })
	return later
}

// ask has namespaces read. It does not wait: the Inquiry asks for no more than there is room for.
func (m *machine) ask(asks []diagnose.Ask) {
	for _, a := range asks {
		m.asked <- a
		m.due++
	}
}

// work reads what is asked for, for as long as the process lives.
func (m *machine) work() {
	for ask := range m.asked {
		var e event.Event
		m.live.rights.during(func() { e = m.state(ask) })
		m.read <- e
		select {
		case <-time.After(readPause):
		case <-m.live.ctx.Done():
		}
	}
}

// state reads a namespace.
func (m *machine) state(ask diagnose.Ask) event.Event {
	inode := ask.Netns
	e := event.Event{Kind: event.State, Time: tracer.Now(), Netns: inode}
	ctx, cancel := context.WithTimeout(m.reading, readTime)
	defer cancel()
	var s *host.Snapshot
	if ns, err := read.Netns(inode); err == nil {
		s = read.Snapshot(ctx, ns, m.options)
		m.compare(s, ask.Since, e.Time)
	} else {
		delete(m.counters, inode)
		s = &host.Snapshot{Netns: inode, Unread: []host.Unread{{Part: host.PartAll, Why: err.Error()}}}
	}
	e.Host, _ = json.Marshal(s) // plain data
	return e
}

// join puts what was read among the events of a run. Behind the last of them it is what rest has: a recording shows by
// that what was open when the state came.
func (m *machine) join(events event.Stream) event.Stream {
	return func(yield func(event.Event, error) bool) {
		for e, err := range events {
			if !yield(e, err) || err == nil && e.Kind == event.End {
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

// rest is what was asked for and has not been handed on, for as long as it is waited for: what is missing then is
// unread.
func (m *machine) rest(yield func(event.Event, error) bool) {
	m.live.stop() // the events may have ended by themselves
	for m.due > 0 {
		select {
		case state := <-m.read:
			if m.due--; m.waiting.Err() != nil || !yield(state, nil) { // what is of no use here is of none in a recording
				return
			}
		case <-m.waiting.Done():
			return
		}
	}
}
