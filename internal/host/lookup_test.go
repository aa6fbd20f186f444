package host

import (
	"net/netip"
	"strings"
	"testing"
)

// withRules is state with these rules between the one for local addresses and the one for table main, at 100, 101, ….
func withRules(rules ...Rule) *Snapshot {
	s := state()
	for i := range rules {
		if rules[i].Priority == 0 {
			rules[i].Priority = uint32(100 + i)
		}
		if rules[i].Suppress == 0 {
			rules[i].Suppress = -1
		}
	}
	s.Rules = append([]Rule{
		{Action: "lookup", Table: tableLocal, Suppress: -1}, {Priority: 32766, Action: "lookup", Table: tableMain, Suppress: -1},
	}, rules...)
	return s
}

func TestARuleAppliesToWhatItAsksFor(t *testing.T) {
	for what, test := range map[string]struct {
		r    Rule
		f    Flow
		fits string // "yes", "no", or a part of why nobody knows
	}{
		"a mark":                              {Rule{Mark: 1}, Flow{Mark: 1}, "yes"},
		"another mark":                        {Rule{Mark: 1}, Flow{Mark: 3}, "no"},
		"a bit of a mark that is not set":     {Rule{Mask: 1}, Flow{Mark: 2}, "yes"},
		"a bit of a mark that is set":         {Rule{Mask: 1}, Flow{Mark: 3}, "no"},
		"a mark outside of its mask":          {Rule{Mark: 0x11, Mask: 0x0f}, Flow{Mark: 1}, "yes"},
		"a mark that nobody knows":            {Rule{Mark: 1}, Flow{Unknown: FieldMark}, "mark"},
		"no mark, and nobody knows it":        {Rule{}, Flow{Unknown: FieldMark}, "yes"},
		"a TOS, of which some bits count":     {Rule{TOS: 0x10}, Flow{TOS: 0xb3}, "yes"},
		"a DSCP":                              {Rule{DSCP: 0x2c, DSCPMask: allBits}, Flow{TOS: 0xb3}, "yes"},
		"a DSCP that another TOS has":         {Rule{DSCP: 0x04, DSCPMask: allBits}, Flow{TOS: 0xb3}, "no"},
		"no DSCP at all":                      {Rule{DSCPMask: allBits}, Flow{TOS: 0x10}, "no"},
		"a user's socket":                     {Rule{UIDFirst: 5, UIDEnd: 7}, Flow{UID: 6}, "yes"},
		"another user's":                      {Rule{UIDFirst: 5, UIDEnd: 7}, Flow{UID: 7}, "no"},
		"root's":                              {Rule{UIDEnd: 1}, Flow{}, "yes"},
		"nobody knows whose":                  {Rule{UIDFirst: 5, UIDEnd: 7}, Flow{Unknown: FieldUID}, "owner"},
		"a protocol":                          {Rule{IPProto: 6}, Flow{Proto: 17}, "no"},
		"ports":                               {Rule{Sport: [2]uint16{80, 90}}, Flow{Sport: 85}, "yes"},
		"a part of a port":                    {Rule{Dport: [2]uint16{80, 80}, DportMask: 0xfff0}, Flow{Dport: 95}, "yes"},
		"another part":                        {Rule{Dport: [2]uint16{80, 80}, DportMask: 0xfff0}, Flow{Dport: 96}, "no"},
		"a tunnel's key":                      {Rule{TunID: 7}, Flow{IIF: "tunl0"}, "no"},
		"something that is not understood":    {Rule{Unread: "attribute 31"}, Flow{}, "attribute 31"},
		"not understood, and not for this":    {Rule{Unread: "attribute 31", IPProto: 6}, Flow{Proto: 17}, "no"},
		"all but one, and not understood":     {Rule{Unread: "attribute 31", IPProto: 6, Invert: true}, Flow{Proto: 17}, "attribute 31"},
		"all but a mark that nobody knows":    {Rule{Mark: 1, Invert: true}, Flow{Unknown: FieldMark}, "mark"},
		"all but what is sent from here":      {Rule{IIF: "lo", Invert: true}, Flow{}, "no"},
		"an action that is not understood":    {Rule{Action: "?", Unread: "action 9"}, Flow{}, "action 9"},
		"a VRF, of what is in none":           {Rule{L3mdev: true}, Flow{IIF: "eth0"}, "no"},
		"a group of devices that are ignored": {Rule{Unread: "suppress_ifgroup 1"}, Flow{}, "suppress_ifgroup 1"},
	} {
		switch test.r.Action {
		case "":
			test.r.Action = "prohibit"
		case "?":
			test.r.Action = ""
		}
		test.f.Dst = netip.MustParseAddr("8.8.8.8")
		a := withRules(test.r).Route(test.f)
		switch test.fits {
		case "yes", "no":
			if a.Forbidden() != (test.fits == "yes") || a.Type == Undecided {
				t.Errorf("%s: %s %s, want it to apply: %s", what, a.Type, a.Unread, test.fits)
			}
		default:
			if a.Type != Undecided || !strings.Contains(a.Unread, test.fits) || a.Refused() {
				t.Errorf("%s: %s %q, want undecided because of %q", what, a.Type, a.Unread, test.fits)
			}
		}
	}
}

