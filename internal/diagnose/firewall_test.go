package diagnose

import (
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

// TestADropByNetfilterIsAFirewalls though the rules were not read: it is inferred, and says what was not read.
func TestADropByNetfilterIsAFirewalls(t *testing.T) {
	unread := func(parts ...host.Part) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Unread = append(s.Unread, host.Unread{Part: host.PartSockets, Why: "not permitted"})
			for _, p := range parts {
				s.Unread = append(s.Unread, host.Unread{Part: p, Why: "it took longer than 5s"})
			}
		}
	}
	all := unread(host.PartNft, host.PartIPTables)
	drops := stateful(t, "drop")
	handle := &journey.NftRule{Handle: 12}
	for what, test := range map[string]struct {
		hook string
		rule *journey.NftRule
		s    *host.Snapshot
		// code, says and unread are of the cause; how many parts.
		code, says string
		unread     int
	}{
		"nothing was read":                 {"input", nil, nil, "firewall-drop", "what netfilter runs at the hook input drops the packet, and not all rules were read", 1},
		"no rules were read":               {"input", nil, realServer(all), "firewall-drop", "not all rules were read", 2},
		"nor those of nft, and it was one": {"input", handle, realServer(all), "firewall-drop", "it is listed with its handle: nft -a list ruleset | grep 'handle 12$'", 2},
		"nft was slow, and one has the handle": {"input", handle, realServer(unread(host.PartNft), func(s *host.Snapshot) {
			s.NftOutline = []host.NftOutline{{Family: "ip", Table: "t", Chain: "c", Handles: []uint64{11, 12}}}
		}), "firewall-drop", "the rule with handle 12 in chain c of nft table ip t drops the packet, as the kernel was seen doing; what it says was not read", 1},
		"only those of iptables were not":       {"input", nil, realServer(drops, unread(host.PartIPTables)), "firewall-drop", "of the rules at the hook input that were read only the policy of chain", 1},
		"the kernel used one that has gone":     {"input", handle, realServer(), "firewall-drop", "handle 12$", 0},
		"all were read, and none drops it":      {"input", nil, realServer(), unknown, "no known cause explains it", 0},
		"a hook of a device has no iptables":    {"ingress", nil, realServer(unread(host.PartIPTables)), unknown, "no known cause explains it", 2},
		"without symbols nobody knows the hook": {"", nil, realServer(), "firewall-drop", "have no names here", 0},
	} {
		j := dropped("nf_hook_slow", "NETFILTER_DROP", "tunl0", false)
		j.Drop.NfHook, j.Drop.Rule = test.hook, test.rule
		c := Explain(j, test.s).Cause
		if c.Code != test.code || !strings.Contains(c.Summary, test.says) || len(c.Unread) != test.unread || c.Certainty == Observed {
			t.Errorf("%s: %s %s: %s; unread %q", what, c.Code, c.Certainty, c.Summary, c.Unread)
		}
	}
}

// TestAChainOfNfTablesHasNoRuleOfIPTablesLegacy: since Linux 6.7 nft_do_chain frees what its chains drop, and what is said
// to be observed must fit that.
func TestAChainOfNfTablesHasNoRuleOfIPTablesLegacy(t *testing.T) {
	legacy := func(s *host.Snapshot) {
		s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{{Name: "INPUT", Policy: "DROP"}}}}
	}
	for what, test := range map[string]struct {
		function string
		s        *host.Snapshot
		says     string
		sure     Certainty
	}{
		"all of netfilter":         {"nf_hook_slow", realServer(legacy), "the policy of chain INPUT of iptables-legacy table filter drops the packet", Observed},
		"one of nf_tables":         {"nft_do_chain", realServer(legacy), "a rule or a chain's policy of nf_tables at the hook input drops the packet", Inferred},
		"one of nf_tables, behind": {"nft_do_chain", realServer(legacy, stateful(t, "drop")), "of nft table", Observed},
		"none of iptables is read": {"nft_do_chain", realServer(stateful(t, "drop"), func(s *host.Snapshot) {
			s.Unread = append(s.Unread, host.Unread{Part: host.PartIPTables, Why: "it took longer than 5s"})
		}), "of nft table", Inferred},
	} {
		j := dropped(test.function, "NETFILTER_DROP", "tunl0", false)
		j.Drop.NfHook = "input"
		c := Explain(j, test.s).Cause
		if c.Code != "firewall-drop" || !strings.Contains(c.Summary, test.says) || c.Certainty != test.sure {
			t.Errorf("%s: %s %s: %s", what, c.Code, c.Certainty, c.Summary)
		}
	}
}

