package diagnose

import (
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
)

func TestAnAnswersRouteIsTheOneThatIsBlamed(t *testing.T) {
	prefixed := func(s *host.Snapshot) {
		s.Addrs[1].Prefix = netip.MustParsePrefix("10.99.0.1/24")
		s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.MustParsePrefix("10.99.0.0/24"), Type: "unicast", Protocol: 2, Hops: []host.Hop{{Link: 3}}})
	}
	toClient := routed(254, "10.0.0.7/32", host.Hop{Link: 3})
	found(t, Explain(astray(), realServer(prefixed, toClient)), "reply-into-tunnel", Observed, "ip route del 10.0.0.7/32 table main")
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	forTOS := realServer(func(s *host.Snapshot) {
		s.Sockets[0].TOS = 0x10
		s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.MustParsePrefix("10.0.0.0/24"), Type: "blackhole", TOS: 0x10})
	})
	found(t, Explain(refused, forTOS), "no-return-route", Observed, "ip route del blackhole 10.0.0.0/24 tos 16 table main")
}

func TestARouteThatClosesATableIsNotBlamed(t *testing.T) {
	closing := func(dst string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.MustParsePrefix(dst), Type: "unreachable", Priority: 4278198272})
		}
	}
	noVIP := func(s *host.Snapshot) { withoutRoute("10.99.0.1/32")(s); s.Addrs = s.Addrs[:1] }
	inner, outer := dropped("ip_error", "IP_INADDRERRORS", "tunl0", false), dropped("ip_error", "IP_INADDRERRORS", "eth0", true)
	elsewhere := outer
	away := *outer.Outer
	away.Dst = netip.MustParseAddr("10.1.0.12")
	elsewhere.Outer = &away
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	inVRF := func(s *host.Snapshot) {
		withoutRoute("10.99.0.1/32")(s)
		s.Links = append(s.Links, host.Link{Index: 9, Name: "blue", Type: "vrf", Up: true, Table: 10}, host.Link{Index: 10, Name: "vip0", Type: "dummy", Up: true, Master: 9, MasterKind: "vrf"})
		s.Addrs[1].Link = 10
	}
	for what, test := range map[string]loss{
		"the VIP is missing":            {inner, realServer(noVIP, closing("0.0.0.0/0")), "vip-missing", Observed, "ip addr add 10.99.0.1/32 dev tunl0"},
		"and there is an aggregate":     {inner, realServer(noVIP, closing("10.0.0.0/8")), "vip-missing", Observed, "ip addr add 10.99.0.1/32 dev tunl0"},
		"the director's address is old": {elsewhere, realServer(closing("0.0.0.0/0")), "outer-not-local", Observed, ""},
		"there is no way back":          {refused, realServer(withoutRoute("10.0.0.0/24"), closing("0.0.0.0/0")), "no-return-route", Observed, "ip route add 10.0.0.0/24 dev eth0"},
		"the VIP is in a VRF":           {inner, realServer(inVRF), "vip-missing", Observed, ""},
		"the VIP has lost its route":    {inner, realServer(withoutRoute("10.99.0.1/32")), "vip-missing", Observed, "ip route replace local 10.99.0.1 dev tunl0 table local"},
	} {
		t.Run(what, func(t *testing.T) { found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix) })
	}
}
