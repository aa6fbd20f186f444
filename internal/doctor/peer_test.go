package doctor

import (
	"net/netip"
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

func TestThePeerSaysHowItSends(t *testing.T) {
	sends := func(to, by string) *Facts {
		return &Facts{Sends: []Sending{{VIP: vip, Port: 80, Proto: "tcp", From: director, To: netip.MustParseAddr(to), By: by}}}
	}
	for what, test := range map[string]struct {
		peer *Facts
		want []string
	}{
		"as it should":                    {sends("10.0.0.11", "ipip"), nil},
		"to another address":              {sends("10.0.0.12", "ipip"), []string{"fault outer-not-local"}},
		"by GRE":                          {sends("10.0.0.11", "gre"), []string{"fault tunnel-mode-mismatch"}},
		"by GUE":                          {sends("10.0.0.11", "gue"), []string{"fault tunnel-mode-mismatch"}},
		"by GUE to another port":          {&Facts{Sends: []Sending{{VIP: vip, Port: 80, Proto: "tcp", From: director, To: rip, By: "gue", TunPort: 5555}}}, []string{"fault tunnel-mode-mismatch"}},
		"by NAT":                          {sends("10.0.0.11", "masq"), []string{"note ipvs-wrong-method"}},
		"nothing of this port":            {&Facts{}, []string{"note ipvs-no-service"}},
		"by a longer way":                 {sending(func(s *Sending) { s.MTU = 9000 }), []string{"risk mtu-exceeded"}},
		"by a way as long":                {sending(func(s *Sending) { s.MTU = 1500 }), nil},
		"nothing new":                     {sending(func(s *Sending) { s.AtRest = true }), []string{"note ipvs-no-destination"}},
		"by FOU":                          {sending(func(s *Sending) { s.By, s.TunPort = "fou", 5555 }), []string{"fault tunnel-mode-mismatch"}},
		"with another's Ethernet address": {sending(func(s *Sending) { s.MAC, s.Permanent = "02:00:00:00:00:99", true }), []string{"risk wrong-mac"}},
		"which it has learned":            {sending(func(s *Sending) { s.MAC = "02:00:00:00:00:99" }), []string{"note wrong-mac"}},
		"with its Ethernet address":       {sending(func(s *Sending) { s.MAC = "02:00:00:00:00:11" }), nil},
		"with that to another address":    {and(Sending{VIP: vip, Port: 80, Proto: "tcp", From: director, To: behind, By: "ipip", MAC: "02:00:00:00:00:11"}), []string{"fault outer-not-local"}},
		"to another one":                  {and(Sending{VIP: vip, Port: 80, Proto: "tcp", From: director, To: behind, By: "ipip", MAC: "02:00:00:00:00:12"}), nil},
		"the old way rests":               {and(Sending{VIP: vip, Port: 80, Proto: "tcp", From: director, To: rip, By: "fou", TunPort: 5555}, func(s *Sending) { s.AtRest = true }), []string{"fault tunnel-mode-mismatch", "note ipvs-no-destination"}},
		"without the VIP":                 {&Facts{Lacks: []netip.Addr{vip}}, []string{"note vip-missing", "note ipvs-no-service"}},
	} {
		t.Run(what, func(t *testing.T) {
			r := Examine(machine(func(s *host.Snapshot) { s.Links[1].MTU, s.Links[1].MAC = 1500, "02:00:00:00:00:11" }), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Peer: test.peer})
			if got := lines(r); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// sending are the facts of a director that sends as it should, but for one thing.
func sending(but func(*Sending)) *Facts {
	s := Sending{VIP: vip, Port: 80, Proto: "tcp", From: director, To: rip, By: "ipip"}
	but(&s)
	return &Facts{Sends: []Sending{s}}
}

// and is a director that sends as it should, but for some things, and by another way, too.
func and(way Sending, but ...func(*Sending)) *Facts {
	f := sending(func(s *Sending) {
		for _, change := range but {
			change(s)
		}
	})
	f.Sends = append(f.Sends, way)
	return f
}

// TestARealServerTellsWhatItTakes: a director is told by the other end what it can't see itself.
func TestARealServerTellsWhatItTakes(t *testing.T) {
	there := netip.MustParseAddr("10.0.0.20")
	s := machine(func(s *host.Snapshot) {
		s.Addrs[2].Link, s.Links[2].Up, s.Links[1].MTU = 1, false, 1500
		s.IPVS = &host.IPVS{Services: []host.Service{{Proto: 6, Addr: netip.AddrPortFrom(vip, 80), Scheduler: "rr", Destinations: []host.Destination{
			{Addr: netip.AddrPortFrom(there, 80), Method: "tunnel", Weight: 1, TunType: "gue", TunPort: 6080},
		}}}}
	})
	for what, test := range map[string]struct {
		peer Facts
		want []string
	}{
		"nothing but its address": {Facts{}, nil},
		"what is sent":            {Facts{Takes: []string{"ipip", "gue 6080"}, MTUs: []MTU{{there, 1500}}}, nil},
		"another port":            {Facts{Takes: []string{"ipip", "gue 6081"}}, []string{"fault tunnel-mode-mismatch"}},
		"shorter packets":         {Facts{MTUs: []MTU{{there, 1400}}}, []string{"risk mtu-exceeded"}},
		"no packets for the VIP":  {Facts{Lacks: []netip.Addr{vip}}, []string{"fault vip-missing"}},
	} {
		test.peer.Addresses = []netip.Addr{there}
		r := Examine(s, Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Peer: &test.peer})
		if got := lines(r); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", what, got, test.want)
		}
	}
	f := FactsOf(machine(func(s *host.Snapshot) { s.Links[1].MTU = 1500; s.FOU = []host.FOUPort{{Port: 6080, Kind: "gue"}} }), []netip.Addr{vip, there})
	if !slices.Equal(f.Takes, []string{"ipip", "gue 6080"}) || !slices.Equal(f.Lacks, []netip.Addr{there}) || !slices.Contains(f.MTUs, MTU{rip, 1500}) {
		t.Errorf("%+v", f)
	}
}

// TestADirectorTellsOfItsOwnTunnels: what IPVS routes into a tunnel's device goes to that one's other end, and not to the address by
// which IPVS knows the real server.
func TestADirectorTellsOfItsOwnTunnels(t *testing.T) {
	there, inside := netip.MustParseAddr("10.0.0.20"), netip.MustParseAddr("10.9.9.9")
	directs := func(tunnel host.Tunnel) *host.Snapshot {
		return machine(func(s *host.Snapshot) {
			s.Addrs[2].Link, s.Links[2].Up = 1, false
			s.Links = append(s.Links, host.Link{Index: 9, Name: "own0", Type: "ipip", Up: true, MTU: 1400, Tunnel: &tunnel})
			s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.PrefixFrom(inside, 32), Type: "unicast", Hops: []host.Hop{{Link: 9}}})
			s.Neighbours = []host.Neighbour{{Link: 2, Addr: there, State: "stale", MAC: "02:00:00:00:00:20"}}
			s.IPVS = &host.IPVS{Services: []host.Service{{Proto: 6, Addr: netip.AddrPortFrom(vip, 80), Scheduler: "rr", Destinations: []host.Destination{
				{Addr: netip.AddrPortFrom(inside, 80), Method: "route", Weight: 1},
			}}}}
		})
	}
	plain := Sending{VIP: vip, Port: 80, Proto: "tcp", From: rip, To: there, By: "ipip", Device: "own0", MAC: "02:00:00:00:00:20"}
	fou, gue := plain, plain
	fou.By, fou.TunPort, gue.By, gue.TunPort = "fou", 5555, "gue", 6080
	for what, test := range map[string]struct {
		tunnel host.Tunnel
		want   Sending
	}{
		"IPIP":           {host.Tunnel{Local: rip, Remote: there}, plain},
		"FOU":            {host.Tunnel{Local: rip, Remote: there, EncapType: 1, EncapPort: 5555}, fou},
		"GUE":            {host.Tunnel{Local: rip, Remote: there, EncapType: 2, EncapPort: 6080}, gue},
		"none's":         {host.Tunnel{}, Sending{VIP: vip, Port: 80, Proto: "tcp", To: inside, By: "route"}},
		"something else": {host.Tunnel{Remote: there, EncapType: 3}, Sending{VIP: vip, Port: 80, Proto: "tcp", To: inside, By: "route"}},
	} {
		got := FactsOf(directs(test.tunnel), []netip.Addr{vip}).Sends
		if len(got) == 1 {
			got[0].MTU = 0
			if test.want.By == "route" {
				got[0].From = netip.Addr{}
			}
		}
		if !slices.Equal(got, []Sending{test.want}) {
			t.Errorf("%s: got %+v, want %+v", what, got, test.want)
		}
	}
}

