package read

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"ipiptrace/internal/host"
)

// ruleMessage is a rule as the kernel dumps it: struct fib_rule_hdr with an action, and attributes.
func ruleMessage(action byte, attrs ...*nl.RtAttr) []byte {
	m := []byte{2, 0, 24, 0x10, 100, 0, 0, action, ruleInvert, 0, 0, 0}
	for _, a := range attrs {
		m = append(m, a.Serialize()...)
	}
	return m
}

func TestWhatARuleAsksForIsReadOrSaidToBeUnread(t *testing.T) {
	pair := func(a, b uint32) []byte {
		return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, a), b)
	}
	ports := func(a, b uint16) []byte {
		return binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, a), b)
	}
	for what, test := range map[string]struct {
		message []byte
		want    host.Rule
	}{
		"old selectors": {
			ruleMessage(1, nl.NewRtAttr(ruleSrc, []byte{10, 0, 0, 0}), nl.NewRtAttr(rulePriority, nl.Uint32Attr(7)), nl.NewRtAttr(ruleTable, nl.Uint32Attr(300)), nl.NewRtAttr(ruleProtocol, []byte{2})),
			host.Rule{Priority: 7, From: netip.MustParsePrefix("10.0.0.0/24"), Action: "lookup", Table: 300},
		},
		"a mark of which a bit must not be set": {ruleMessage(1, nl.NewRtAttr(ruleMask, nl.Uint32Attr(1))), host.Rule{Action: "lookup", Table: 100, Mask: 1}},
		"ports and owners": {
			ruleMessage(6, nl.NewRtAttr(ruleSport, ports(80, 90)), nl.NewRtAttr(ruleDport, ports(80, 80)), nl.NewRtAttr(ruleDportMask, nl.Uint16Attr(0xfff0)), nl.NewRtAttr(ruleUIDs, pair(0, 5))),
			host.Rule{Action: "blackhole", Table: 100, Sport: [2]uint16{80, 90}, Dport: [2]uint16{80, 80}, DportMask: 0xfff0, UIDEnd: 6},
		},
		"a DSCP":             {ruleMessage(1, nl.NewRtAttr(ruleDSCP, []byte{0})), host.Rule{Action: "lookup", Table: 100, DSCPMask: 0x3f}},
		"a DSCP with a mask": {ruleMessage(1, nl.NewRtAttr(ruleDSCPMask, []byte{0x30}), nl.NewRtAttr(ruleDSCP, []byte{0x10})), host.Rule{Action: "lookup", Table: 100, DSCP: 0x10, DSCPMask: 0x30}},
		"a tunnel's key":     {ruleMessage(1, nl.NewRtAttr(ruleTunID, []byte{0, 0, 0, 0, 0, 0, 1, 2})), host.Rule{Action: "lookup", Table: 100, TunID: 258}},
		"what is newer":      {ruleMessage(1, nl.NewRtAttr(40, []byte{1})), host.Rule{Action: "lookup", Table: 100, Unread: "attribute 40"}},
		"what changed":       {ruleMessage(1, nl.NewRtAttr(ruleIPProto, []byte{1, 0, 0})), host.Rule{Action: "lookup", Table: 100, Unread: "attribute 22"}},
		"a group":            {ruleMessage(1, nl.NewRtAttr(ruleSuppressGroup, nl.Uint32Attr(3))), host.Rule{Action: "lookup", Table: 100, Unread: "suppress_ifgroup 3"}},
		"another action":     {ruleMessage(9), host.Rule{Table: 100, Unread: "action 9"}},
	} {
		test.want.TOS, test.want.Invert, test.want.Suppress = 0x10, true, -1
		if got, err := ruleOf(test.message); err != nil || got != test.want {
			t.Errorf("%s: %v\n%+v, want\n%+v", what, err, got, test.want)
		}
	}
}

func FuzzRule(f *testing.F) {
	f.Add(ruleMessage(1, nl.NewRtAttr(ruleDSCP, []byte{4}), nl.NewRtAttr(ruleSport, []byte{0, 80})))
	f.Fuzz(func(_ *testing.T, m []byte) { _, _ = ruleOf(m) })
}

// TestARouteIsGivenItsNexthopObject: of a black hole by an object the kernel shows the object's type (fib_dump_info).
func TestARouteIsGivenItsNexthopObject(t *testing.T) {
	message := func(kind byte, attrs ...*nl.RtAttr) []byte {
		m := []byte{2, 32, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0}
		for _, a := range attrs {
			m = append(m, a.Serialize()...)
		}
		return m
	}
	to := nl.NewRtAttr(routeDst, []byte{10, 0, 0, 7})
	object := nl.NewRtAttr(routeNexthop, nl.Uint32Attr(2))
	route := host.Route{Table: 254, Dst: netip.MustParsePrefix("10.0.0.7/32"), Type: "blackhole"}
	elsewhere, later := route, route
	elsewhere.Table, later.Priority = 300, 9
	for what, test := range map[string]struct {
		message []byte
		want    []uint32
	}{
		"one in main":        {message(6, to, object), []uint32{2, 0, 0}},
		"one with a metric":  {message(6, to, object, nl.NewRtAttr(routePriority, nl.Uint32Attr(9))), []uint32{0, 0, 2}},
		"one in a table":     {message(6, to, object, nl.NewRtAttr(routeTable, nl.Uint32Attr(300))), []uint32{0, 2, 0}},
		"one without object": {message(6, to), []uint32{0, 0, 0}},
		"another type":       {message(1, to, object), []uint32{0, 0, 0}},
		"cut off":            {message(6, to, object)[:20], []uint32{0, 0, 0}},
	} {
		all := []host.Route{route, elsewhere, later}
		if r, ok := nexthopOf(test.message); ok {
			giveNexthop(all, r)
		}
		for i, want := range test.want {
			if all[i].Nexthop != want {
				t.Errorf("%s: route %d has the object %d, want %d", what, i, all[i].Nexthop, want)
			}
		}
	}
}

func FuzzNexthop(f *testing.F) {
	f.Add([]byte{2, 32, 0, 0, 254, 3, 0, 6, 0, 0, 0, 0, 8, 0, 30, 0, 2, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, m []byte) { _, _ = nexthopOf(m) })
}
