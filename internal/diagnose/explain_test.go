package diagnose

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
	"ipiptrace/tracer/event"
)

var (
	client = netip.MustParseAddr("10.0.0.7")
	vip    = netip.MustParseAddr("10.99.0.1")
	dip    = netip.MustParseAddr("10.0.0.2")
	rip    = netip.MustParseAddr("10.0.0.11")
)

// realServer is the state of a real server on which everything is right, as changed by the functions.
func realServer(changes ...func(*host.Snapshot)) *host.Snapshot {
	s := &host.Snapshot{
		Netns: here, Modules: []string{"ipip", "tunnel4"},
		Links: []host.Link{
			{Index: 1, Name: "lo", Type: "loopback", Up: true},
			{Index: 2, Name: "eth0", Type: "veth", Up: true, MAC: "02:00:0a:00:00:0b"},
			{Index: 3, Name: "tunl0", Type: "ipip", Up: true, Tunnel: &host.Tunnel{Proto: 4, Fallback: true}},
		},
		Addrs: []host.Addr{{Link: 2, Prefix: netip.PrefixFrom(rip, 24)}, {Link: 3, Prefix: netip.PrefixFrom(vip, 32)}},
		Routes: []host.Route{
			{Table: 255, Dst: netip.PrefixFrom(rip, 32), Type: "local", Hops: []host.Hop{{Link: 2}}},
			{Table: 255, Dst: netip.PrefixFrom(vip, 32), Type: "local", Hops: []host.Hop{{Link: 3}}},
			{Table: 254, Dst: netip.MustParsePrefix("10.0.0.0/24"), Type: "unicast", Hops: []host.Hop{{Link: 2}}},
		},
		Rules: []host.Rule{
			{Priority: 0, Action: "lookup", Table: 255, Suppress: -1},
			{Priority: 32766, Action: "lookup", Table: 254, Suppress: -1},
		},
		Sysctls: map[string]string{
			"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/tunl0/rp_filter": "0", "net/ipv4/conf/eth0/rp_filter": "0",
			"net/ipv4/ip_forward": "0", "net/ipv4/tcp_syncookies": "1",
		},
		Sockets:  []host.Socket{{Proto: "tcp", State: "listen", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), 80), SendQueue: 128}},
		Counters: map[string]uint64{},
		Queues:   []host.Queue{},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

func set(name, value string) func(*host.Snapshot) {
	return func(s *host.Snapshot) { s.Sysctls[name] = value }
}

func withoutRoute(prefix string) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		var left []host.Route
		for _, r := range s.Routes {
			if r.Dst.String() != prefix {
				left = append(left, r)
			}
		}
		s.Routes = left
	}
}

// dropped is a SYN that was lost behind the tunnel, or with outer before it.
func dropped(function, reason, dev string, outer bool) journey.Journey {
	return journey.Journey{
		Fate: journey.Dropped, Direction: journey.Request, Role: journey.RealServer,
		Outer: &event.Header{Src: dip, Dst: rip, TTL: 63, Protocol: 4, Len: 80},
		Packet: event.Packet{
			Inner: event.Header{Src: client, Dst: vip, TTL: 62, Protocol: 6, Len: 60}, SkbLen: 60,
			HasPorts: true, SrcPort: 30000, DstPort: 80, TCPFlags: event.SYN,
		},
		Steps: []journey.Step{{Place: event.NetifReceiveSkb, Dev: dev, Netns: here, Tunnelled: outer}},
		Drop:  &journey.Drop{Drop: event.Drop{Function: function, Reason: reason}, Dev: dev, Netns: here},
	}
}

func rejected(j journey.Journey, by string, kind, code uint8) journey.Journey {
	j.Fate, j.Reject = journey.Rejected, &journey.Reject{By: by, Type: kind, Code: code, Sent: true}
	return j
}

// loss is a journey that was lost, the state of where it was, and what is to be said of it.
type loss struct {
	j         journey.Journey
	s         *host.Snapshot
	code      string
	certainty Certainty
	fix       string
}

func TestCausesAreFound(t *testing.T) {
	for what, test := range losses() {
		t.Run(what, func(t *testing.T) {
			found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix)
		})
	}
}