const allBits = 0x3f

func TestWhatIsNotUnderstoodDoesNotMatterWhereBothWaysEndAlike(t *testing.T) {
	dst := netip.MustParseAddr("8.8.8.8")
	for what, test := range map[string]struct {
		rules []Rule
		kind  string
	}{
		"the same table":           {[]Rule{{Unread: "attribute 31", Action: "lookup", Table: tableMain}}, "unicast"},
		"an empty table":           {[]Rule{{Unread: "attribute 31", Action: "lookup", Table: 99}}, "unicast"},
		"a jump over nothing":      {[]Rule{{Unread: "attribute 31", Action: "goto", Goto: 32766}}, "unicast"},
		"a jump over a refusal":    {[]Rule{{Unread: "attribute 31", Action: "goto", Goto: 32766}, {Action: "blackhole"}}, Undecided},
		"behind what decides":      {[]Rule{{Action: "prohibit"}, {Unread: "attribute 31", Action: "blackhole"}}, "prohibit"},
		"of two refusals, neither": {[]Rule{{Unread: "attribute 31", Action: "prohibit"}, {Action: "prohibit"}}, Undecided},
		"two that are unknown":     {[]Rule{{Unread: "attribute 31", Action: "nop"}, {Unread: "attribute 32", Action: "blackhole"}}, Undecided},
	} {
		if a := withRules(test.rules...).Route(Flow{Dst: dst}); a.Type != test.kind {
			t.Errorf("%s: %s %q, want %s", what, a.Type, a.Unread, test.kind)
		}
	}
}

func TestManyUnknownRulesAreAskedOnceEach(t *testing.T) {
	var rules []Rule
	for i := range uint32(2000) {
		rules = append(rules, Rule{Priority: 100 + i, Unread: "attribute 31", Action: "goto", Goto: 102 + i})
	}
	if a := withRules(rules...).Route(Flow{Dst: netip.MustParseAddr("8.8.8.8")}); a.Type != "unicast" {
		t.Errorf("%s %s, want the route of table main", a.Type, a.Unread)
	}
}

func TestAVRFIsLookedUpInItsOwnTable(t *testing.T) {
	s := withRules(Rule{Priority: 50, L3mdev: true, Action: "lookup"}, Rule{IIF: "tunl0", Action: "blackhole"})
	s.Links = append(s.Links, Link{Index: 9, Name: "vrf0", Type: "vrf", Up: true, Table: 10})
	s.Links[2].Master, s.Links[2].MasterKind = 9, "vrf"
	s.Routes = append(s.Routes, Route{Table: 10, Dst: netip.MustParsePrefix("10.0.0.0/24"), Type: "unicast", Hops: []Hop{{Link: 3}}})
	near, far := netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("8.8.8.8")
	for what, test := range map[string]struct {
		f         Flow
		kind, dev string
	}{
		"what comes by a member":                 {Flow{Dst: near, IIF: "tunl0"}, "unicast", "tunl0"},
		"what is bound to the VRF":               {Flow{Dst: near, OIF: "vrf0"}, "unicast", "tunl0"},
		"what is looked up in it":                {Flow{Dst: near, VRF: "vrf0"}, "unicast", "tunl0"},
		"what is not":                            {Flow{Dst: near}, "unicast", "eth0"},
		"an empty table is not the end":          {Flow{Dst: far, OIF: "vrf0"}, "unicast", "eth0"},
		"a rule for a member, on some kernels":   {Flow{Dst: far, IIF: "tunl0"}, Undecided, ""},
		"what is bound to a member, on the same": {Flow{Dst: far, OIF: "tunl0"}, Undecided, ""},
	} {
		if a := s.Route(test.f); a.Type != test.kind || a.Dev != test.dev {
			t.Errorf("%s: %s dev %q %s, want %s dev %q", what, a.Type, a.Dev, a.Unread, test.kind, test.dev)
		}
	}
	s.Links[3].Table = 0
	if a := s.Route(Flow{Dst: near, OIF: "vrf0"}); a.Type != Undecided {
		t.Errorf("a VRF of which the table is not known: %s, want undecided", a.Type)
	}
}

