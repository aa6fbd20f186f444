package main

import (
	"context"
	"testing"
	"time"

	"ipiptrace/internal/host"
	"ipiptrace/tracer/event"
)

// TestOnlyWhatRoseOfLateIsEvidence reads a namespace again and again.
func TestOnlyWhatRoseOfLateIsEvidence(t *testing.T) {
	const name = "Tcp.InCsumErrors"
	m := &machine{counters: map[uint32]history{1: {{at: 0, counters: map[string]uint64{name: 100}}}}}
	at := func(netns uint32, since, when time.Duration, n uint64) *host.Snapshot {
		s := &host.Snapshot{Netns: netns, Counters: map[string]uint64{name: n}}
		m.compare(s, since, when)
		return s
	}
	for _, step := range []struct {
		what     string
		netns    uint32
		since    time.Duration
		when     time.Duration
		n        uint64
		compared bool
		risen    uint64
	}{
		{"what was counted before the run", 1, time.Minute, time.Minute, 100, true, 0},
		{"what came then", 1, time.Minute + time.Second, time.Minute + time.Second, 103, true, 3},
		{"the same, for another loss of that moment", 1, time.Minute + 1500*time.Millisecond, time.Minute + 1500*time.Millisecond, 103, true, 3},
		{"the same, for a loss of that moment that waited", 1, time.Minute + 1500*time.Millisecond, time.Minute + 8*time.Second, 103, true, 3},
		{"the same, later", 1, time.Minute + 9*time.Second, time.Minute + 9*time.Second, 103, true, 0},
		{"a namespace that was not read before", 2, time.Minute, time.Minute, 5, false, 0},
		{"the same, a moment later", 2, time.Minute + time.Second, time.Minute + time.Second, 6, true, 1},
		{"another namespace that was given the same inode number", 2, time.Minute + 2*time.Second, time.Minute + 2*time.Second, 4, false, 0},
		{"that one, a moment later", 2, time.Minute + 3*time.Second, time.Minute + 3*time.Second, 5, true, 1},
	} {
		s := at(step.netns, step.since, step.when, step.n)
		if s.Compared != step.compared || s.Risen[name] != step.risen {
			t.Errorf("%s: compared %v, risen by %d; want %v, %d", step.what, s.Compared, s.Risen[name], step.compared, step.risen)
		}
	}
	if s := at(1, time.Hour, time.Hour, 103); s.Counted(name) != 0 {
		t.Errorf("counted %d", s.Counted(name))
	}
	if len(m.counters[1]) > 3 {
		t.Errorf("%d readings are kept", len(m.counters[1]))
	}
}

// TestCountersOfNamespacesThatAreGoneAreGivenBack lets ten times as many come and go as are kept.
func TestCountersOfNamespacesThatAreGoneAreGivenBack(t *testing.T) {
	m := &machine{counters: map[uint32]history{}}
	const last = 10 * maxCounted
	for i := uint32(1); i <= last; i++ {
		m.compare(&host.Snapshot{Netns: i, Counters: map[string]uint64{}}, time.Duration(i)*time.Second, time.Duration(i)*time.Second)
		m.compare(&host.Snapshot{Netns: 1, Counters: map[string]uint64{}}, time.Duration(i)*time.Second, time.Duration(i)*time.Second)
	}
	if n := len(m.counters); n > maxCounted {
		t.Errorf("the counters of %d namespaces are kept", n)
	}
	if m.counters[1] == nil || m.counters[last] == nil || m.counters[2] != nil {
		t.Error("it is not the longest unread ones that went")
	}
}

// TestStateThatTakesTooLongIsNotWaitedForInTheEnd asks for two states; one is read before the run ends, one never.
func TestStateThatTakesTooLongIsNotWaitedForInTheEnd(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	m := &machine{live: &liveRun{ctx: ctx, stop: stop}, read: make(chan event.Event, 1), due: 2}
	m.waiting = soonAfter(ctx, 300*time.Millisecond)
	m.read <- event.Event{Kind: event.State, Netns: 1}
	if m.waiting.Err() != nil {
		t.Error("nobody waits although the run goes on")
	}
	states := 0
	for range m.rest {
		states++
	}
	if states != 1 || ctx.Err() == nil {
		t.Errorf("%d states, the run has ended: %v", states, ctx.Err())
	}
}
