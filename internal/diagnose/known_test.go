package diagnose

import (
	"net/netip"
	"slices"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

func TestDirectorsThatAreSoundHaveNoFault(t *testing.T) {
	server := func(upper, connections uint32) host.Destination {
		return host.Destination{Addr: netip.MustParseAddrPort("10.0.0.12:80"), Method: "tunnel", Weight: 1, Upper: upper, Inactive: connections}
	}
	owned := func(change func(*host.Snapshot)) func(*host.Snapshot) {
		return func(s *host.Snapshot) { s.Routes[1].Hops[0].Link = 1; change(s) }
	}
	as := func(*host.Snapshot) {}
	alone := set("net/ipv4/vs/backup_only", "1")
	for what, s := range map[string]*host.Snapshot{
		"backup_only without a backup's daemon":  balancer(owned(alone), server(0, 0)),
		"fewer connections than the threshold":   balancer(owned(as), server(100, 80)),
		"as many as the threshold would be none": balancer(owned(as), server(100, 99)),
	} {
		findings, _ := examined1(plainRequest(), s)
		if slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity != Noted }) {
			t.Errorf("%s: doctor says %q", what, saidOf(findings))
		}
	}
	findings, _ := examined1(plainRequest(), balancer(owned(as), server(100, 100)))
	if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Lost && f.Code == "ipvs-overloaded" }) {
		t.Errorf("as many as the threshold: doctor says %q", saidOf(findings))
	}
}

func TestWhatIPVSKnowsIsSaidAsItWasRead(t *testing.T) {
	port := netip.AddrPortFrom
	server := host.Destination{Addr: netip.MustParseAddrPort("10.0.0.12:80"), Method: "tunnel", Weight: 1}
	conn := func(proto string, more int) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.IPVS.MoreConns = more
			if proto != "" {
				s.IPVS.Conns = []host.IPVSConn{{Proto: proto, Client: port(client, 30000), Virtual: port(vip, 80), Dest: server.Addr}}
			}
		}
	}
	later := rejected(dropped("tcp_v4_rcv", "NO_SOCKET", "eth0", false), journey.ByRST, 0, 0)
	later.Outer, later.Packet.TCPFlags = nil, event.ACK
	const none = "ipvsadm -Lnc: none of 10.0.0.7:30000 to 10.99.0.1:80"
	for what, test := range map[string]struct {
		s         *host.Snapshot
		certainty Certainty
		none      bool
	}{
		"all was read, and it is not there":   {balancer(conn("", 0), server), Observed, true},
		"it is one of UDP":                    {balancer(conn("udp", 0), server), Observed, true},
		"it is there by now":                  {balancer(conn("tcp", 0), server), Inferred, false},
		"not all of the connections was read": {balancer(conn("", 9), server), Observed, false},
	} {
		c := Explain(later, test.s).Cause
		if c.Code != "ipvs-no-connection" || c.Certainty != test.certainty || slices.Contains(c.Evidence, none) != test.none {
			t.Errorf("%s: %s, %s, %q", what, c.Code, c.Certainty, c.Evidence)
		}
	}
	at := func(port uint16) host.Service {
		return host.Service{Proto: 6, Addr: netip.AddrPortFrom(vip, port), Destinations: []host.Destination{{Addr: netip.AddrPortFrom(rip, port), Method: "tunnel"}}}
	}
	both := balancer(func(s *host.Snapshot) { s.IPVS.Services = []host.Service{at(0), at(80)} })
	byIPVS := dropped("nf_hook_slow", "NETFILTER_DROP", "eth0", false)
	byIPVS.Outer, byIPVS.Drop.Decider = nil, "ip_vs_in"
	found(t, Explain(byIPVS, both), "ipvs-no-destination", Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1")
	if s := balancer(conn("udp", 0)); Explain(byIPVS, s).Cause.Code != "ipvs-no-destination" {
		t.Error("a connection of UDP is taken for one of TCP")
	}
}