func TestARouteWithoutCarrierIsUsedUntilASettingSaysOtherwise(t *testing.T) {
	dst, s := netip.MustParseAddr("203.0.113.9"), withRules()
	s.Links = append(s.Links, Link{Index: 4, Name: "eth1", Up: true})
	s.Routes = append(s.Routes, Route{Table: tableMain, Dst: netip.MustParsePrefix("203.0.113.0/24"), Type: "unicast", Hops: []Hop{{Link: 4, LinkDown: true}}})
	hop := &s.Routes[len(s.Routes)-1].Hops[0]
	if a := s.Route(Flow{Dst: dst}); a.Dev != "eth1" || len(a.Unused) != 0 {
		t.Errorf("by %s, unused %+v, want eth1", a.Dev, a.Unused)
	}
	hop.Dead = true // ignore_routes_with_linkdown
	a := s.Route(Flow{Dst: dst})
	if a.Dev != "eth0" || len(a.Unused) != 1 || a.Unused[0].Dev != "eth1" || !a.Unused[0].NoCarrier {
		t.Errorf("by %s, unused %+v, want eth0, and eth1 without carrier unused", a.Dev, a.Unused)
	}
	for _, dev := range []string{"all", "eth1"} {
		s.Sysctls["net/ipv4/conf/"+dev+"/ignore_routes_with_linkdown"] = "0"
	}
	if a := s.Route(Flow{Dst: dst}); a.Dev != "eth1" {
		t.Errorf("by %s once the setting is changed, want eth1", a.Dev)
	}
	hop.LinkDown, s.Links[3].Up = false, false
	if a := s.Route(Flow{Dst: dst}); a.Dev != "eth0" || len(a.Unused) != 1 || a.Unused[0].NoCarrier {
		t.Errorf("by %s, unused %+v, want eth0, and eth1, which is down, unused", a.Dev, a.Unused)
	}
}

func TestWhatIsBoundToADeviceGoesByIt(t *testing.T) {
	s := withRules(Rule{Action: "blackhole"})
	dst := netip.MustParseAddr("8.8.8.8")
	if a := s.Output(Flow{Dst: dst}); a.Type != "blackhole" {
		t.Errorf("bound to nothing: %s, want blackhole", a.Type)
	}
	if a := s.Output(Flow{Dst: dst, OIF: "tunl0"}); a.Type != "unicast" || a.Dev != "tunl0" || a.Gateway.IsValid() {
		t.Errorf("bound to tunl0: %s dev %s via %s, want the destination itself, by tunl0", a.Type, a.Dev, a.Gateway)
	}
	s.Links[2].Up = false
	if a := s.Output(Flow{Dst: dst, OIF: "tunl0"}); a.Type != NoRoute {
		t.Errorf("bound to a device that is down: %s, want none", a.Type)
	}
}

func TestARefusalIsNotSuppressed(t *testing.T) {
	s := withRules(Rule{Action: "lookup", Table: 101, Suppress: 24}, Rule{Action: "lookup", Table: 102, Suppress: 24})
	s.Routes = append(s.Routes, Route{Table: 101, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: "unicast", Hops: []Hop{{Link: 3}}},
		Route{Table: 102, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: "blackhole"})
	if a := s.Route(Flow{Dst: netip.MustParseAddr("8.8.8.8")}); a.Type != "blackhole" {
		t.Errorf("%s dev %s, want the blackhole", a.Type, a.Dev)
	}
}

