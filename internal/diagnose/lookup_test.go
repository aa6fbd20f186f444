package diagnose

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// rule adds one behind the table of local addresses.
func rule(r host.Rule) func(*host.Snapshot) {
	r.Priority, r.Suppress = 10, -1
	return func(s *host.Snapshot) { s.Rules = append(s.Rules, r) }
}

// inVRF puts tunl0 into a VRF, with its rule, whose table refuses what it has no route for.
func inVRF(s *host.Snapshot) {
	s.Links = append(s.Links, host.Link{Index: 9, Name: "vrf0", Type: "vrf", Up: true, Table: 10})
	s.Links[2].Master, s.Links[2].MasterKind = 9, "vrf"
	s.Rules = append(s.Rules, host.Rule{Priority: 5, L3mdev: true, Action: "lookup", Suppress: -1})
	s.Routes[1].Table = 10
	s.Routes = append(s.Routes, host.Route{Table: 10, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: "unreachable", Priority: 8192})
}

// noCarrier is a route to the client by a device without carrier, which is not used.
func noCarrier(s *host.Snapshot) {
	s.Links = append(s.Links, host.Link{Index: 4, Name: "eth1", Type: "veth", Up: true})
	s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.PrefixFrom(client, 32), Type: "unicast", Hops: []host.Hop{{Link: 4, Dead: true, LinkDown: true}}})
	s.Sysctls["net/ipv4/conf/eth1/ignore_routes_with_linkdown"] = "1"
}

func TestTheWayBackIsTheAnswersOwn(t *testing.T) {
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	const net = "10.0.0.0/24"
	for what, test := range map[string]struct {
		host      *host.Snapshot
		code      string
		certainty Certainty
		fix       string
		says      string
	}{
		"a rule for the service's owner":  {realServer(rule(host.Rule{UIDEnd: 1, Action: "prohibit"})), "no-return-route", Observed, "ip rule del pref 10 uidrange 0-0 prohibit", "rule 10"},
		"a rule for somebody else":        {realServer(rule(host.Rule{UIDFirst: 5, UIDEnd: 7, Action: "prohibit"})), unknown, NotKnown, "", ""},
		"a rule for the service's port":   {realServer(rule(host.Rule{IPProto: 6, Sport: [2]uint16{80, 80}, Action: "blackhole"})), "no-return-route", Observed, "ip rule del pref 10 ipproto 6 sport 80 blackhole", "rule 10"},
		"a rule that is not understood":   {realServer(rule(host.Rule{Unread: "attribute 31", Action: "blackhole"})), unknown, NotKnown, "", "attribute 31"},
		"one that makes no difference":    {realServer(rule(host.Rule{Unread: "attribute 31", Action: "nop"}), withoutRoute(net)), "no-return-route", Observed, "ip route add 10.0.0.0/24 dev eth0", "no route"},
		"a mark that nobody gives":        {realServer(rule(host.Rule{Mark: 7, Action: "blackhole"}), accepting), unknown, NotKnown, "", ""},
		"a mark that a rule may give":     {realServer(rule(host.Rule{Mark: 7, Action: "blackhole"}), accepting, marking), unknown, NotKnown, "", "mark is not known"},
		"the socket's own mark":           {realServer(rule(host.Rule{Mark: 7, Action: "blackhole"}), func(s *host.Snapshot) { s.Sockets[0].Mark = 7 }), "no-return-route", Observed, "ip rule del pref 10 fwmark 0x7/0xffffffff blackhole", "rule 10"},
		"a link without carrier":          {realServer(withoutRoute(net), noCarrier), "no-return-route", Observed, "ip route add 10.0.0.0/24 dev eth0", "eth1 has no carrier"},
		"the VRF's table":                 {realServer(inVRF, set("net/ipv4/tcp_l3mdev_accept", "1")), "no-return-route", Observed, "ip route add 10.0.0.0/24 dev eth0 table 10", "unreachable"},
		"the VRF, with a route":           {realServer(inVRF, routed(10, net, host.Hop{Link: 2}), set("net/ipv4/tcp_l3mdev_accept", "1")), unknown, NotKnown, "", ""},
		"a socket in the VRF":             {realServer(inVRF, bound(9)), "no-return-route", Observed, "ip route add 10.0.0.0/24 dev eth0 table 10", "unreachable"},
		"it is not known who is in a VRF": {realServer(inVRF, func(s *host.Snapshot) { s.Coarse = true }), unknown, NotKnown, "", "bound to the VRF"},
	} {
		t.Run(what, func(t *testing.T) {
			v := Explain(refused, test.host)
			found(t, v, test.code, test.certainty, test.fix)
			if all := v.Cause.Summary + strings.Join(slices.Concat(v.Cause.Evidence, v.Cause.Unread), " "); !strings.Contains(all, test.says) {
				t.Errorf("nothing says %q: %q", test.says, all)
			}
		})
	}
}

// accepting has listeners answer with the mark of what they answer.
func accepting(s *host.Snapshot) { s.Sysctls["net/ipv4/tcp_fwmark_accept"] = "1" }

// marking is a rule of nft that gives a mark.
func marking(s *host.Snapshot) {
	s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "m", Chains: []host.NftChain{{
		Name: "pre", Type: "filter", Hook: "prerouting",
		Rules: []host.NftRule{{Handle: 2, Text: "meta mark set 0x00000007", Exprs: []json.RawMessage{[]byte(`{"mangle":{"key":{"meta":{"key":"mark"}},"value":7}}`)}}},
	}}})
}

func TestAMarkThatARuleMayGiveAnAnswerMakesItsWayUnknown(t *testing.T) {
	byMark := []func(*host.Snapshot){rule(host.Rule{Mark: 7, Action: "lookup", Table: 100}), routed(100, "0.0.0.0/0", host.Hop{Link: 3})}
	v := Explain(astray(), realServer(append(byMark, marking)...))
	found(t, v, "reply-into-tunnel", Inferred, "")
	if all := strings.Join(v.Cause.Unread, "\n"); !strings.Contains(all, "mark is not known") {
		t.Errorf("what is not known is not said: %q", all)
	}
	if v = Explain(astray(), realServer(byMark...)); len(v.Cause.Unread) != 0 {
		t.Errorf("nobody gives marks, and %q is said", v.Cause.Unread)
	}
}

func TestAMarkCountsForTheSourceCheckOnlyIfASettingSaysSo(t *testing.T) {
	rpf := dropped("ip_rcv_finish_core", "IP_RPFILTER", "tunl0", false)
	by := []func(*host.Snapshot){
		set("net/ipv4/conf/tunl0/rp_filter", "1"), rule(host.Rule{Mark: 7, Action: "lookup", Table: 100}), routed(100, "10.0.0.0/24", host.Hop{Link: 3}), marking,
	}
	v := Explain(rpf, realServer(by...))
	found(t, v, "rp-filter", Observed, "sysctl -w net.ipv4.conf.tunl0.rp_filter=2")
	if all := strings.Join(v.Cause.Evidence, "\n"); !strings.Contains(all, "ip rule: 10: fwmark") || !strings.Contains(all, "src_valid_mark") {
		t.Errorf("the mark is not said: %s", all)
	}
	v = Explain(rpf, realServer(append(by, set("net/ipv4/conf/all/src_valid_mark", "1"))...))
	found(t, v, "rp-filter", Inferred, "")
	if all := strings.Join(v.Cause.Unread, "\n"); !strings.Contains(all, "mark is not known") {
		t.Errorf("what is not known is not said: %q", all)
	}
}