func TestADirectorTellsHowItSends(t *testing.T) {
	s := machine(func(s *host.Snapshot) {
		s.Addrs[2].Link, s.Links[2].Up = 1, false
		s.IPVS = &host.IPVS{Services: []host.Service{{Proto: 6, Addr: netip.AddrPortFrom(vip, 80), Scheduler: "rr", Destinations: []host.Destination{
			{Addr: netip.MustParseAddrPort("10.0.0.20:80"), Method: "tunnel", Weight: 1, TunType: "gue", TunPort: 6080},
			{Addr: netip.MustParseAddrPort("10.0.0.11:80"), Method: "local", Weight: 1},
		}}}}
	})
	got := FactsOf(s, []netip.Addr{vip})
	want := []Sending{{VIP: vip, Port: 80, Proto: "tcp", From: rip, To: netip.MustParseAddr("10.0.0.20"), By: "gue", TunPort: 6080}}
	if !slices.Equal(got.Sends, want) {
		t.Errorf("got %+v", got.Sends)
	}
	r := Examine(s, Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Peer: &Facts{Addresses: []netip.Addr{director}}})
	if !slices.Contains(lines(r), "fault outer-not-local") {
		t.Errorf("got %q", lines(r))
	}
}

// TestAMachineIsNotItsOwnOtherEnd: the same addresses are those of the machine itself.
func TestAMachineIsNotItsOwnOtherEnd(t *testing.T) {
	vips := []netip.Addr{vip}
	own := FactsOf(machine(), vips)
	if !own.IsOwn(machine(), vips) {
		t.Error("it is")
	}
	for what, other := range map[string]Facts{"another machine": {Addresses: []netip.Addr{director}}, "nothing is known": {}, "some alike": {Addresses: own.Addresses[:1]}} {
		if other.IsOwn(machine(), vips) {
			t.Error(what)
		}
	}
}