func TestTheWayBackIsLookedUpAsTheKernelDoes(t *testing.T) {
	a, client := netip.MustParseAddr, netip.MustParseAddr("10.0.0.7")
	tunnel := Route{Table: 101, Dst: netip.MustParsePrefix("10.0.0.0/24"), Type: "unicast", Hops: []Hop{{Link: 3}}}
	for what, test := range map[string]struct {
		r    Rule
		set  string
		mark uint32
		ok   bool
	}{
		"a rule for the device it came by": {Rule{IIF: "tunl0"}, "", 0, false},
		"one for what is sent from here":   {Rule{IIF: "lo"}, "", 0, true},
		"one for the VIP as source":        {Rule{From: netip.MustParsePrefix("10.99.0.1/32")}, "", 0, true},
		"one for a mark":                   {Rule{Mark: 7}, "", 7, false},
		"with src_valid_mark on all":       {Rule{Mark: 7}, "all", 7, true},
		"on the device":                    {Rule{Mark: 7}, "tunl0", 7, true},
		"on another device":                {Rule{Mark: 7}, "eth0", 7, false},
		"with another mark":                {Rule{Mark: 7}, "tunl0", 5, false},
		"one for a port of the client":     {Rule{Dport: [2]uint16{4000, 5000}}, "", 0, true},
		"one for a port that is not asked": {Rule{IIF: "lo", Dport: [2]uint16{4000, 5000}}, "", 0, false},
	} {
		test.r.Action, test.r.Table = "lookup", 101
		s := withRules(test.r)
		s.Routes = append(s.Routes, tunnel)
		if test.set != "" {
			s.Sysctls["net/ipv4/conf/"+test.set+"/src_valid_mark"] = "1"
		}
		c, ok := s.CheckSource(Flow{Src: client, Dst: a("10.99.0.1"), IIF: "tunl0", Mark: test.mark, Proto: 6, Sport: 4242, Dport: 80})
		if !ok || c.OK != test.ok {
			t.Errorf("%s: %t %s (way back by %s), want %t", what, c.OK, c.Why, c.Back.Dev, test.ok)
		}
	}
	s := withRules(Rule{Mark: 7, Action: "lookup", Table: 101})
	s.Routes = append(s.Routes, tunnel)
	f := Flow{Src: client, Dst: a("10.99.0.1"), IIF: "tunl0", Unknown: FieldMark}
	if c, ok := s.CheckSource(f); !ok || c.OK {
		t.Errorf("a mark that does not count: %t, %t", c.OK, ok)
	}
	s.Sysctls["net/ipv4/conf/all/src_valid_mark"] = "1"
	if c, ok := s.CheckSource(f); ok || !strings.Contains(c.Unread, "mark") {
		t.Errorf("a mark that counts, and nobody knows: %q, %t", c.Unread, ok)
	}
}

// TestAThrowMayEndTheLookupInTwoTables: as long as there never was another rule than the usual ones, the tables local and main
// are one.
func TestAThrowMayEndTheLookupInTwoTables(t *testing.T) {
	s := withRules()
	s.Rules = []Rule{{Action: "lookup", Table: tableLocal, Suppress: -1}, {Priority: 0x7ffe, Action: "lookup", Table: tableMain, Suppress: -1}}
	to := netip.MustParsePrefix("203.0.113.0/24")
	s.Routes = append(s.Routes, Route{Table: tableLocal, Dst: to, Type: "throw"}, Route{Table: tableMain, Dst: to, Type: "unreachable"})
	f := Flow{Dst: netip.MustParseAddr("203.0.113.7")}
	if a := s.Route(f); a.Type != Undecided {
		t.Errorf("one table or two: %s", a.Type)
	}
	s.Rules = append(s.Rules, Rule{Priority: 10, Action: "nop", Suppress: -1})
	if a := s.Route(f); a.Type != "unreachable" {
		t.Errorf("two tables: %s", a.Type)
	}
}