// losses are one or more of nearly every cause.
func losses() map[string]loss {
	strict := set("net/ipv4/conf/all/rp_filter", "1")
	tunl0Down := func(s *host.Snapshot) { s.Links[2].Up = false }
	noVIP := func(s *host.Snapshot) { withoutRoute("10.99.0.1/32")(s); s.Addrs = s.Addrs[:1] }
	unnumbered := func(s *host.Snapshot) { s.Addrs[1].Link = 1 }
	rpf := dropped("ip_rcv_finish_core", "IP_RPFILTER", "tunl0", false)
	silentRPF := dropped("ip_rcv_finish_core", "", "tunl0", false) // 5.10 has no reasons
	atTunnel := rejected(dropped("tunnel4_rcv", "NOT_SPECIFIED", "eth0", true), journey.ByICMP, 3, 3)
	noSocket := rejected(dropped("tcp_v4_rcv", "NO_SOCKET", "tunl0", false), journey.ByRST, 0, 0)
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	byGRE := dropped("ip_local_deliver_finish", "IP_NOPROTO", "eth0", true)
	byGRE.Outer.Protocol = protoGRE
	byGUE := dropped("udp_rcv", "NO_SOCKET", "eth0", true)
	byGUE.Outer.Protocol = protoUDP
	optional := func(reason string) journey.Journey {
		j := dropped("ip_rcv_finish_core", reason, "tunl0", false)
		j.Packet.Options = true
		return j
	}
	decided := func(by string) journey.Journey {
		j := dropped("tcp_validate_incoming", "", "tunl0", false)
		j.Drop.Decider = by
		return j
	}
	all := map[string]loss{
		"strict filter":                  {rpf, realServer(strict), "rp-filter", Observed, "sysctl -w net.ipv4.conf.tunl0.rp_filter=2"},
		"strict filter, no reasons":      {silentRPF, realServer(strict), "rp-filter", Observed, "sysctl -w net.ipv4.conf.tunl0.rp_filter=2"},
		"loose filter, unnumbered tunl0": {rpf, realServer(set("net/ipv4/conf/tunl0/rp_filter", "2"), unnumbered), "rp-filter", Observed, "ip addr add 10.99.0.1/32 dev tunl0"},
		"loose filter, no way back":      {rpf, realServer(set("net/ipv4/conf/tunl0/rp_filter", "2"), withoutRoute("10.0.0.0/24")), "rp-filter", Observed, "ip route add 10.0.0.0/24 dev eth0"},
		"the filter was repaired since":  {rpf, realServer(), "rp-filter", Inferred, ""},
		"the state was not read":         {rpf, nil, "rp-filter", Inferred, ""},
		"the source is this host's": {silentRPF, realServer(func(s *host.Snapshot) {
			s.Routes = append(s.Routes, host.Route{Table: 255, Dst: netip.PrefixFrom(client, 32), Type: "local", Hops: []host.Hop{{Link: 1}}})
			s.Addrs = append(s.Addrs, host.Addr{Link: 1, Prefix: netip.PrefixFrom(client, 32)})
		}), "martian-source", Observed, "ip addr del 10.0.0.7/32 dev lo"},
		"tunl0 is down":              {atTunnel, realServer(tunl0Down), "tunnel-device-down", Observed, "ip link set tunl0 up"},
		"tunl0 is down, sit0 is up":  {dropped("sit_tunnel_rcv", "NOT_SPECIFIED", "eth0", true), realServer(tunl0Down), "tunnel-device-down", Observed, "ip link set tunl0 up"},
		"ipip is not loaded, sit is": {atTunnel, realServer(func(s *host.Snapshot) { s.Modules, s.Links = []string{"sit", "tunnel4"}, s.Links[:2] }), "tunnel-module-missing", Observed, "modprobe ipip; ip link set tunl0 up"},
		"tunnel for another director": {atTunnel, realServer(tunl0Down, func(s *host.Snapshot) {
			s.Links = append(s.Links, host.Link{Index: 4, Name: "lvs0", Type: "ipip", Up: true, Tunnel: &host.Tunnel{Proto: 4, Local: rip, Remote: netip.MustParseAddr("10.0.0.99")}})
		}), "tunnel-endpoint-mismatch", Observed, "ip link add lvs1 type ipip local 10.0.0.11; ip link set lvs1 up"},
		"at the tunnel, all is well now": {atTunnel, realServer(), unknown, NotKnown, ""},
		"the VIP is missing":             {dropped("ip_error", "IP_INADDRERRORS", "tunl0", false), realServer(noVIP), "vip-missing", Observed, "ip addr add 10.99.0.1/32 dev tunl0"},
		"the VIP is there":               {dropped("ip_error", "IP_INADDRERRORS", "tunl0", false), realServer(), unknown, NotKnown, ""},
		"the outer address is not ours":  {dropped("ip_error", "IP_INADDRERRORS", "eth0", true), realServer(withoutRoute("10.0.0.11/32")), "outer-not-local", Observed, ""},
		"a rule refuses": {dropped("ip_error", "IP_INADDRERRORS", "tunl0", false), realServer(func(s *host.Snapshot) {
			s.Rules[0].Priority = 100
			s.Rules = append(s.Rules, host.Rule{Priority: 10, IIF: "tunl0", Action: "blackhole", Suppress: -1})
		}), "route-reject", Observed, "ip rule del pref 10 iif tunl0 blackhole"},
		"nobody listens":                    {noSocket, realServer(func(s *host.Snapshot) { s.Sockets = nil }), "no-listener", Observed, ""},
		"bound to another address":          {noSocket, realServer(func(s *host.Snapshot) { s.Sockets[0].Local = netip.AddrPortFrom(rip, 80) }), "listener-wrong-address", Observed, ""},
		"bound to another device":           {noSocket, realServer(func(s *host.Snapshot) { s.Sockets[0].Device = 2 }), "listener-wrong-device", Observed, ""},
		"it listens by now":                 {noSocket, realServer(), "no-listener", Inferred, ""},
		"the accept queue is full":          {refused, realServer(func(s *host.Snapshot) { s.Sockets[0].RecvQueue = 129 }), "accept-queue-full", Observed, ""},
		"no way back":                       {refused, realServer(withoutRoute("10.0.0.0/24")), "no-return-route", Observed, "ip route add 10.0.0.0/24 dev eth0"},
		"refused for no reason":             {refused, realServer(), unknown, NotKnown, ""},
		"IPVS on a real server":             {noSocket, realServer(func(s *host.Snapshot) { s.Sockets, s.IPVS = nil, &host.IPVS{} }), "no-listener", Observed, ""},
		"the VIP is missing, in a circle":   {rejected(dropped("ip_forward", "IP_INHDR", "tunl0", false), journey.ByICMP, 11, 0), realServer(noVIP), "vip-missing", Observed, "ip addr add 10.99.0.1/32 dev tunl0"},
		"in a circle, and the VIP is there": {rejected(dropped("ip_forward", "IP_INHDR", "tunl0", false), journey.ByICMP, 11, 0), realServer(), "ttl-expired", Inferred, ""},
		"the tunnel is in a VRF": {noSocket, realServer(set("net/ipv4/tcp_l3mdev_accept", "0"), func(s *host.Snapshot) {
			s.Links[2].Master, s.Links[2].MasterKind = 9, "vrf"
		}), "listener-wrong-device", Observed, "sysctl -w net.ipv4.tcp_l3mdev_accept=1"},
		"a mark of congestion":          {dropped("ip_tunnel_rcv", "NOT_SPECIFIED", "eth0", true), realServer(), "ecn-mismatch", Inferred, ""},
		"by GRE":                        {rejected(byGRE, journey.ByICMP, 3, 2), realServer(), "tunnel-mode-mismatch", Observed, ""},
		"by GUE":                        {rejected(byGUE, journey.ByICMP, 3, 3), realServer(), "tunnel-mode-mismatch", Observed, "modprobe fou; ip fou add port 6080 gue"},
		"by GRE, and a tunnel is there": {byGRE, realServer(func(s *host.Snapshot) { s.Links[2].Type = "gre" }), "tunnel-mode-mismatch", Inferred, ""},
		"a source route": {optional("NOT_SPECIFIED"), realServer(set("net/ipv4/conf/all/accept_source_route", "0"), set("net/ipv4/conf/tunl0/accept_source_route", "1")),
			"source-route", Observed, "sysctl -w net.ipv4.conf.all.accept_source_route=1"},
		"no IPv4 packet in IPIP":                 {noInner(dropped("ip_rcv_core", "IP_INHDR", "tunl0", false), 80), realServer(), "malformed-packet", Inferred, ""},
		"the same, and no reason":                {noInner(dropped("ip_rcv_core", "", "tunl0", false), 80), realServer(), "malformed-packet", Inferred, ""},
		"IPIP that ends before its inner header": {noInner(dropped("tunnel4_rcv", "NOT_SPECIFIED", "eth0", true), 28), realServer(), "malformed-packet", Inferred, ""},
		"a wrong option":                         {rejected(optional("NOT_SPECIFIED"), journey.ByICMP, 12, 0), realServer(), "malformed-packet", Inferred, ""},
		"options, and they may come":             {optional("NOT_SPECIFIED"), realServer(set("net/ipv4/conf/all/accept_source_route", "1"), set("net/ipv4/conf/tunl0/accept_source_route", "1")), unknown, NotKnown, ""},
		"options, and a strict filter":           {optional(""), realServer(strict, set("net/ipv4/conf/all/accept_source_route", "0")), "rp-filter", Observed, "sysctl -w net.ipv4.conf.tunl0.rp_filter=2"},
		"an old timestamp":                       {dropped("tcp_validate_incoming", "TCP_RFC7323_PAWS", "tunl0", false), realServer(), "tcp-paws", Inferred, ""},
		"an old timestamp, no reasons":           {decided("tcp_paws_discard"), realServer(), "tcp-paws", Inferred, ""},
		"beyond the window, no reasons":          {decided("tcp_sequence"), realServer(), "tcp-out-of-window", Inferred, ""},
		"refused by TCP for no reason":           {decided(""), realServer(), unknown, NotKnown, ""},
		"fragments overlap":                      {dropped("inet_frag_rbtree_purge", "", "eth0", true), realServer(func(s *host.Snapshot) { s.Counters["IpExt.ReasmOverlaps"] = 1 }), "fragment-lost", Inferred, ""},
		"the reader finds it damaged":            {dropped("udp_recvmsg", "NOT_SPECIFIED", "tunl0", false), realServer(), "bad-checksum", Inferred, ""},
		"checksum":                               {dropped("tcp_v4_rcv", "TCP_CSUM", "tunl0", false), realServer(), "bad-checksum", Inferred, ""},
		"an outer header that it got on its way": {dropped("ip_rcv_core", "", "eth0", true), realServer(), unknown, NotKnown, ""},
		"a place that nobody knows":              {dropped("warp_core_dump", "NOT_SPECIFIED", "eth0", true), realServer(), unknown, NotKnown, ""},
		"forwarding is off, and no matter":       {rpf, realServer(strict, set("net/ipv4/ip_forward", "0")), "rp-filter", Observed, "sysctl -w net.ipv4.conf.tunl0.rp_filter=2"},
	}
	maps.Copy(all, tunnelled())
	return all
}

