package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// balancer is the state of a director whose only service has these real servers.
func balancer(change func(*host.Snapshot), all ...host.Destination) *host.Snapshot {
	return realServer(func(s *host.Snapshot) {
		s.Links, s.Addrs[1].Link, s.Sockets = s.Links[:2], 1, nil
		s.IPVS = &host.IPVS{Services: []host.Service{{Proto: protoTCP, Addr: netip.AddrPortFrom(vip, 80), Destinations: all}}}
		s.Sysctls["net/ipv4/vs/backup_only"], s.Sysctls["net/ipv4/vs/sloppy_tcp"], s.Sysctls["net/ipv4/vs/pmtu_disc"] = "0", "0", "1"
		change(s)
	})
}

func TestCausesOfADirector(t *testing.T) {
	for what, test := range directed() {
		t.Run(what, func(t *testing.T) { found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix) })
	}
}

// directed are losses on a director.
func directed() map[string]loss {
	as := func(*host.Snapshot) {}
	backup := func(s *host.Snapshot) { s.Sysctls["net/ipv4/vs/backup_only"], s.IPVS.Backup = "1", true }
	server := func(weight int32, upper, connections uint32) host.Destination {
		return host.Destination{Addr: netip.AddrPortFrom(rip, 80), Method: "tunnel", Weight: weight, Upper: upper, Inactive: connections}
	}
	other := host.Destination{Addr: netip.MustParseAddrPort("10.0.0.12:80"), Method: "route", Weight: 1}
	connected := func(s *host.Snapshot) {
		s.IPVS.Conns = []host.IPVSConn{{Proto: "tcp", Client: netip.AddrPortFrom(client, 30000), Virtual: netip.AddrPortFrom(vip, 80), Dest: netip.AddrPortFrom(rip, 80)}}
	}
	bare := func(j journey.Journey) journey.Journey { j.Outer = nil; return j }
	everyPort := func(s *host.Snapshot) { s.IPVS.Services[0].Addr = netip.AddrPortFrom(vip, 0) }
	anyPort := func(a string) host.Destination {
		return host.Destination{Addr: netip.AddrPortFrom(netip.MustParseAddr(a), 0), Method: "tunnel", Weight: 1}
	}
	byIPVS := bare(dropped("nf_hook_slow", "NETFILTER_DROP", "eth0", false))
	byIPVS.Drop.Decider = "ip_vs_in"
	noSocket := rejected(bare(dropped("tcp_v4_rcv", "NO_SOCKET", "eth0", false)), journey.ByRST, 0, 0)
	later := noSocket
	later.Packet.TCPFlags = event.ACK
	tooLong := rejected(bare(dropped("ip_vs_tunnel_xmit", "NOT_SPECIFIED", "eth0", false)), journey.ByICMP, 3, 4)
	expired := rejected(dropped("ip_vs_tunnel_xmit", "NOT_SPECIFIED", "tunl0", false), journey.ByICMP, 11, 0)
	sentOn := expired
	sentOn.Steps = []journey.Step{{Place: event.NetifReceiveSkb, Netns: here, Tunnelled: true}, {Place: event.NetifReceiveSkb, Netns: here}, {Place: event.IPVSXmit, Netns: here}}
	unreachable := rejected(bare(dropped("ip_vs_tunnel_xmit", "NOT_SPECIFIED", "eth0", false)), journey.ByICMP, 3, 1)
	away := netip.MustParseAddr("10.0.0.13")
	unheard := dropped("neigh_invalidate", "NEIGH_FAILED", "eth0", true)
	unheard.Outer = &event.Header{Src: dip, Dst: away, Protocol: 4, Len: 80}
	home := func(proto uint8, method string) journey.Journey {
		j := noSocket
		j.Packet.Inner.Protocol = proto
		j.Steps = append(slices.Clone(j.Steps), journey.Step{Place: event.IPVSXmit, Netns: here, Method: method})
		return j
	}
	here := host.Destination{Addr: netip.AddrPortFrom(rip, 80), Method: "route", Weight: 1}
	at := func(change func(*host.Snapshot)) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			change(s)
			s.Routes = append(s.Routes, host.Route{Table: 255, Dst: netip.PrefixFrom(rip, 32), Type: "local", Hops: []host.Hop{{Link: 2}}})
		}
	}
	resting := host.Destination{Addr: netip.AddrPortFrom(away, 80), Method: "tunnel"}
	busy := resting
	busy.Weight = 1
	kept := func(s *host.Snapshot) {
		v := &s.IPVS.Services[0]
		v.Flags, v.Timeout, v.Netmask = host.ServicePersistent, 300, netip.MustParseAddr("255.255.255.0")
		s.Sysctls["net/ipv4/vs/expire_quiescent_template"] = "0"
		s.IPVS.Conns = []host.IPVSConn{{Proto: "tcp", Client: netip.MustParseAddrPort("10.0.0.0:0"), Virtual: netip.AddrPortFrom(vip, 80), Dest: netip.AddrPortFrom(away, 80)}}
	}
	renewed := func(s *host.Snapshot) { kept(s); s.Sysctls["net/ipv4/vs/expire_quiescent_template"] = "1" }
	refused := func(s *host.Snapshot) {
		kept(s)
		s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.PrefixFrom(away, 32), Type: "unreachable"})
	}
	const expire = "sysctl -w net.ipv4.vs.expire_quiescent_template=1"
	elsewhere := func(s *host.Snapshot) {
		s.Sockets = []host.Socket{{Proto: "tcp", State: "listen", Local: netip.AddrPortFrom(dip, 80)}}
	}
	marked := func(s *host.Snapshot) { s.IPVS.Services = []host.Service{{Mark: 7}} }
	onTunnel := func(s *host.Snapshot) {
		s.Links = append(s.Links, host.Link{Index: 3, Name: "tunl0", Type: "ipip", Up: true, Tunnel: &host.Tunnel{Proto: 4}})
		s.Addrs[1].Link = 3
	}
	return map[string]loss{
		"a loop, on the real server":           {sentOn, balancer(onTunnel, other), "ipvs-loop", Observed, "ipvsadm -D -t 10.99.0.1:80"},
		"a loop, on one that is to take over":  {sentOn, balancer(func(s *host.Snapshot) { onTunnel(s); s.IPVS.Backup = true }, other), "ipvs-loop", Observed, "sysctl -w net.ipv4.vs.backup_only=1"},
		"a loop, on the director":              {sentOn, balancer(as, server(1, 0, 0)), "ipvs-loop", Observed, ""},
		"full":                                 {byIPVS, balancer(as, server(2, 1, 1)), "ipvs-overloaded", Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 2 -x 0"},
		"full, and some left since":            {byIPVS, balancer(as, server(1, 20, 15)), "ipvs-overloaded", Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1 -x 0"},
		"full, and another at rest":            {byIPVS, balancer(as, server(1, 1, 1), host.Destination{Addr: other.Addr, Method: "route"}), "ipvs-overloaded", Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1 -x 0"},
		"at rest":                              {byIPVS, balancer(as, server(0, 5, 1)), "ipvs-no-destination", Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1 -x 5"},
		"removed":                              {byIPVS, balancer(connected), "ipvs-destination-removed", Observed, "ipvsadm -a -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1"},
		"removed, of a service for every port": {byIPVS, balancer(func(s *host.Snapshot) { connected(s); everyPort(s) }, anyPort("10.0.0.12")), "ipvs-destination-removed", Observed, "ipvsadm -a -t 10.99.0.1:0 -r 10.0.0.11:0 -i -w 0"},
		"removed, another left":                {byIPVS, balancer(connected, other), "ipvs-destination-removed", Observed, "ipvsadm -a -t 10.99.0.1:80 -r 10.0.0.11:80 -g -w 0"},
		"backup":                               {noSocket, balancer(backup, server(1, 0, 0)), "ipvs-backup", Observed, "sysctl -w net.ipv4.vs.backup_only=0"},
		"backup, later":                        {later, balancer(backup, server(1, 0, 0)), "ipvs-backup", Observed, "sysctl -w net.ipv4.vs.backup_only=0"},
		"forgotten":                            {later, balancer(as, server(1, 0, 0)), "ipvs-no-connection", Observed, "sysctl -w net.ipv4.vs.sloppy_tcp=1"},
		"forgotten, one of two":                {later, balancer(as, server(1, 0, 0), other), "ipvs-no-connection", Observed, ""},
		"defended":                             {byIPVS, balancer(set("net/ipv4/vs/drop_packet", "3"), server(1, 0, 0)), "ipvs-defence", Observed, "sysctl -w net.ipv4.vs.drop_packet=0"},
		"defended, and at rest":                {byIPVS, balancer(set("net/ipv4/vs/drop_packet", "3"), server(0, 0, 0)), "ipvs-no-destination", Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1"},
		"without the mark": {noSocket, balancer(marked), "ipvs-no-service", Observed,
			"nft add table ip ipvs; nft add chain ip ipvs prerouting '{ type filter hook prerouting priority mangle; }'; nft add rule ip ipvs prerouting ip daddr 10.99.0.1 tcp dport 80 meta mark set 7"},
		"the host itself, and nobody listens":          {home(protoTCP, "direct"), balancer(at(as), here), "no-listener", Observed, ""},
		"the host itself, by NAT":                      {given(home(protoTCP, "nat"), "10.0.0.11:80"), balancer(at(as), here), "no-listener", Observed, ""},
		"the host itself, not seen":                    {noSocket, balancer(at(as), here, other), "no-listener", Observed, ""},
		"the host itself, and another address":         {home(protoTCP, "tunnel"), balancer(at(elsewhere), here), "listener-wrong-address", Observed, ""},
		"the host itself is a backup":                  {noSocket, balancer(at(backup), here), "ipvs-backup", Observed, "sysctl -w net.ipv4.vs.backup_only=0"},
		"kept by persistence, without a route":         {unreachable, balancer(refused, resting, other), "ipvs-persistence", Observed, expire},
		"kept by persistence, without a neighbour":     {unheard, balancer(kept, resting, other), "ipvs-persistence", Observed, expire},
		"kept by persistence, and nobody else":         {unheard, balancer(kept, resting), "neighbour-failed", Inferred, ""},
		"let go by persistence, without a neighbour":   {unheard, balancer(renewed, resting, other), "neighbour-failed", Inferred, ""},
		"kept by persistence at one that takes others": {unheard, balancer(kept, busy, other), "neighbour-failed", Inferred, ""},
		"too long": {tooLong, balancer(as, server(1, 0, 0)), "mtu-exceeded", Observed, "sysctl -w net.ipv4.vs.pmtu_disc=0"},
	}
}

func TestAPacketLostBehindAnotherMethodIsNotRedirected(t *testing.T) {
	j := rejected(dropped("udp_rcv", "NO_SOCKET", "eth0", false), journey.ByICMP, 3, 3)
	j.Outer, j.Packet.Inner.Protocol = nil, protoUDP
	changed := j.Packet
	changed.Inner.Dst = rip
	j.Changed = &changed
	j.Steps = append([]journey.Step{{Place: event.IPVSXmit, Netns: 1, Method: "nat"}}, j.Steps...)
	serving := realServer(func(s *host.Snapshot) {
		s.Sockets = append(s.Sockets, host.Socket{Proto: "udp", State: "close", Local: netip.AddrPortFrom(vip, 80)})
	})
	for what, s := range map[string]*host.Snapshot{"state read": serving, "not read": nil} {
		if c := Explain(j, s).Cause; c.Code != "ipvs-wrong-method" || c.Certainty != Inferred || !strings.Contains(c.Summary, "Masq") {
			t.Errorf("%s: %s, %s: %s", what, c.Code, c.Certainty, c.Summary)
		}
	}
	j.Steps = j.Steps[1:]
	if c := Explain(j, serving).Cause; c.Code != "redirected" {
		t.Errorf("without IPVS: %s", c.Code)
	}
}

func TestAPortUsedAgainIsOnlyInferred(t *testing.T) {
	j := dropped("nf_hook_slow", "NETFILTER_DROP", "eth0", false)
	j.Outer, j.Drop.Decider = nil, "ip_vs_in"
	tracks := func(mode string) *host.Snapshot {
		return balancer(func(s *host.Snapshot) {
			s.Sysctls["net/ipv4/vs/conntrack"], s.Sysctls["net/ipv4/vs/conn_reuse_mode"] = "1", mode
		}, host.Destination{Addr: netip.AddrPortFrom(rip, 80), Method: "tunnel", Weight: 1})
	}
	found(t, Explain(j, tracks("1")), "ipvs-port-reuse", Inferred, "sysctl -w net.ipv4.vs.conn_reuse_mode=0")
	found(t, Explain(j, tracks("0")), unknown, NotKnown, "")
}

// TestARealServerWithoutAPortIsTheConnections: IPVS gives a connection the port that its packets are for.
func TestARealServerWithoutAPortIsTheConnections(t *testing.T) {
	j := dropped("nf_hook_slow", "NETFILTER_DROP", "eth0", false) // by somebody else
	j.Outer, j.Drop.NfHook = nil, "input"
	s := balancer(func(s *host.Snapshot) {
		s.IPVS.Services[0].Addr = netip.AddrPortFrom(vip, 0)
		s.IPVS.Conns = []host.IPVSConn{{Proto: "tcp", Client: netip.AddrPortFrom(client, 30000), Virtual: netip.AddrPortFrom(vip, 80), Dest: netip.AddrPortFrom(rip, 80)}}
	}, host.Destination{Addr: netip.AddrPortFrom(rip, 0), Method: "tunnel", Weight: 1})
	if c := Explain(j, s).Cause; c.Code != "unknown" {
		t.Errorf("%s: %s", c.Code, c.Summary)
	}
}

// TestWithoutAStateNobodyIsToListenOnADirector: a packet that came in no tunnel may be IPVS's, and no service of it is missed.
func TestWithoutAStateNobodyIsToListenOnADirector(t *testing.T) {
	j := rejected(dropped("tcp_v4_rcv", "NO_SOCKET", "eth0", false), journey.ByRST, 0, 0)
	if c := Explain(j, nil).Cause; c.Code != "no-listener" {
		t.Errorf("in IPIP: %s: %s", c.Code, c.Summary)
	}
	if j.Outer = nil; Explain(j, nil).Cause.Code != "unknown" {
		t.Errorf("in no tunnel: %s: %s", Explain(j, nil).Cause.Code, Explain(j, nil).Cause.Summary)
	}
}
