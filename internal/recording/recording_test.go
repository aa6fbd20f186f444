package recording

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// start is the wall clock when the monotonic one is 0.
var start = time.Unix(1_800_000_000, 0).UTC()

func TestCutLeavesThePacketsThatCameSince(t *testing.T) {
	const s = time.Second
	later := []event.Probe{{Name: "tunnel4_rcv", Symbol: "tunnel4_rcv", Mechanism: "fentry"}}
	events := []event.Event{
		{Kind: event.Sighting, Time: 1 * s, Seen: 1 * s, Skb: 1},
		{Kind: event.Watch, Time: 2 * s, Probes: later},
		{Kind: event.State, Time: 3 * s},
		{Kind: event.Sighting, Time: 10 * s, Seen: 10 * s, Skb: 2},
		{Kind: event.Sighting, Time: 11 * s, Seen: 1 * s, Skb: 1},
		{Kind: event.Sighting, Time: 12 * s, Skb: 3},
		{Kind: event.Watch, Time: 13 * s},
		{Kind: event.Lost, Time: 14 * s, Count: 1},
		{Kind: event.Sighting, Time: 22 * s, Seen: 10 * s, Skb: 2},
		{Kind: event.State, Time: 23 * s},
		{Kind: event.Tick, Time: 24 * s},
		{Kind: event.End, Time: 25 * s},
	}
	run, part := Cut(event.Run{Start: start}, events, start.Add(10*s))
	if !reflect.DeepEqual(run.Probes, later) {
		t.Errorf("what is watched from the beginning on: %+v", run.Probes)
	}
	want := slices.Concat(events[3:4], events[5:8], events[8:11])
	if !reflect.DeepEqual(part, want) {
		t.Errorf("got\n%+v\nwant\n%+v", part, want)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	r := Recording{t.TempDir(), "rp-filter", "6.1"}
	want := []event.Event{{Kind: event.Tick, Time: 5}, {Kind: event.Tick, Time: 7}}
	if err := r.Write(event.Run{Start: start, Kernel: "6.1.0"}, want); err != nil {
		t.Fatal(err)
	}
	all, err := All(r.Dir)
	if err != nil || !slices.Equal(all, []Recording{r}) {
		t.Fatalf("all are %v (%v)", all, err)
	}
	in, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	var got []event.Event
	for e, err := range in.Events() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if in.Run().Kernel != "6.1.0" || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %+v", in.Run(), got)
	}
}