// typed are the commands of a cause, as one would type them one after the other.
func typed(c *Cause) string {
	lines := make([]string, len(c.Fix))
	for i, f := range c.Fix {
		lines[i] = f.String()
	}
	return strings.Join(lines, "; ")
}

// found compares a verdict's cause with what it should be.
func found(t *testing.T, v Verdict, code string, certainty Certainty, fix string) {
	t.Helper()
	c := v.Cause
	if c == nil {
		t.Fatal("no cause")
	}
	if got := typed(c); c.Code != code || c.Certainty != certainty || got != fix {
		t.Errorf("%s, %s, fix %q\nwant %s, %s, fix %q\n%s\n%q", c.Code, c.Certainty, got, code, certainty, fix, c.Summary, c.Evidence)
	}
	if c.Summary == "" || certainty == Observed && len(c.Evidence) == 0 {
		t.Errorf("%s: summary %q, evidence %q", c.Code, c.Summary, c.Evidence)
	}
}

// TestNoEvidenceIsEmpty asks every row; the rules here have no text, as one of which nft's listing may be forged.
func TestNoEvidenceIsEmpty(t *testing.T) {
	lines := map[string]bool{}
	for what, test := range repairable(t) {
		for _, line := range Explain(test.j, test.s).Cause.Evidence {
			if lines[line] = true; strings.TrimSpace(line) == "" {
				t.Errorf("%s: evidence %q", what, line)
			}
		}
	}
	if want := "chain input: handle 3, whose text cannot be read safely"; !lines[want] {
		t.Errorf("nothing says %q", want)
	}
	blank := ruleset.Rule{Backend: "iptables-legacy", Chain: "INPUT", Number: 2, Text: " "}
	if got := texts(nil, evidenceOf(blank)); !slices.Equal(got, []string{"chain INPUT: rule 2, which has no text"}) {
		t.Errorf("%q", got)
	}
}

