package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

// addressed gives a device an address, with the routes that the kernel makes for it.
func addressed(link uint32, prefix string) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		p := netip.MustParsePrefix(prefix)
		s.Addrs = append(s.Addrs, host.Addr{Link: link, Prefix: p})
		s.Routes = append(s.Routes, host.Route{Table: 255, Dst: netip.PrefixFrom(p.Addr(), 32), Type: "local", Protocol: 2, Hops: []host.Hop{{Link: link}}})
	}
}

// TestNothingIsDeletedBesideWhatIsBlamed: what ip deletes is the first that is as the command says, and takes others with it.
func TestNothingIsDeletedBesideWhatIsBlamed(t *testing.T) {
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	forged := func(src string) journey.Journey {
		j := dropped("ip_rcv_finish_core", "IP_LOCAL_SOURCE", "tunl0", false)
		j.Packet.Inner.Src = netip.MustParseAddr(src)
		return j
	}
	theirs := netip.MustParsePrefix("192.0.2.0/24")
	to := netip.PrefixFrom(client, 32)
	hop := func(link uint32, dead bool) func(*host.Snapshot) {
		return routed(254, to.String(), host.Hop{Link: link, Dead: dead})
	}
	wide := []func(*host.Snapshot){
		func(s *host.Snapshot) { s.Addrs[1].Prefix = netip.PrefixFrom(vip, 8) }, addressed(3, "10.99.0.2/8"), withoutRoute("10.0.0.0/24"),
		func(s *host.Snapshot) {
			s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.MustParsePrefix("10.0.0.0/8"), Type: "unicast", Protocol: 2, Hops: []host.Hop{{Link: 3}}})
		},
	}
	reply := dropped("ip_tunnel_xmit", "NOT_SPECIFIED", "tunl0", false)
	reply.Direction, reply.Outer = journey.Reply, nil
	p := &reply.Packet
	p.Inner.Src, p.Inner.Dst, p.SrcPort, p.DstPort = vip, client, 80, 30000
	noIPVSRoute := rejected(dropped("ip_vs_tunnel_xmit", "NOT_SPECIFIED", "eth0", false), journey.ByICMP, 3, 0)
	noIPVSRoute.Outer = nil
	closed := balancer(func(s *host.Snapshot) {
		s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: "unreachable"})
	}, host.Destination{Addr: netip.MustParseAddrPort("192.0.2.9:80"), Method: "tunnel", Weight: 1})
	const none = "no command: "
	for what, test := range map[string]struct {
		loss
		says string
	}{
		"a rule of another is taken first": {loss{refused, realServer(rule(host.Rule{From: theirs, Action: "prohibit"}), rule(host.Rule{Action: "prohibit"})), "no-return-route", Observed, ""}, none},
		"a rule that only differs in not":  {loss{refused, realServer(rule(host.Rule{To: to, Invert: true, Action: "prohibit"}), rule(host.Rule{To: to, Action: "prohibit"})), "no-return-route", Observed, ""}, none},
		"a rule of another comes later":    {loss{refused, realServer(rule(host.Rule{Action: "prohibit"}), rule(host.Rule{From: theirs, Action: "prohibit"})), "no-return-route", Observed, "ip rule del pref 10 prohibit"}, "rule 10"},
		"a rule is there twice":            {loss{refused, realServer(rule(host.Rule{To: to, Action: "prohibit"}), rule(host.Rule{To: to, Action: "prohibit"})), "no-return-route", Observed, "ip rule del pref 10 to 10.0.0.7/32 prohibit; ip rule del pref 10 to 10.0.0.7/32 prohibit"}, "rule 10"},
		"a rule that closes every VRF": {loss{refused, realServer(inVRF, set("net/ipv4/tcp_l3mdev_accept", "1"), func(s *host.Snapshot) {
			s.Routes = s.Routes[:len(s.Routes)-1]
			s.Rules = append(s.Rules, host.Rule{Priority: 6, L3mdev: true, Action: "unreachable", Suppress: -1})
		}), "no-return-route", Observed, ""}, "that of every VRF"},
		"a route by a nexthop object": {loss{refused, realServer(func(s *host.Snapshot) {
			s.Routes = append(s.Routes, host.Route{Table: 254, Type: "blackhole", Dst: to, Nexthop: 2})
		}), "no-return-route", Observed, "ip route del 10.0.0.7/32 nhid 2 table main"}, "of the type blackhole"},
		"a dead route is taken first": {loss{astray(), realServer(hop(2, true), hop(3, false)), "reply-into-tunnel", Observed, "ip route del unicast 10.0.0.7/32 dev tunl0 table main"}, "tunl0"},
		"a table of rules is closed": {loss{refused, realServer(rule(host.Rule{From: netip.PrefixFrom(vip, 32), Action: "lookup", Table: 100}), func(s *host.Snapshot) {
			s.Routes = append(s.Routes, host.Route{Table: 100, Type: "blackhole", Dst: netip.MustParsePrefix("0.0.0.0/0")})
		}), "no-return-route", Observed, "ip route add 10.0.0.0/24 dev eth0 table 100"}, "of the type blackhole"},
		"the director's table is closed":    {loss{noIPVSRoute, closed, "ipvs-no-route", Observed, ""}, "no route to the real server"},
		"another VIP has the prefix, too":   {loss{reply, realServer(wide...), "vip-wrong-prefix", Observed, "ip addr del 10.99.0.2/8 dev tunl0; ip addr del 10.99.0.1/8 dev tunl0; ip addr add 10.99.0.1/32 dev tunl0; ip addr add 10.99.0.2/32 dev tunl0; ip route add 10.0.0.0/24 dev eth0"}, "10.99.0.1/8"},
		"the source is this host's address": {loss{forged("10.0.0.11"), realServer(), "martian-source", Observed, ""}, "two hosts have it"},
		"the source is that of a bridge":    {loss{forged("172.17.0.1"), realServer(with(host.Link{Name: "docker0", Type: "bridge", Up: true}), addressed(4, "172.17.0.1/16")), "martian-source", Observed, ""}, "two hosts have it"},
		"the source is a service's, on lo": {loss{forged("192.0.2.1"), realServer(addressed(1, "192.0.2.1/32"), func(s *host.Snapshot) {
			s.Sockets = append(s.Sockets, host.Socket{Proto: "tcp", State: "listen", Local: netip.MustParseAddrPort("192.0.2.1:53")})
		}), "martian-source", Observed, ""}, "two hosts have it"},
		"others of its network are on lo, too": {loss{forged("192.0.2.1"), realServer(addressed(1, "192.0.2.1/24"), addressed(1, "192.0.2.2/24")), "martian-source", Observed, "ip addr del 192.0.2.1/24 dev lo; ip addr replace 192.0.2.2/24 dev lo"}, "taken for forged"},
	} {
		t.Run(what, func(t *testing.T) {
			v := Explain(test.j, test.s)
			found(t, v, test.code, test.certainty, test.fix)
			if !strings.Contains(v.Cause.Summary, test.says) || v.Cause.Untried {
				t.Errorf("untried %v: %s", v.Cause.Untried, v.Cause.Summary)
			}
		})
	}
}
