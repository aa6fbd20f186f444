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
