package host

import (
	"net/netip"
	"testing"
)

func TestAnAnswerHasTheMarkAndTheVRFThatTheKernelGivesIt(t *testing.T) {
	at := netip.MustParseAddrPort
	listener := func(change func(*Socket)) *Socket {
		s := &Socket{Proto: "tcp", State: "listen", UID: 33}
		if change != nil {
			change(s)
		}
		return s
	}
	for what, test := range map[string]struct {
		from    *Socket
		sysctls map[string]string
		change  func(*Request)
		oif     string
		mark    uint32
		unknown Field
	}{
		"nothing":                            {listener(nil), nil, nil, "", 0, 0},
		"the request's mark":                 {listener(nil), map[string]string{"tcp_fwmark_accept": "1"}, nil, "", 7, 0},
		"the socket's before the request's":  {listener(func(s *Socket) { s.Mark = 5 }), map[string]string{"tcp_fwmark_accept": "1"}, nil, "", 5, 0},
		"a request's mark that is not known": {listener(nil), map[string]string{"tcp_fwmark_accept": "1"}, func(r *Request) { r.Mark, r.MarkUnknown = 0, true }, "", 0, FieldMark},
		"one that does not count":            {listener(nil), nil, func(r *Request) { r.MarkUnknown = true }, "", 0, 0},
		"a setting that was not read":        {listener(nil), map[string]string{"tcp_fwmark_accept": ""}, nil, "", 0, FieldMark},
		"a socket of which little is known":  {listener(func(s *Socket) { s.Untold = true }), nil, nil, "", 0, FieldMark | FieldTOS | FieldFromHere},
		"a reset":                            {nil, nil, nil, "vrf0", 0, 0},
		"a reset with the mark":              {nil, map[string]string{"fwmark_reflect": "1"}, nil, "vrf0", 7, 0},
		"the request's VRF":                  {listener(nil), map[string]string{"tcp_l3mdev_accept": "1"}, nil, "vrf0", 0, 0},
		"the socket's device":                {listener(func(s *Socket) { s.Device = 2 }), map[string]string{"tcp_l3mdev_accept": "1"}, nil, "eth0", 0, 0},
		"UDP takes neither":                  {listener(nil), map[string]string{"tcp_fwmark_accept": "1", "tcp_l3mdev_accept": "1", "udp_l3mdev_accept": "1"}, func(r *Request) { r.Proto = "udp" }, "", 0, 0},
	} {
		s := state()
		s.Links[2].Master, s.Links[2].MasterKind = 9, "vrf"
		s.Links = append(s.Links, Link{Index: 9, Name: "vrf0", Type: "vrf", Up: true, Table: 10})
		for _, name := range []string{"tcp_fwmark_accept", "fwmark_reflect", "tcp_l3mdev_accept", "udp_l3mdev_accept"} {
			s.Sysctls["net/ipv4/"+name] = "0"
		}
		for name, value := range test.sysctls {
			if s.Sysctls["net/ipv4/"+name] = value; value == "" {
				delete(s.Sysctls, "net/ipv4/"+name)
			}
		}
		r := Request{Proto: "tcp", Client: at("10.0.0.7:4000"), Service: at("10.99.0.1:80"), Dev: "tunl0", Mark: 7}
		if test.change != nil {
			test.change(&r)
		}
		f := s.Reply(r, test.from)
		if f.OIF != test.oif || f.Mark != test.mark || f.Unknown != test.unknown || f.Src != r.Service.Addr() || f.Dport != 4000 || test.from != nil && f.UID != 33 {
			t.Errorf("%s: %+v, want oif %q, mark %d, unknown %d", what, f, test.oif, test.mark, test.unknown)
		}
	}
}

func TestASocketSendsOnlyFromAddressesOfItsHost(t *testing.T) {
	to, addr := netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr
	local := func(table uint32) Route {
		return Route{Table: table, Dst: netip.MustParsePrefix("198.51.100.0/24"), Type: "local", Hops: []Hop{{Link: 1}}}
	}
	asks := Rule{Priority: 10, Action: "lookup", Table: 100, Mark: 1, Suppress: -1}
	for what, test := range map[string]struct {
		from   Flow
		change func(*Snapshot)
		want   string
	}{
		"an address":                         {Flow{Src: addr("10.99.0.1"), FromHere: true}, nil, "unicast"},
		"a network in the table local":       {Flow{Src: addr("198.51.100.9"), FromHere: true}, func(s *Snapshot) { s.Routes = append(s.Routes, local(255)) }, "unicast"},
		"one in another table":               {Flow{Src: addr("198.51.100.9"), FromHere: true}, func(s *Snapshot) { s.Routes = append(s.Routes, local(100)); s.Rules = append(s.Rules, asks) }, NoSource},
		"one in the table main":              {Flow{Src: addr("198.51.100.9"), FromHere: true}, func(s *Snapshot) { s.Routes = append(s.Routes, local(254)); s.Rules = append(s.Rules, asks) }, NoSource},
		"one in the table main, that may be": {Flow{Src: addr("198.51.100.9"), FromHere: true}, func(s *Snapshot) { s.Routes, s.Rules = append(s.Routes, local(254)), nil }, Undecided},
		"any, if it is transparent":          {Flow{Src: addr("198.51.100.9")}, nil, "unicast"},
		"a socket that was not asked":        {Flow{Src: addr("198.51.100.9"), FromHere: true, Unknown: FieldFromHere}, nil, Undecided},
	} {
		s := state()
		if test.change != nil {
			test.change(s)
		}
		test.from.Dst = to
		if a := s.Output(test.from); a.Type != test.want {
			t.Errorf("%s: %s (%s), want %s", what, a.Type, a.Unread, test.want)
		}
	}
}
