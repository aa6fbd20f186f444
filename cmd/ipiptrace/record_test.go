package main

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

func TestARecordingIsHarmlessToATerminalAndKeepsEveryName(t *testing.T) {
	const hostile = "\x1b\u009b\u202e\u2066\u200b\ufeff"
	addr := netip.MustParseAddr("192.0.2.10")
	seen := event.Event{
		Kind: event.Sighting, Place: event.NetifReceiveSkb,
		Packet: &event.Packet{Dev: hostile, Inner: event.Header{Src: addr, Dst: addr}},
	}
	events := func(yield func(event.Event, error) bool) { yield(seen, nil) }
	var b bytes.Buffer
	r := &recording{Writer: &b}
	if err := r.keep(event.Run{Kernel: hostile, Start: time.Unix(1e9, 0)}, source{events: events}, journey.New(journey.Options{}), diagnose.NewInquiry()); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), screen.IsObeyed) {
			t.Errorf("a terminal would obey %q", line)
		}
	}
	reader, err := event.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	back := slices.Collect(func(yield func(string) bool) {
		for e, err := range reader.Events() {
			if err != nil || !yield(e.Packet.Dev) {
				t.Error(err)
				return
			}
		}
	})
	if reader.Run().Kernel != hostile || !slices.Equal(back, []string{hostile}) {
		t.Errorf("%q, %q", reader.Run().Kernel, back)
	}
}

// TestWhatCouldNotBeWrittenIsLost has a disk that is full after the first line, and a run that goes on until it is stopped.
func TestWhatCouldNotBeWrittenIsLost(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.10")
	ctx, stop := context.WithCancel(t.Context())
	const after = 5
	events := func(yield func(event.Event, error) bool) {
		at, left := time.Duration(0), after
		for id := uint64(1); left > 0 && id < 1e6; id++ {
			if ctx.Err() != nil {
				left--
			}
			at++
			seen := event.Event{Time: at, Seen: at, Place: event.NetifReceiveSkb, First: true, Skb: id, ID: id, Packet: &event.Packet{Inner: event.Header{Src: addr, Dst: addr}}}
			if !yield(seen, nil) || !yield(event.Event{Kind: event.Tick, Time: at}, nil) {
				return
			}
		}
		yield(event.Event{Kind: event.End, Time: at, Totals: &event.Totals{Lost: 3}}, nil)
	}
	r := &recording{Writer: broken{unix.ENOSPC}}
	assembler := journey.New(journey.Options{})
	err := r.keep(event.Run{Start: time.Unix(1e9, 0)}, source{events: events, stop: stop}, assembler, diagnose.NewInquiry())
	account := assembler.Account()
	if !errors.Is(err, unix.ENOSPC) || account.Totals == nil || account.Events != 1 || account.LostEvents != 3+after || account.Unknown != 1 {
		t.Errorf("%v, %+v", err, account)
	}
}
