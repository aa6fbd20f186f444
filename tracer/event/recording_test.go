package event

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sampleRun() Run {
	return Run{
		Start: time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC), Mono: 77 * time.Second, Kernel: "6.1.0-56-cloud-amd64",
		Filter: Filter{
			VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}, Ports: []uint16{80, 443},
			Client: netip.MustParsePrefix("203.0.113.0/24"), Proto: 6, Netns: 4026532244,
		},
		Probes: []Probe{
			{Place: TCPRcv, Name: "tcp_v4_rcv", Mechanism: "fentry", Symbol: "tcp_v4_rcv"},
			{Place: IPTunnelRcv, Name: "ip_tunnel_rcv", Why: "module ip_tunnel is not loaded"},
		},
	}
}

func sampleEvents() []Event {
	client, vip := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("10.99.0.1")
	missed := uint64(3)
	return []Event{
		{
			Time: 78 * time.Second, Place: NetifReceiveSkb, First: true, Reused: true, Skb: 0xffff888103f9c400, Seen: 78 * time.Second,
			ID: 0x9f2c4e10a7b3d581, Netns: 4026532244, Ifindex: 2, CPU: 3,
			Packet: &Packet{
				Dev:      "eth0",
				Outer:    &Header{Src: netip.MustParseAddr("10.0.1.2"), Dst: netip.MustParseAddr("10.0.1.5"), TTL: 63, Protocol: 17, ID: 4711, Len: 80, SrcPort: 40000, DstPort: 5555, FOU: true},
				Inner:    Header{Src: client, Dst: vip, TTL: 62, Protocol: 6, ID: 1, Len: 60, Frag: 0x4000},
				HasPorts: true, SrcPort: 41522, DstPort: 80, Seq: 4294967295, Ack: 1, TCPFlags: SYN | ECE, Segments: 2, SkbLen: 60,
			},
		},
		{
			Time: 78 * time.Second, Place: KfreeSkb, First: true, Skb: 9, Seen: 9, ID: 9,
			Packet: &Packet{NoInner: true, Outer: &Header{Src: client, Dst: vip, Protocol: 4}, Inner: Header{Src: netip.AddrFrom4([4]byte{}), Dst: netip.AddrFrom4([4]byte{})}},
		},
		{Time: 78*time.Second + 1, Place: NfHookSlow, Returned: true, Skb: 1, Seen: 1, ID: 1, Value: -1, Aux: 1 | 2<<8},
		{Time: 78*time.Second + 2, Place: GroMerged, Skb: 1, Seen: 1, ID: 1, Peer: 1 << 63},
		{
			Time: 78*time.Second + 3, Place: IPLocalOut, First: true, Skb: 2, Seen: 2, ID: 1,
			Packet: &Packet{Inner: Header{Src: client, Dst: vip, Protocol: 17}, Quoted: true, ICMPType: 3, ICMPCode: 1, HasPorts: true, Options: true, UDPLen: 40},
		},
		{
			Time: 78*time.Second + 4, Place: InetSockSetState, Value: 7, Aux: 5,
			Packet: &Packet{FlowOnly: true, Inner: Header{Src: client, Dst: vip, Protocol: 6}, SrcPort: 1, DstPort: 80},
		},
		{
			Time: 78*time.Second + 5, Place: KfreeSkb, Skb: 1, Seen: 1, ID: 1, Value: 11,
			Drop: &Drop{
				Function: "ip_rcv_finish_core", Symbol: "ip_rcv_finish_core.constprop.0+0x1f4", Reason: "IP_RPFILTER",
				Stack: []string{"ip_rcv_finish_core.constprop.0+0x1f4", "ip_rcv+0x1"},
			},
		},
		{Kind: Tick, Time: 79 * time.Second},
		{Kind: Lost, Time: 79 * time.Second, Count: 1 << 60},
		{Kind: End, Time: 80 * time.Second, Totals: &Totals{
			Lost: 1 << 60, Missed: &missed, Untracked: 2, IPIP: 100,
			Inner: []Destination{{Addr: vip, Port: 8080, Protocol: 6, Tunnelled: true, Count: 9}},
		}},
		{Kind: Watch, Time: 80 * time.Second, Probes: []Probe{{Place: IPTunnelRcv, Name: "ip_tunnel_rcv", Mechanism: "fentry", Symbol: "ip_tunnel_rcv"}}},
		{Kind: State, Time: 81 * time.Second, Netns: 4026532244, Host: []byte(`{"netns":4026532244}`)},
	}
}

func write(t testing.TB, run Run, events []Event) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, run)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func read(t testing.TB, data []byte) (Run, []Event, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return Run{}, nil, err
	}
	var events []Event
	for e, err := range r.Events() {
		if err != nil {
			return r.Run(), events, err
		}
		events = append(events, e)
	}
	return r.Run(), events, nil
}

