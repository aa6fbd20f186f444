package diagnose

import (
	"encoding/json"
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

// given is a SYN that NAT gave to somebody else before it was lost.
func given(j journey.Journey, to string) journey.Journey {
	at, changed := netip.MustParseAddrPort(to), j.Packet
	changed.Inner.Dst, changed.DstPort = at.Addr(), at.Port()
	j.Changed = &changed
	return j
}

// natRule is a table whose only rule gives everything to somebody else.
func natRule(s *host.Snapshot) {
	s.Nft = []host.NftTable{{Family: "ip", Name: "t", Chains: []host.NftChain{{
		Name: "pre", Hook: "prerouting", Type: "nat", Policy: "accept",
		Rules: []host.NftRule{{Handle: 5, Exprs: []json.RawMessage{json.RawMessage(`{"dnat":{"addr":"10.0.0.2"}}`)}}},
	}}}}
}

func TestWhatNATGaveAwayIsExplained(t *testing.T) {
	refused := rejected(dropped("tcp_v4_rcv", "NO_SOCKET", "tunl0", false), journey.ByRST, 0, 0)
	unroutable := dropped("ip_error", "IP_INADDRERRORS", "tunl0", false)
	for what, test := range map[string]struct {
		j         journey.Journey
		s         *host.Snapshot
		code      string
		certainty Certainty
		fix       string
	}{
		"to a port without a listener": {given(refused, "10.99.0.1:81"), realServer(natRule), "redirected", Observed, "nft insert rule ip t pre ip daddr 10.99.0.1 tcp dport 80 accept"},
		"the rule is gone":             {given(refused, "10.99.0.1:81"), realServer(), "redirected", Inferred, ""},
		"the state was not read":       {given(refused, "10.99.0.1:81"), nil, "redirected", Inferred, ""},
		"to another host":              {given(unroutable, "10.0.0.2:80"), realServer(natRule, set("net/ipv4/conf/tunl0/forwarding", "0")), "ip-forward-off", Observed, "sysctl -w net.ipv4.ip_forward=1"},
		"to a host without a route":    {given(unroutable, "172.17.0.2:80"), realServer(natRule, set("net/ipv4/conf/tunl0/forwarding", "0")), "redirected", Observed, "nft insert rule ip t pre ip daddr 10.99.0.1 tcp dport 80 accept"},
		"not touched by NAT":           {refused, realServer(natRule, func(s *host.Snapshot) { s.Sockets = nil }), "no-listener", Observed, ""},
	} {
		t.Run(what, func(t *testing.T) {
			found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix)
		})
	}
}