func TestRulesOfABridgeSeeItsPorts(t *testing.T) {
	ported := func(s *host.Snapshot) {
		s.Links[1].Master, s.Links[1].MasterKind = 9, "bridge"
		s.Links = append(s.Links, host.Link{Index: 9, Name: "br0", Type: "bridge", Up: true})
	}
	s := realServer(ported)
	port := s.Links[1].Name
	second := realServer(ported)
	second.Links = append(slices.Clip(second.Links), host.Link{Index: 10, Name: "eth1", Master: 9, MasterKind: "bridge"})
	for what, test := range map[string]struct {
		s       *host.Snapshot
		dev     string
		bridged bool
		want    string
	}{
		"IPv4's rules, by br_netfilter":   {s, port, false, "br0"},
		"the bridge's own":                {s, port, true, port},
		"they see the port":               {s, "br0", true, port},
		"one of several ports":            {second, "br0", true, ""},
		"a device that is of no bridge":   {s, "tunl0", false, "tunl0"},
		"a device that nobody knows more": {s, "gone", true, "gone"},
	} {
		if got := throughBridge(test.s, test.dev, test.bridged); got != test.want {
			t.Errorf("%s: %q, want %q", what, got, test.want)
		}
	}
}

// TestARuleThatDropsWhateverComesStays: it does what a policy does, and others are behind it, too.
func TestARuleThatDropsWhateverComesStays(t *testing.T) {
	everything := func(s *host.Snapshot) {
		stateful(t, "accept", `[{"counter":{"packets":3,"bytes":180}},{"log":{"prefix":"gone "}},{"drop":null}]`)(s)
		s.Nft[0].Chains[0].Rules = s.Nft[0].Chains[0].Rules[2:]
	}
	rejects := func(s *host.Snapshot) {
		s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{
			{Name: "INPUT", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: []string{"-j", "REJECT", "--reject-with", "icmp-host-prohibited"}}}},
		}}}
	}
	at := func(outer bool, dev string) journey.Journey {
		j := dropped("nft_do_chain", "NETFILTER_DROP", dev, outer)
		j.Drop.NfHook = "input"
		return j
	}
	const inner, outer = "nft insert rule inet f input ip daddr 10.99.0.1 tcp dport 80 accept", "nft insert rule inet f input ip saddr 10.0.0.2 ip protocol 4 accept"
	const legacy = "iptables-legacy -t filter -I INPUT -s 10.0.0.2 -p 4 -j ACCEPT; iptables-legacy -t filter -I INPUT -d 10.99.0.1 -p tcp --dport 80 -j ACCEPT"
	old := rejected(at(true, "eth0"), journey.ByICMP, 3, 10)
	old.Drop.Function = "nf_hook_slow"
	for what, test := range map[string]loss{
		"of nft":                {at(false, "tunl0"), realServer(everything), "firewall-drop", Observed, inner},
		"of nft, in a tunnel":   {at(true, "eth0"), realServer(everything), "firewall-drop", Observed, outer + "; " + inner},
		"iptables' last reject": {old, realServer(rejects), "firewall-reject", Observed, legacy},
	} {
		t.Run(what, func(t *testing.T) {
			v := Explain(test.j, test.s)
			found(t, v, test.code, test.certainty, test.fix)
			if v.Cause.Untried || len(v.Cause.Next) > 0 {
				t.Errorf("untried %v, then %+v", v.Cause.Untried, v.Cause.Next)
			}
		})
	}
}
