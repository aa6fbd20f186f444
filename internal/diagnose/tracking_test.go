package diagnose

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
	"ipiptrace/tracer/event"
)

// entry is what connection tracking has of the client's connection.
func entry(proto uint8, replied bool) host.Connection {
	from, to := netip.AddrPortFrom(client, 30000), netip.AddrPortFrom(vip, 80)
	if proto == protoIPIP {
		from, to = netip.AddrPortFrom(dip, 0), netip.AddrPortFrom(rip, 0)
	}
	return host.Connection{Proto: proto, From: from, To: to, Back: to, BackTo: from, Replied: replied}
}

func TestTheStateOfAPacketInConnectionTracking(t *testing.T) {
	table := func(entries ...host.Connection) func(*host.Snapshot) {
		return func(s *host.Snapshot) { s.Conntrack = &host.Conntrack{Conns: entries} }
	}
	const loose = "net/netfilter/nf_conntrack_tcp_loose"
	syn, ack, rst, synack := event.SYN, event.ACK, event.RST, event.SYN|event.ACK
	for what, test := range map[string]struct {
		proto   uint8
		flags   event.TCPFlags
		reply   bool
		changes []func(*host.Snapshot)
		want    ruleset.CT
	}{
		"a SYN":                               {protoTCP, syn, false, nil, ruleset.New},
		"a SYN that was sent before":          {protoTCP, syn, false, []func(*host.Snapshot){table(entry(protoTCP, false))}, ruleset.New},
		"a SYN that was answered since":       {protoTCP, syn, false, []func(*host.Snapshot){table(entry(protoTCP, true))}, ruleset.New | ruleset.Established | ruleset.Invalid},
		"an ACK":                              {protoTCP, ack, false, []func(*host.Snapshot){table(entry(protoTCP, true))}, ruleset.Established | ruleset.Invalid},
		"an ACK of which nothing is known":    {protoTCP, ack, false, []func(*host.Snapshot){set(loose, "1")}, ruleset.New},
		"the same, and that is not liked":     {protoTCP, ack, false, []func(*host.Snapshot){set(loose, "0")}, ruleset.Invalid},
		"the same, and nobody knows":          {protoTCP, ack, false, nil, ruleset.New | ruleset.Invalid},
		"a RST":                               {protoTCP, rst, false, nil, 0},
		"an answer":                           {protoTCP, synack, true, []func(*host.Snapshot){table(entry(protoTCP, false))}, ruleset.Established | ruleset.Invalid},
		"an answer to what was not tracked":   {protoTCP, synack, true, nil, ruleset.Invalid},
		"a datagram":                          {protoUDP, 0, false, []func(*host.Snapshot){table(entry(protoTCP, true))}, ruleset.New},
		"a datagram, and there was an answer": {protoUDP, 0, false, []func(*host.Snapshot){table(entry(protoUDP, true))}, ruleset.New | ruleset.Established},
		"an answering datagram":               {protoUDP, 0, true, []func(*host.Snapshot){table(entry(protoUDP, true))}, ruleset.Established},
		"IPIP":                                {protoIPIP, 0, false, []func(*host.Snapshot){table(entry(protoIPIP, false))}, ruleset.New},
		"too many entries": {protoTCP, syn, false, []func(*host.Snapshot){
			func(s *host.Snapshot) { s.Conntrack = &host.Conntrack{MoreConns: 1} },
		}, 0},
		"entries that were not read": {protoTCP, syn, false, []func(*host.Snapshot){
			func(s *host.Snapshot) { s.Unread = []host.Unread{{Part: host.PartConntrack}} },
		}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			j := dropped("nf_hook_slow", "NETFILTER_DROP", "tunl0", test.proto == protoIPIP)
			j.Packet.TCPFlags, j.Drop.NfHook = test.flags, "input"
			if test.proto != protoIPIP {
				j.Packet.Inner.Protocol = test.proto
			}
			if p := &j.Packet; test.reply {
				p.Inner.Src, p.Inner.Dst, p.SrcPort, p.DstPort, j.Direction, j.Outer = vip, client, 80, 30000, journey.Reply, nil
			}
			if got := filteredPacket(wasLost(j).Subject, realServer(test.changes...)).CT; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// stateful is a firewall that asks connection tracking, with a policy and the rules behind the usual ones.
func stateful(t *testing.T, policy string, rules ...string) func(*host.Snapshot) {
	t.Helper()
	c := host.NftChain{Name: "input", Hook: "input", Type: "filter", Policy: policy}
	for i, text := range append([]string{
		`[{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":[2,4]}},{"accept":null}]`,
		`[{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":1}},{"drop":null}]`,
	}, rules...) {
		r := host.NftRule{Handle: uint64(i + 1)}
		if err := json.Unmarshal([]byte(text), &r.Exprs); err != nil {
			t.Fatal(err)
		}
		c.Rules = append(c.Rules, r)
	}
	return func(s *host.Snapshot) {
		s.Nft = []host.NftTable{{Family: "inet", Name: "f", Chains: []host.NftChain{c}}}
	}
}

func TestAStatefulFirewallIsUnderstood(t *testing.T) {
	const accept80 = `[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":80}},{"accept":null}]`
	limited := `[{"limit":{"rate":1,"per":"day"}},{"drop":null}]`
	for what, test := range map[string]struct {
		flags     event.TCPFlags
		s         *host.Snapshot
		certainty Certainty
		says      string
	}{
		"the policy":                  {event.SYN, realServer(stateful(t, "drop")), Observed, "the policy of chain input"},
		"out of its window":           {event.ACK, realServer(stateful(t, "drop"), func(s *host.Snapshot) { s.Conntrack = &host.Conntrack{Conns: []host.Connection{entry(protoTCP, true)}} }), Inferred, "handle 2"},
		"perhaps a wrong checksum":    {event.SYN, realServer(stateful(t, "drop", accept80)), Inferred, "handle 2"},
		"a limit, but for the policy": {event.SYN, realServer(stateful(t, "drop", limited)), Inferred, "one of 2 rules"},
		"a limit alone":               {event.SYN, realServer(stateful(t, "accept", limited)), Inferred, "only the rule with handle 3"},
	} {
		t.Run(what, func(t *testing.T) {
			j := dropped("nf_hook_slow", "NETFILTER_DROP", "tunl0", false)
			j.Packet.TCPFlags, j.Drop.NfHook = test.flags, "input"
			c := Explain(j, test.s).Cause
			if c.Code != "firewall-drop" || c.Certainty != test.certainty || !strings.Contains(c.Summary, test.says) {
				t.Errorf("%s, %s: %s; want %s: %s", c.Code, c.Certainty, c.Summary, test.certainty, test.says)
			}
		})
	}
}

// A policy that drops IPIP drops what is in it, too; one of ingress sees the outer header alone.
func TestAPolicyLetsTheInnerHeaderPassToo(t *testing.T) {
	const accept80 = `[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":80}},{"accept":null}]`
	const outer, inner = "nft insert rule inet f input ip saddr 10.0.0.2 ip protocol 4 accept", "nft insert rule inet f input ip daddr 10.99.0.1 tcp dport 80 accept"
	for what, test := range map[string]struct {
		rules []string
		fix   string
	}{
		"both":              {nil, outer + "; " + inner},
		"the inner one may": {[]string{accept80}, outer},
	} {
		t.Run(what, func(t *testing.T) {
			j := dropped("nft_do_chain", "NETFILTER_DROP", "eth0", true)
			j.Packet.TCPFlags, j.Drop.NfHook = event.SYN, "input"
			if c := Explain(j, realServer(stateful(t, "drop", test.rules...))).Cause; typed(c) != test.fix {
				t.Errorf("%s: %q, want %q", c.Code, c.Fix, test.fix)
			}
		})
	}
}

func TestAFullTableIsNotBlamedOnARuleThatMayHaveDropped(t *testing.T) {
	full := func(s *host.Snapshot) {
		stateful(t, "accept")(s)
		s.Nft[0].Chains[0].Hook = "prerouting"
		s.Conntrack = &host.Conntrack{Count: 2, Max: 1, Drop: 3}
	}
	j := dropped("nf_hook_slow", "NETFILTER_DROP", "tunl0", false)
	j.Drop.NfHook = "prerouting"
	if c := Explain(j, realServer(full)).Cause; c.Code != "conntrack-full" || c.Certainty != Observed {
		t.Errorf("%s, %s: %s", c.Code, c.Certainty, c.Summary)
	}
}
