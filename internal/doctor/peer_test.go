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
		"as it should":           {sends("10.0.0.11", "ipip"), nil},
		"to another address":     {sends("10.0.0.12", "ipip"), []string{"fault outer-not-local"}},
		"by GRE":                 {sends("10.0.0.11", "gre"), []string{"fault tunnel-mode-mismatch"}},
		"by GUE":                 {sends("10.0.0.11", "gue"), []string{"fault tunnel-mode-mismatch"}},
		"by GUE to another port": {&Facts{Sends: []Sending{{VIP: vip, Port: 80, Proto: "tcp", From: director, To: rip, By: "gue", TunPort: 5555}}}, []string{"fault tunnel-mode-mismatch"}},
		"by NAT":                 {sends("10.0.0.11", "masq"), []string{"note ipvs-wrong-method"}},
		"nothing of this port":   {&Facts{}, nil},
		"by a longer way":        {sending(func(s *Sending) { s.MTU = 9000 }), []string{"risk mtu-exceeded"}},
		"by a way as long":       {sending(func(s *Sending) { s.MTU = 1500 }), nil},
		"nothing new":            {sending(func(s *Sending) { s.AtRest = true }), []string{"note ipvs-no-destination"}},
		"without the VIP":        {&Facts{Lacks: []netip.Addr{vip}}, []string{"note vip-missing"}},
	} {
		t.Run(what, func(t *testing.T) {
			r := Examine(machine(func(s *host.Snapshot) { s.Links[1].MTU = 1500 }), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Peer: test.peer})
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
