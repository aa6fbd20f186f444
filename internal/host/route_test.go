package host

import (
	"net/netip"
	"testing"
	"time"
)

func state() *Snapshot {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	return &Snapshot{
		Links: []Link{{Index: 1, Name: "lo", Up: true}, {Index: 2, Name: "eth0", Up: true}, {Index: 3, Name: "tunl0", Up: true}},
		Addrs: []Addr{{Link: 2, Prefix: p("10.0.0.11/24")}, {Link: 3, Prefix: p("10.99.0.1/32")}},
		Routes: []Route{
			{Table: 255, Dst: p("10.0.0.11/32"), Type: "local", Hops: []Hop{{Link: 2}}},
			{Table: 255, Dst: p("10.99.0.1/32"), Type: "local", Hops: []Hop{{Link: 3}}},
			{Table: 254, Dst: p("10.0.0.0/24"), Type: "unicast", Hops: []Hop{{Link: 2}}},
			{Table: 254, Dst: p("0.0.0.0/0"), Type: "unicast", Hops: []Hop{{Link: 2, Gateway: a("10.0.0.1")}}},
			{Table: 254, Dst: p("192.0.2.0/24"), Type: "blackhole"},
			{Table: 254, Dst: p("198.51.100.0/24"), Type: "unicast", Priority: 10, Hops: []Hop{{Link: 3, Dead: true}}},
			{Table: 100, Dst: p("0.0.0.0/0"), Type: "throw"},
			{Table: 100, Dst: p("203.0.113.0/24"), Type: "prohibit"},
		},
		Rules: []Rule{
			{Priority: 0, Action: "lookup", Table: 255, Suppress: -1},
			{Priority: 5, Action: "lookup", Table: 254, Suppress: 0, Mark: 1},
			{Priority: 10, Action: "lookup", Table: 100, From: p("10.99.0.1/32"), Suppress: -1},
			{Priority: 20, Action: "unreachable", IIF: "tunl0", To: p("172.16.0.0/12"), Suppress: -1},
			{Priority: 32766, Action: "lookup", Table: 254, Suppress: -1},
		},
		Sysctls: map[string]string{"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/tunl0/rp_filter": "1", "net/ipv4/conf/eth0/rp_filter": "2"},
	}
}

func TestRouteIsWhatTheKernelWouldFind(t *testing.T) {
	a := netip.MustParseAddr
	for what, test := range map[string]struct {
		f              Flow
		kind, dev, via string
	}{
		"its own address":              {Flow{Dst: a("10.99.0.1")}, "local", "tunl0", "invalid IP"},
		"a neighbour":                  {Flow{Dst: a("10.0.0.7")}, "unicast", "eth0", "invalid IP"},
		"anybody":                      {Flow{Dst: a("8.8.8.8")}, "unicast", "eth0", "10.0.0.1"},
		"a black hole":                 {Flow{Dst: a("192.0.2.1")}, "blackhole", "", "invalid IP"},
		"a dead hop: the next best":    {Flow{Dst: a("198.51.100.1")}, "unicast", "eth0", "10.0.0.1"},
		"by source, thrown back":       {Flow{Src: a("10.99.0.1"), Dst: a("10.0.0.7")}, "unicast", "eth0", "invalid IP"},
		"by source, prohibited":        {Flow{Src: a("10.99.0.1"), Dst: a("203.0.113.9")}, "prohibit", "", "invalid IP"},
		"not by source":                {Flow{Dst: a("203.0.113.9")}, "unicast", "eth0", "10.0.0.1"},
		"a rule for what comes in":     {Flow{Dst: a("172.16.0.1"), IIF: "tunl0"}, "unreachable", "", "invalid IP"},
		"and not for what is sent":     {Flow{Dst: a("172.16.0.1")}, "unicast", "eth0", "10.0.0.1"},
		"a default that is suppressed": {Flow{Dst: a("8.8.8.8"), Mark: 1}, "unicast", "eth0", "10.0.0.1"},
		"no way out of a device":       {Flow{Dst: a("8.8.8.8"), OIF: "tunl0"}, NoRoute, "", "invalid IP"},
	} {
		got := state().Route(test.f)
		if got.Type != test.kind || got.Dev != test.dev || got.Gateway.String() != test.via {
			t.Errorf("%s: %s dev %q via %s, want %s dev %q via %s", what, got.Type, got.Dev, got.Gateway, test.kind, test.dev, test.via)
		}
	}
}

