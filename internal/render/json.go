// Package render says journeys and accounts aloud, as text for people and as JSON for programs. It knows
// nothing that isn't in them, and reads neither clock nor environment.
package render

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// JSON writes one object a line; the schema is a contract.
type JSON struct {
	// Stack adds the kernel stack to each drop.
	Stack bool

	w io.Writer
}

// NewJSON writes to w, with one Write a line.
func NewJSON(w io.Writer) *JSON { return &JSON{w: w} }

// Journey writes a journey and, if it was lost, why. The error is the writer's.
func (out *JSON) Journey(v diagnose.Verdict) error {
	j := journeyOf(v.Journey, out.Stack)
	j.explain(v)
	return screen.JSON(out.w, j)
}

// Account writes the account. The error is the writer's.
func (out *JSON) Account(a journey.Account) error { return screen.JSON(out.w, accountOf(a)) }

type jsonJourney struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Start     string          `json:"start"`
	Role      string          `json:"role,omitempty"`
	Direction string          `json:"direction"`
	Outer     *jsonOuter      `json:"outer,omitempty"`
	Inner     *jsonInner      `json:"inner,omitempty"`
	Steps     []jsonStep      `json:"steps"`
	More      int             `json:"more,omitempty"`
	Fate      string          `json:"fate"`
	Drop      *jsonDrop       `json:"drop,omitempty"`
	Reject    *jsonReject     `json:"reject,omitempty"`
	Cause     *diagnose.Cause `json:"cause,omitempty"`
	Duplicate bool            `json:"duplicate,omitempty"`
	Became    string          `json:"became,omitempty"`
	Reply     string          `json:"reply,omitempty"`
	Related   string          `json:"related,omitempty"`
	Segments  int             `json:"segments,omitempty"`
	Notice    []jsonNotice    `json:"notice,omitempty"`
	Gaps      int             `json:"gaps"`
}

type jsonOuter struct {
	Src netip.Addr `json:"src"`
	Dst netip.Addr `json:"dst"`
	TTL uint8      `json:"ttl"`
	ID  uint16     `json:"id"`
	Len uint16     `json:"len"`
	// Proto is set if the tunnel is not IPIP.
	Proto string `json:"proto,omitempty"`
	// Sport and Dport are UDP's.
	Sport uint16 `json:"sport,omitempty"`
	Dport uint16 `json:"dport,omitempty"`
}

// tunnelNames are the outer headers' protocols beside IPIP.
var tunnelNames = map[uint8]string{17: "gue", 47: "gre"}

func outerOf(h *event.Header) *jsonOuter {
	if h == nil {
		return nil
	}
	name := tunnelNames[h.Protocol]
	if h.FOU {
		name = "fou"
	}
	return &jsonOuter{h.Src, h.Dst, h.TTL, h.ID, h.Len, name, h.SrcPort, h.DstPort}
}

type jsonInner struct {
	Proto string     `json:"proto"`
	Src   netip.Addr `json:"src"`
	Sport *uint16    `json:"sport,omitempty"`
	Dst   netip.Addr `json:"dst"`
	Dport *uint16    `json:"dport,omitempty"`
	Flags *string    `json:"flags,omitempty"`
	Seq   *uint32    `json:"seq,omitempty"`
	Len   uint16     `json:"len"`
}

type jsonStep struct {
	T       int64  `json:"t"`
	Hook    string `json:"hook"`
	Dev     string `json:"dev,omitempty"`
	Netns   uint32 `json:"netns,omitempty"`
	NfHook  string `json:"nf_hook,omitempty"`
	Verdict string `json:"verdict,omitempty"`
	Method  string `json:"method,omitempty"`
}

type jsonDrop struct {
	Function string `json:"function"`
	Symbol   string `json:"symbol,omitempty"`
	Reason   string `json:"reason,omitempty"`
	NfHook   string `json:"nf_hook,omitempty"`
	Decider  string `json:"decider,omitempty"`
	Dev      string `json:"dev,omitempty"`
	Netns    uint32 `json:"netns,omitempty"`
	jsonRules
	Stack []string `json:"stack,omitempty"`
}

type jsonReject struct {
	By   string `json:"by"`
	Type *uint8 `json:"type,omitempty"`
	Code *uint8 `json:"code,omitempty"`
	Sent bool   `json:"sent"`
	jsonRules
}

type jsonNotice struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
}

func journeyOf(j journey.Journey, stack bool) jsonJourney {
	out := jsonJourney{
		Type: "journey", ID: hexID(j.ID), Start: j.Start.UTC().Format(time.RFC3339Nano),
		Role: string(j.Role), Direction: string(j.Direction), Outer: outerOf(j.Outer), Inner: innerOf(j.Packet), Steps: stepsOf(j.Steps), More: j.More,
		Fate: string(j.Fate), Drop: dropOf(j.Drop, stack), Reject: rejectOf(j.Reject),
		Duplicate: j.Duplicate, Segments: j.Segments, Gaps: j.Gaps,
	}
	if j.Became != 0 {
		out.Became = hexID(j.Became)
	}
	if j.Related != 0 {
		out.Related = hexID(j.Related)
	}
	if j.ReplyLost {
		out.Reply = "lost"
	}
	for _, n := range j.Notices {
		out.Notice = append(out.Notice, jsonNotice(n))
	}
	return out
}

