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
	} {
		t.Run(what, func(t *testing.T) {
			r := Examine(machine(), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Peer: test.peer})
			if got := lines(r); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
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