func TestWhatIsMissingMakesAVerdictLessCertain(t *testing.T) {
	strict := set("net/ipv4/conf/all/rp_filter", "1")
	j := dropped("ip_rcv_finish_core", "IP_RPFILTER", "tunl0", false)
	j.Gaps = 1
	if c := Explain(j, realServer(strict)).Cause; c.Certainty != Inferred {
		t.Errorf("with a gap: %s", c.Certainty)
	}
	j.Gaps = 0
	s := realServer(strict)
	s.Unread = []host.Unread{{Part: host.PartRoutes, Why: "not permitted"}}
	if c := Explain(j, s).Cause; c.Certainty != Inferred || len(c.Unread) != 1 || c.Unread[0] != "routes: not permitted" {
		t.Errorf("without routes: %s, unread %q", c.Certainty, c.Unread)
	}
	s.Unread = []host.Unread{{Part: host.PartNft, Why: "nft is not installed"}}
	if c := Explain(j, s).Cause; c.Certainty != Observed {
		t.Errorf("without rules, which don't matter: %s", c.Certainty)
	}
	s.Unread = append(s.Unread, host.Unread{Part: host.PartSysctls, Why: "no time"}, host.Unread{Part: host.PartXFRM, Why: "no time"})
	want := []string{"nftables: nft is not installed", "sysctls, xfrm: no time"}
	if c := Explain(dropped("no_such_function", "", "eth0", false), s).Cause; c.Code != unknown || !slices.Equal(c.Unread, want) {
		t.Errorf("where nothing explains a loss everything may have mattered: %s, unread %q", c.Code, c.Unread)
	}
}