func hexID(id uint64) string { return fmt.Sprintf("%016x", id) }

// innerOf is nil if what was tunnelled is no IPv4 packet.
func innerOf(p event.Packet) *jsonInner {
	if p.NoInner {
		return nil
	}
	in := &jsonInner{Proto: protocol(p.Inner.Protocol), Src: p.Inner.Src, Dst: p.Inner.Dst, Len: p.Inner.Len}
	if p.HasPorts {
		in.Sport, in.Dport = &p.SrcPort, &p.DstPort
		if p.Inner.Protocol == protoTCP {
			flags := p.TCPFlags.String()
			in.Flags, in.Seq = &flags, &p.Seq
		}
	}
	return in
}

// stepsOf leaves out a namespace that is the same as at the step before.
func stepsOf(steps []journey.Step) []jsonStep {
	out := make([]jsonStep, len(steps))
	netns := uint32(0)
	for i, s := range steps {
		out[i] = jsonStep{T: s.T.Nanoseconds(), Hook: s.Place.String(), Dev: s.Dev, NfHook: s.NfHook, Verdict: s.Verdict, Method: s.Method}
		if s.Netns != netns {
			out[i].Netns, netns = s.Netns, s.Netns
		}
	}
	return out
}

func dropOf(d *journey.Drop, stack bool) *jsonDrop {
	if d == nil {
		return nil
	}
	out := &jsonDrop{Function: d.Function, Symbol: d.Symbol, Reason: d.Reason, NfHook: d.NfHook, Decider: d.Decider, Dev: d.Dev, Netns: d.Netns}
	if stack {
		out.Stack = d.Stack
	}
	return out
}

func rejectOf(r *journey.Reject) *jsonReject {
	if r == nil {
		return nil
	}
	out := &jsonReject{By: r.By, Sent: r.Sent}
	if r.By == journey.ByICMP {
		out.Type, out.Code = &r.Type, &r.Code
	}
	return out
}

// IP protocol numbers.
const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

var protocols = map[uint8]string{protoICMP: "icmp", protoTCP: "tcp", protoUDP: "udp"}

// protocol names an IP protocol, by its number if it is none of ours.
func protocol(number uint8) string {
	if name, ok := protocols[number]; ok {
		return name
	}
	return strconv.Itoa(int(number))
}

type jsonAccount struct {
	Type       string     `json:"type"`
	Journeys   int        `json:"journeys"`
	Arrived    int        `json:"arrived"`
	Lost       int        `json:"lost"`
	Open       int        `json:"open"`
	Unknown    int        `json:"unknown"`
	Events     uint64     `json:"events"`
	LostEvents uint64     `json:"lost_events"`
	Missed     *uint64    `json:"missed,omitempty"`
	Untracked  uint64     `json:"untracked"`
	NotIPv4    uint64     `json:"not_ipv4,omitempty"`
	Probes     jsonProbes `json:"probes"`
	Losses     []jsonLoss `json:"losses,omitempty"`
	Seen       *jsonSeen  `json:"seen,omitempty"`
}

type jsonProbes struct {
	Attached []string      `json:"attached"`
	Skipped  []jsonSkipped `json:"skipped"`
}

type jsonSkipped struct {
	Place string `json:"place"`
	Why   string `json:"why"`
}

type jsonLoss struct {
	Code     string `json:"code,omitempty"`
	Fate     string `json:"fate"`
	Function string `json:"function,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Dev      string `json:"dev,omitempty"`
	Count    int    `json:"count"`
}

type jsonSeen struct {
	IPIP  uint64            `json:"ipip"`
	Inner []jsonDestination `json:"inner"`
}

type jsonDestination struct {
	Dst       netip.Addr `json:"dst"`
	Dport     uint16     `json:"dport,omitempty"`
	Proto     string     `json:"proto"`
	Tunnelled bool       `json:"tunnelled"`
	Count     uint64     `json:"count"`
}

func accountOf(a journey.Account) jsonAccount {
	out := jsonAccount{
		Type: "account", Journeys: a.Journeys, Arrived: a.Arrived, Lost: a.Lost, Open: a.Open, Unknown: a.Unknown,
		Events: a.Events, LostEvents: a.LostEvents, Missed: a.Missed, Untracked: a.Untracked,
		Probes: jsonProbes{Attached: []string{}, Skipped: []jsonSkipped{}},
	}
	if a.Totals != nil {
		out.NotIPv4 = a.Totals.NotIPv4
	}
	for _, p := range a.Probes {
		if p.Attached() {
			out.Probes.Attached = append(out.Probes.Attached, p.Name)
		} else {
			out.Probes.Skipped = append(out.Probes.Skipped, jsonSkipped{p.Name, p.Why})
		}
	}
	for _, s := range a.Sites {
		out.Losses = append(out.Losses, jsonLoss{s.Code, string(s.Fate), s.Function, s.Reason, s.Dev, s.Count})
	}
	if a.Journeys == 0 && a.Totals != nil {
		out.Seen = &jsonSeen{IPIP: a.Totals.IPIP, Inner: []jsonDestination{}}
		for _, d := range a.Totals.Destinations() {
			out.Seen.Inner = append(out.Seen.Inner, jsonDestination{d.Addr, d.Port, protocol(d.Protocol), d.Tunnelled, d.Count})
		}
	}
	return out
}