func TestTheSourceIsCheckedAsTheKernelDoes(t *testing.T) {
	a := netip.MustParseAddr
	for what, test := range map[string]struct {
		src, iif string
		change   func(*Snapshot)
		why      string
	}{
		"strict, by another device":     {"10.0.0.7", "tunl0", nil, "strict"},
		"loose":                         {"10.0.0.7", "eth0", nil, ""},
		"off":                           {"10.0.0.7", "tunl0", func(s *Snapshot) { s.Sysctls["net/ipv4/conf/tunl0/rp_filter"] = "0" }, ""},
		"the larger of the two":         {"10.0.0.7", "tunl0", func(s *Snapshot) { s.Sysctls["net/ipv4/conf/all/rp_filter"] = "2" }, ""},
		"loose, no way back":            {"192.0.2.1", "eth0", nil, "loose"},
		"loose, a device without addrs": {"10.0.0.7", "tunl0", func(s *Snapshot) { s.Sysctls["net/ipv4/conf/tunl0/rp_filter"], s.Addrs = "2", s.Addrs[:1] }, "unnumbered"},
		"an own address":                {"10.0.0.11", "tunl0", nil, "local"},
		"an own address, accepted":      {"10.0.0.11", "eth0", func(s *Snapshot) { s.Sysctls["net/ipv4/conf/eth0/accept_local"] = "1" }, ""},
	} {
		s := state()
		if test.change != nil {
			test.change(s)
		}
		c, ok := s.CheckSource(Flow{Src: a(test.src), Dst: a("10.99.0.1"), IIF: test.iif})
		if !ok || c.Why != test.why || c.OK != (test.why == "") {
			t.Errorf("%s: %v, %q, want %q", what, c.OK, c.Why, test.why)
		}
	}
}

func TestAListenerServesWhatItIsBoundTo(t *testing.T) {
	at := netip.MustParseAddrPort
	s := state()
	tunl0 := s.LinkNamed("tunl0")
	for what, test := range map[string]struct {
		socket Socket
		why    string // empty: it serves
	}{
		"any address":         {Socket{Local: at("0.0.0.0:80")}, ""},
		"the VIP":             {Socket{Local: at("10.99.0.1:80")}, ""},
		"another address":     {Socket{Local: at("127.0.0.1:80")}, "address"},
		"any IPv6 address":    {Socket{Local: at("[::]:80"), V6: true}, ""},
		"IPv6 only":           {Socket{Local: at("[::]:80"), V6: true, V6Only: true}, "ipv6"},
		"an IPv6 address":     {Socket{Local: at("[2001:db8::1]:80"), V6: true}, "ipv6"},
		"the VIP, mapped":     {Socket{Local: at("[::ffff:10.99.0.1]:80"), V6: true}, ""},
		"the tunnel's device": {Socket{Local: at("0.0.0.0:80"), Device: 3}, ""},
		"another device":      {Socket{Local: at("0.0.0.0:80"), Device: 2}, "device"},
	} {
		test.socket.Proto, test.socket.State = "tcp", "listen"
		s.Sockets = []Socket{test.socket}
		serving, near := s.Serves("tcp", at("10.99.0.1:80"), tunl0)
		if (len(serving) == 1) != (test.why == "") || test.why != "" && (len(near) != 1 || near[0].Why != test.why) {
			t.Errorf("%s: serving %d, near %+v, want %q", what, len(serving), near, test.why)
		}
	}
}

func TestALookupLooksAtEachRouteOnceWhateverTheRules(t *testing.T) {
	s := &Snapshot{Links: []Link{{Index: 1, Name: "eth0"}}}
	for i := range 3000 {
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + i>>8), byte(i), 0}), 24)
		s.Routes = append(s.Routes, Route{Table: 250, Dst: dst, Type: "unicast", Hops: []Hop{{Link: 1}}})
		s.Rules = append(s.Rules, Rule{Priority: uint32(i), Action: "lookup", Table: 250, Suppress: -1})
	}
	begun := time.Now()
	for range 300 {
		if a := s.Route(Flow{Dst: netip.MustParseAddr("10.0.0.1")}); a.Type != NoRoute {
			t.Fatalf("found %+v", a)
		}
	}
	if took := time.Since(begun); took > 5*time.Second { // a rule at a time it took 30 s
		t.Errorf("300 lookups took %v", took)
	}
}
