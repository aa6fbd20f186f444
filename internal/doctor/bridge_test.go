package doctor

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

// bridging is the host of a virtual machine, which is the real server: a bridge without an address, and its ports.
func bridging(changes ...func(*host.Snapshot)) *host.Snapshot {
	return hostOf(append([]func(*host.Snapshot){func(s *host.Snapshot) {
		s.Addrs, s.Routes = s.Addrs[:1], nil
		s.Links = append(s.Links, host.Link{Index: 9, Name: "br0", Type: "bridge", Up: true})
		s.Links[1].Master, s.Links[1].MasterKind, s.Links[3].Master, s.Links[3].MasterKind = 9, "bridge", 9, "bridge"
	}}, changes...)...)
}

// frames is a chain of the family bridge with one rule, and a policy.
func frames(hook, policy string, exprs ...string) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		rule := host.NftRule{Handle: 2, Text: "a rule"}
		for _, e := range exprs {
			rule.Exprs = append(rule.Exprs, json.RawMessage(e))
		}
		s.Nft = append(s.Nft, host.NftTable{Family: "bridge", Name: "lab", Chains: []host.NftChain{{Name: "frames", Type: "filter", Hook: hook, Policy: policy, Rules: []host.NftRule{rule}}}})
	}
}

// TestABridgeIsAskedWithoutAddresses: what drops whatever the ends are is a fault, and what asks for them can't be told without.
func TestABridgeIsAskedWithoutAddresses(t *testing.T) {
	const (
		ipip     = `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":4}}`
		toBehind = `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"10.0.0.12"}}`
		notHere  = `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"192.0.2.1"}}`
		byPort   = `{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth1"}}`
		overBr0  = `{"match":{"op":"==","left":{"meta":{"key":"ibrname"}},"right":"br0"}}`
		overBr1  = `{"match":{"op":"==","left":{"meta":{"key":"ibrname"}},"right":"br1"}}`
		http     = `{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"sport"}},"right":80}}`
		isIP     = `{"match":{"op":"==","left":{"meta":{"key":"protocol"}},"right":"ip"}}`
		drop     = `{"drop":null}`
		accept   = `{"accept":null}`
	)
	legacy := func(args ...string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Modules = append(s.Modules, "br_netfilter")
			s.Sysctls["net/bridge/bridge-nf-call-iptables"] = "1"
			s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{{Name: "FORWARD", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: args}}}}}}
		}
	}
	unasked := func(s *host.Snapshot) { s.Sysctls["net/bridge/bridge-nf-call-iptables"] = "0" }
	second := func(s *host.Snapshot) {
		s.Links = append(s.Links, host.Link{Index: 19, Name: "br1", Type: "bridge", Up: true}, host.Link{Index: 20, Name: "tap0", Type: "tun", Up: true, Master: 19}, host.Link{Index: 21, Name: "tap1", Type: "tun", Up: true, Master: 19})
	}
	atPort := func(s *host.Snapshot) {
		s.Nft = append(s.Nft, host.NftTable{Family: "netdev", Name: "t", Chains: []host.NftChain{{Name: "c", Hook: "ingress", Devices: []string{"eth1"}}}})
	}
	peer := &Facts{Sends: []Sending{{VIP: vip, Port: 80, Proto: "tcp", From: director, To: behind, By: "ipip"}}}
	fault, unread := []string{"fault firewall-drop"}, []string{"unread firewall-drop"}
	for what, test := range map[string]struct {
		s    *host.Snapshot
		peer *Facts
		want []string
	}{
		"no rules":                             {bridging(), nil, nil},
		"protocol 4 is dropped":                {bridging(frames("forward", "accept", ipip, drop)), nil, fault},
		"before it is bridged":                 {bridging(frames("prerouting", "accept", ipip, drop)), nil, fault},
		"before it leaves":                     {bridging(frames("postrouting", "accept", ipip, drop)), nil, fault},
		"a policy":                             {bridging(frames("forward", "drop", ipip, notHere, accept)), nil, fault},
		"a policy, and IP is let pass":         {bridging(frames("forward", "drop", isIP, accept)), nil, nil},
		"a policy, and one is let pass":        {bridging(frames("forward", "drop", toBehind, accept)), nil, unread},
		"another's packets":                    {bridging(frames("forward", "accept", notHere, drop)), nil, nil},
		"who is behind it decides":             {bridging(frames("forward", "accept", ipip, toBehind, drop)), nil, unread},
		"who is behind it decides, and that":   {bridging(frames("forward", "accept", ipip, toBehind, drop)), peer, fault},
		"a port decides":                       {bridging(frames("forward", "accept", byPort, ipip, drop)), nil, unread},
		"a bridge decides":                     {bridging(frames("forward", "accept", overBr0, ipip, drop)), nil, fault},
		"another bridge":                       {bridging(frames("forward", "accept", overBr1, ipip, drop)), nil, nil},
		"the answer is dropped":                {bridging(frames("forward", "accept", http, drop)), nil, fault},
		"iptables drops it":                    {bridging(legacy("-p", "4", "-j", "DROP")), nil, fault},
		"iptables would, if it were asked":     {bridging(legacy("-p", "4", "-j", "DROP"), unasked), nil, nil},
		"iptables, of one behind it":           {bridging(legacy("-s", "10.0.0.2/32", "-d", "10.0.0.12/32", "-j", "DROP")), nil, unread},
		"iptables, of one behind it, and that": {bridging(legacy("-s", "10.0.0.2/32", "-d", "10.0.0.12/32", "-j", "DROP")), peer, fault},
		"iptables, of another":                 {bridging(legacy("-s", "192.0.2.2/32", "-d", "10.0.0.12/32", "-j", "DROP")), nil, nil},
		"two bridges":                          {bridging(second, frames("forward", "accept", ipip, drop)), nil, unread},
		"a chain at a port":                    {bridging(atPort), nil, unread},
	} {
		r := Examine(test.s, Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director, Peer: test.peer})
		if got := lines(r); r.Role != Forwarder || !slices.Equal(got, test.want) {
			t.Errorf("%s: a %s with %q %q", what, r.Role, got, said(r, "firewall-drop"))
		}
	}
}
