package main

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

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
