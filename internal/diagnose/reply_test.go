package diagnose

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// astray is a request whose answer left by the tunnel, strayed that answer where the client refused it.
func astray() journey.Journey {
	j := dropped("", "", "tunl0", false)
	j.Fate, j.Drop, j.ReplyLost = journey.Delivered, nil, true
	j.Astray = &event.Header{Src: rip, Dst: client, Protocol: protoIPIP}
	return j
}

func strayed() journey.Journey {
	j := rejected(dropped("tunnel4_rcv", "NOT_SPECIFIED", "eth0", true), journey.ByICMP, 3, 3)
	j.Direction = journey.Reply
	j.Packet.Inner.Src, j.Packet.Inner.Dst, j.Packet.SrcPort, j.Packet.DstPort = vip, client, 80, 40000
	j.Outer = &event.Header{Src: rip, Dst: client, Protocol: protoIPIP}
	j.Astray = j.Outer
	return j
}

// ruled routes what comes from the VIP by table 100.
func ruled(s *host.Snapshot) {
	from := host.Rule{Priority: 10, From: netip.PrefixFrom(vip, 32), Action: "lookup", Table: 100, Suppress: -1}
	s.Rules = append(s.Rules, from)
	s.Routes = append(s.Routes, host.Route{Table: 100, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: "unicast", Hops: []host.Hop{{Link: 3}}})
}

// routed has a route in a table by a device.
func routed(table uint32, dst string, hop host.Hop) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		s.Routes = append(s.Routes, host.Route{Table: table, Dst: netip.MustParsePrefix(dst), Type: "unicast", Hops: []host.Hop{hop}})
	}
}