func TestARecordingIsExactlyWhatWasSeen(t *testing.T) {
	run, events, err := read(t, write(t, sampleRun(), sampleEvents()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(run, sampleRun()) {
		t.Errorf("run %+v\nwant %+v", run, sampleRun())
	}
	for i, want := range sampleEvents() {
		if !reflect.DeepEqual(events[i], want) {
			t.Errorf("event %d: %+v\nwant %+v", i, events[i], want)
		}
	}
	if len(events) != len(sampleEvents()) {
		t.Errorf("%d events, want %d", len(events), len(sampleEvents()))
	}
}

func TestEveryFieldIsRecorded(t *testing.T) {
	for what, v := range map[string]any{"event": Event{}, "packet": Packet{}, "header": Header{}, "drop": Drop{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name := typ.Field(i).Name
			set := false
			for _, e := range sampleEvents() {
				for _, part := range parts(e) {
					if reflect.TypeOf(part) == typ && !reflect.ValueOf(part).FieldByName(name).IsZero() {
						set = true
					}
				}
			}
			if !set {
				t.Errorf("no sample has %s.%s: the round trip is not tested", what, name)
			}
		}
	}
}

func parts(e Event) []any {
	all := []any{e}
	if p := e.Packet; p != nil {
		all = append(all, *p, p.Inner)
		if p.Outer != nil {
			all = append(all, *p.Outer)
		}
	}
	if e.Drop != nil {
		all = append(all, *e.Drop)
	}
	return all
}

func TestATruncatedRecordingSaysSoAfterWhatCameBefore(t *testing.T) {
	data := write(t, sampleRun(), sampleEvents())
	_, events, err := read(t, data[:len(data)-10])
	if !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), "line 13") {
		t.Errorf("%v, want truncated in line 13", err)
	}
	if len(events) != len(sampleEvents())-1 {
		t.Errorf("%d events before the end", len(events))
	}
}

func TestWhatCannotBeReadIsSaidWithItsLine(t *testing.T) {
	for what, test := range map[string]struct{ data, says string }{
		"nothing":                     {"", "empty"},
		"another file":                {"#!/bin/sh\n", "not a recording"},
		"another JSON file":           {`{"type":"journey"}` + "\n", "not a recording"},
		"a newer version":             {`{"type":"recording","version":2,"start":7}` + "\n", "version 2, this ipiptrace reads up to 1: recorded by a newer ipiptrace"},
		"no version":                  {`{"type":"recording"}` + "\n", "line 1: version 0"},
		"a header that is wrong":      {`{"type":"recording","version":1,"start":7}` + "\n", "line 1"},
		"a line that is no JSON":      {head + "\n" + "nonsense\n", "line 3"},
		"a place of a newer tracer":   {head + `{"t":1,"p":"warp_core"}` + "\n", `line 2: place "warp_core": recorded by a newer ipiptrace`},
		"a kind of a newer tracer":    {head + `{"t":1,"k":"warp"}` + "\n", `line 2: kind "warp"`},
		"a sighting without a place":  {head + `{"t":1}` + "\n", "line 2: a sighting without a place"},
		"an address that is a number": {head + `{"t":1,"p":"ip_rcv","s":7}` + "\n", "line 2"},
		"an address that is a word":   {head + `{"t":1,"p":"ip_rcv","s":"xyz"}` + "\n", "line 2"},
		"a line without end":          {head + strings.Repeat("x", maxLine+1), "line 2: longer than"},
	} {
		t.Run(what, func(t *testing.T) {
			if _, _, err := read(t, []byte(test.data)); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}

func TestUnknownKeysAreIgnored(t *testing.T) {
	data := `{"type":"recording","version":1,"start":"2026-01-02T03:04:05Z","colour":"blue"}` + "\n" +
		`{"t":1,"p":"ip_rcv","colour":{"r":1}}` + "\n"
	_, events, err := read(t, []byte(data))
	if err != nil || len(events) != 1 || events[0].Place != IPRcv {
		t.Errorf("%v, %v", events, err)
	}
}

func TestAWriterThatIsFullIsAnError(t *testing.T) {
	if _, err := NewWriter(full{}, Run{}); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func FuzzReader(f *testing.F) {
	f.Add(write(f, sampleRun(), sampleEvents()))
	f.Add([]byte(`{"type":"recording","version":1}` + "\n" + `{"k":"end","to":null}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		run, events, err := read(t, data)
		if err != nil {
			return
		}
		for _, e := range events {
			if e.Time < 0 || e.Time >= MaxTime || e.Packet != nil && (!e.Packet.Inner.Src.Is4() || !e.Packet.Inner.Dst.Is4()) {
				t.Errorf("%+v can't have been", e)
			}
		}
		if _, again, err := read(t, write(t, run, events)); err != nil || len(again) != len(events) {
			t.Errorf("what was read can't be written and read again: %v", err)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	events := sampleEvents()
	w, _ := NewWriter(discard{}, Run{})
	b.ReportAllocs()
	for i := range b.N {
		if err := w.Write(events[i%len(events)]); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// TestTheTextOfALargeStateIsNotKeptTwice: with both, a state of 46 MB needed 420 MiB.
func TestTheTextOfALargeStateIsNotKeptTwice(t *testing.T) {
	var data bytes.Buffer
	w, err := NewWriter(&data, Run{Start: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	state := []byte(`{"name":"` + strings.Repeat("v", maxEventLine) + `"}`)
	if err := w.Write(Event{Kind: State, Host: state}); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&data)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := r.read(); err != nil || len(e.Host) != len(state) || cap(r.buffer) > maxEventLine {
		t.Errorf("%v, a state of %d bytes, want %d; %d bytes are kept", err, len(e.Host), len(state), cap(r.buffer))
	}
}

// TestWhatIsOverwrittenBeginsAsARecording holds NewWriter and IsRecording together.
func TestWhatIsOverwrittenBeginsAsARecording(t *testing.T) {
	var b bytes.Buffer
	if _, err := NewWriter(&b, Run{}); err != nil || !IsRecording(&b) {
		t.Errorf("what NewWriter begins is no recording: %v", err)
	}
	for _, other := range []string{"", "{", `{"type":"account"}`, "precious"} {
		if IsRecording(strings.NewReader(other)) {
			t.Errorf("%q is taken for a recording", other)
		}
	}
}
