package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
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

// TestAReplayCountsWhatTheRecordingCounted records losses whose states are read behind the end, in two namespaces, one
// after the other, and a packet that is open at the end. The states come late, and their time ends nothing.
func TestAReplayCountsWhatTheRecordingCounted(t *testing.T) {
	client, vip := netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("10.99.0.1")
	seen := func(id uint64, netns uint32) event.Event {
		return event.Event{
			Time: time.Second, Seen: time.Second, Place: event.NetifReceiveSkb, First: true, Skb: id, ID: id, Netns: netns,
			Packet: &event.Packet{
				Dev: "tunl0", Inner: event.Header{Src: client, Dst: vip, Protocol: unix.IPPROTO_UDP, Len: 60}, HasPorts: true, SrcPort: uint16(id), DstPort: 80,
			},
		}
	}
	freed := func(id uint64, netns uint32) event.Event {
		return event.Event{
			Time: time.Second + time.Millisecond, Seen: time.Second, Place: event.KfreeSkb, Skb: id, ID: id, Netns: netns,
			Drop: &event.Drop{Function: "nft_do_chain", Symbol: "nft_do_chain+0x1", Reason: "NETFILTER_DROP"},
		}
	}
	run := slices.Values([]event.Event{
		seen(1, 7), freed(1, 7), seen(2, 8), freed(2, 8), seen(3, 7), {Kind: event.End, Time: 2 * time.Second, Totals: &event.Totals{}},
	})
	state := func(netns uint32, at time.Duration) event.Event {
		text, err := json.Marshal(labHost(netns))
		check(t, err)
		return event.Event{Kind: event.State, Netns: netns, Time: at, Host: text}
	}
	rest := slices.Values([]event.Event{state(7, 10*time.Second), state(8, 20*time.Second)})
	stream := func(events iter.Seq[event.Event]) event.Stream {
		return func(yield func(event.Event, error) bool) {
			for e := range events {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
	var b, said bytes.Buffer
	late := func() bool { return true }
	inquiry := diagnose.NewInquiry()
	inquiry.Until(late, late)
	assembler := journey.New(journey.Options{})
	r := &recording{Writer: &b}
	check(t, r.keep(event.Run{Start: time.Unix(1e9, 0)}, source{events: stream(run), rest: stream(rest)}, assembler, inquiry))
	account := inquiry.Account(assembler.Account())
	check(t, sayAccount(&said, account))
	if _, replayed := replayed(b.Bytes(), "text"); replayed != said.String() || account.Open != 1 || account.Lost != 2 {
		t.Errorf("recorded:\n%sreplayed:\n%s", said.String(), replayed)
	}
}