// widePrefix gives the VIP a prefix, as `ip addr add 10.99.0.1/4 dev tunl0` does, with the kernel's route for it.
func widePrefix(s *host.Snapshot) {
	s.Addrs[1].Prefix = netip.PrefixFrom(vip, 4)
	s.Routes = append([]host.Route{{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/4"), Type: "unicast", Protocol: 2, Hops: []host.Hop{{Link: 3}}}}, s.Routes...)
	withoutRoute("10.0.0.0/24")(s)
}

func bound(dev uint32) func(*host.Snapshot) {
	return func(s *host.Snapshot) { s.Sockets[0].Device = dev }
}

func TestAnAnswerThatLeavesByTheTunnelSaysWhatSendsItThere(t *testing.T) {
	byTunnel := host.Hop{Link: 3}
	inTunnel := strayed()
	inTunnel.Fate, inTunnel.Reject, inTunnel.Astray, inTunnel.Outer = journey.Dropped, nil, nil, nil
	inTunnel.Drop = &journey.Drop{Drop: event.Drop{Function: "ip_tunnel_xmit", Reason: "NOT_SPECIFIED"}, Dev: "tunl0", Netns: here}
	aClient := realServer(func(s *host.Snapshot) {
		s.Links[2].Up, s.Addrs, s.Sockets = false, []host.Addr{{Link: 2, Prefix: netip.PrefixFrom(client, 24)}}, nil
		s.Routes[0].Dst, s.Routes = netip.PrefixFrom(client, 32), []host.Route{s.Routes[0], s.Routes[2]}
	})
	for what, test := range map[string]struct {
		journey   journey.Journey
		host      *host.Snapshot
		code      string
		certainty Certainty
		fix       string
	}{
		"bound":                        {astray(), realServer(bound(3)), "reply-into-tunnel", Observed, ""},
		"bound, devices are not known": {astray(), realServer(func(s *host.Snapshot) { s.Coarse = true }), "reply-into-tunnel", Inferred, ""},
		"bound to none":                {astray(), realServer(), "reply-into-tunnel", Inferred, ""},
		"no state":                     {astray(), nil, "reply-into-tunnel", Inferred, ""},
		"a rule":                       {astray(), realServer(ruled), "reply-into-tunnel", Observed, "ip rule del pref 10 from 10.99.0.1/32 lookup 100"},
		"a rule, and no other way":     {astray(), realServer(ruled, withoutRoute("10.0.0.0/24")), "reply-into-tunnel", Observed, ""},
		"a rule whose table has more": {astray(), realServer(ruled, routed(100, "10.0.0.0/24", host.Hop{Link: 2}), routed(100, "10.0.0.7/32", byTunnel)),
			"reply-into-tunnel", Observed, "ip route del 10.0.0.7/32 table 100"},
		"a route":                       {inTunnel, realServer(routed(254, "10.0.0.7/32", byTunnel)), "reply-into-tunnel", Observed, "ip route del 10.0.0.7/32 table main"},
		"a gateway behind the tunnel":   {inTunnel, realServer(routed(254, "10.0.0.7/32", host.Hop{Link: 3, Gateway: dip})), unknown, NotKnown, ""},
		"a tunnel with another end":     {inTunnel, realServer(routed(254, "10.0.0.7/32", byTunnel), func(s *host.Snapshot) { s.Links[2].Tunnel.Remote = dip }), unknown, NotKnown, ""},
		"the prefix of the VIP":         {astray(), realServer(widePrefix), "vip-wrong-prefix", Observed, "ip addr del 10.99.0.1/4 dev tunl0; ip addr add 10.99.0.1/32 dev tunl0; ip route add 10.0.0.0/24 dev eth0"},
		"its client's tunnel is down":   {strayed(), aClient, "reply-into-tunnel", Inferred, ""},
		"its client has no such module": {strayed(), realServer(func(s *host.Snapshot) { s.Modules, s.Links, s.Sockets = nil, s.Links[:2], nil }), "reply-into-tunnel", Inferred, ""},
	} {
		t.Run(what, func(t *testing.T) { found(t, Explain(test.journey, test.host), test.code, test.certainty, test.fix) })
	}
}

// TestASocketIsBlamedOnlyIfNoRouteIs: where sockets' devices are not known, routes must be.
func TestASocketIsBlamedOnlyIfNoRouteIs(t *testing.T) {
	coarse := func(s *host.Snapshot) { s.Coarse = true }
	for what, test := range map[string]struct {
		host   *host.Snapshot
		blamed bool
	}{
		"another route":                       {realServer(coarse), true},
		"rules that were not read":            {realServer(coarse, func(s *host.Snapshot) { s.Rules = nil }), false},
		"a route by the tunnel, to a gateway": {realServer(coarse, routed(254, "10.0.0.7/32", host.Hop{Link: 3, Gateway: dip})), false},
	} {
		if got := strings.Contains(Explain(astray(), test.host).Cause.Summary, "is bound to"); got != test.blamed {
			t.Errorf("%s: blamed %v", what, got)
		}
	}
}

// filtersARP is a rule of the family arp, as arptables makes none, that may drop what a neighbour answers.
func filtersARP(s *host.Snapshot) {
	rule := host.NftRule{Handle: 4, Text: "arp operation reply drop", Exprs: []json.RawMessage{[]byte(`{"drop":null}`)}}
	s.Nft = append(s.Nft, host.NftTable{Family: "arp", Name: "t", Chains: []host.NftChain{{Name: "in", Hook: "input", Policy: "accept", Rules: []host.NftRule{rule}}}})
}

func TestRulesOfARPMayBeWhyNobodyAnswers(t *testing.T) {
	silent := func(s *host.Snapshot) {
		s.Neighbours = []host.Neighbour{{Link: 2, Addr: client, State: "failed"}}
	}
	for what, test := range map[string]struct {
		s         *host.Snapshot
		certainty Certainty
		says      string
	}{
		"none is there": {realServer(silent), Observed, "does not answer ARP on eth0"},
		"one drops":     {realServer(silent, filtersARP), Inferred, "does not answer ARP on eth0, or the rule with handle 4 in chain in of nft table arp t drops the question or the answer"},
		"a policy does": {realServer(silent, filtersARP, func(s *host.Snapshot) { s.Nft[0].Chains[0].Policy = "drop" }), Inferred, "or one of 2 rules of the family arp"},
		"it sleeps":     {realServer(silent, filtersARP, func(s *host.Snapshot) { s.Nft[0].Dormant = true }), Observed, "does not answer ARP on eth0"},
		"unread":        {realServer(silent, func(s *host.Snapshot) { s.Unread = []host.Unread{{Part: host.PartNft, Why: "no nft"}} }), Inferred, "does not answer ARP on eth0"},
	} {
		j := dropped("neigh_invalidate", "NEIGH_FAILED", "eth0", false)
		j.Direction, j.Outer, j.Packet = journey.Reply, nil, strayed().Packet
		c := Explain(j, test.s).Cause
		if c.Code != "neighbour-failed" || c.Certainty != test.certainty || !strings.HasSuffix(c.Summary, test.says) && !strings.Contains(c.Summary, test.says+" ") {
			t.Errorf("%s: %s %s: %s", what, c.Code, c.Certainty, c.Summary)
		}
	}
}