func TestWhatArrivedHasNoCause(t *testing.T) {
	j := dropped("", "", "tunl0", false)
	j.Fate, j.Drop = journey.Delivered, nil
	if v := Explain(j, realServer()); v.Cause != nil {
		t.Errorf("%+v", v.Cause)
	}
	j.ReplyLost = true
	if v := Explain(j, realServer(withoutRoute("10.0.0.0/24"))); v.Cause == nil || v.Cause.Code != "no-return-route" {
		t.Errorf("a reply that was lost: %+v", v.Cause)
	}
}

// FuzzExplain: whatever a recording says, there is a verdict.
func FuzzExplain(f *testing.F) {
	for _, function := range []string{"ip_error", "tunnel4_rcv", "tcp_conn_request", "nft_do_chain", "neigh_invalidate", "__dev_queue_xmit"} {
		j, _ := json.Marshal(dropped(function, "", "tunl0", false))
		s, _ := json.Marshal(realServer())
		f.Add(j, s)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var j journey.Journey
		var s host.Snapshot
		if json.Unmarshal(a, &j) != nil || json.Unmarshal(b, &s) != nil {
			return
		}
		if v := Explain(j, &s); j.Lost() != (v.Cause != nil) {
			t.Errorf("lost %v, cause %+v", j.Lost(), v.Cause)
		}
	})
}

// noInner is the loss of what a director sent in IPIP, so long with its outer header, and is no IPv4 packet.
func noInner(j journey.Journey, length uint16) journey.Journey {
	nothing := netip.AddrFrom4([4]byte{})
	outer := *j.Outer
	outer.Len = length
	j.Outer = &outer
	j.Packet = event.Packet{NoInner: true, Outer: &outer, Inner: event.Header{Src: nothing, Dst: nothing}}
	return j
}
