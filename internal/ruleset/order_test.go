package ruleset

import (
	"testing"

	"ipiptrace/internal/host"
)

// two are two chains of one priority at input, one a table: handles 7 and 8 drop the packet, whichever is asked first.
func two(t *testing.T, families ...string) *host.Snapshot {
	s := &host.Snapshot{}
	for i, family := range families {
		s.Nft = append(s.Nft, host.NftTable{Family: family, Name: "t" + family, Chains: []host.NftChain{
			{Name: "c", Handle: uint64(i + 1), Hook: "input", Rules: []host.NftRule{{Handle: uint64(i + 7), Exprs: exprs(t, "["+drop+"]")}}},
		}})
	}
	return s
}

// calls is the kernel's list of input.
func calls(family string, all ...host.NfCallee) []host.NfHook {
	return []host.NfHook{{Family: family, Hook: "input", Calls: all}}
}

func TestOfOnePriorityTheKernelsOrderCounts(t *testing.T) {
	ip, inet := host.NfCallee{Family: "ip", Table: "tip", Chain: "c"}, host.NfCallee{Family: "inet", Table: "tinet", Chain: "c"}
	tracking, legacy := host.NfCallee{Priority: -200, Function: "ipv4_conntrack_in"}, host.NfCallee{Function: "ipt_do_table"}
	for what, test := range map[string]struct {
		hooks []host.NfHook
		want  decision
	}{
		"not known":                {nil, decision{candidates: []uint64{7, 8}}},
		"the first table's":        {calls("ip", tracking, ip, inet), decision{handle: 7}},
		"the second table's":       {calls("ip", tracking, inet, ip), decision{handle: 8}},
		"one is not in the list":   {calls("ip", ip), decision{candidates: []uint64{7, 8}}},
		"of another priority":      {calls("ip", inet, host.NfCallee{Family: "ip", Table: "tip", Chain: "c", Priority: 1}), decision{candidates: []uint64{7, 8}}},
		"the list of another hook": {calls("bridge", inet, ip), decision{candidates: []uint64{7, 8}}},
		"with another function":    {calls("ip", legacy, inet, ip), decision{handle: 8}},
	} {
		t.Run(what, func(t *testing.T) {
			s := two(t, "ip", "inet")
			s.Hooks = test.hooks
			test.want.check(t, Of(s).Evaluate(packet("input")))
		})
	}
}

func TestLegacyTablesAreFoundInTheKernelsOrder(t *testing.T) {
	for _, function := range []string{"ipt_do_table", "iptable_filter_hook"} {
		s := two(t, "inet", "ip")
		s.Nft = s.Nft[1:]
		s.IPTables = saved("DROP").IPTables
		nft, legacy := host.NfCallee{Family: "ip", Table: "tip", Chain: "c"}, host.NfCallee{Function: function}
		s.Hooks = calls("ip", legacy, nft)
		if o := Of(s).Evaluate(packet("input")); o.Rule == nil || o.Rule.Policy == "" {
			t.Errorf("%s first: %+v", function, o)
		}
		s.Hooks = calls("ip", nft, legacy)
		if o := Of(s).Evaluate(packet("input")); o.Rule == nil || o.Rule.Handle != 8 {
			t.Errorf("%s last: %+v", function, o)
		}
	}
}

// TestOfOneTableTheLaterChainIsFirst: seen on every kernel.
func TestOfOneTableTheLaterChainIsFirst(t *testing.T) {
	s := two(t, "ip", "ip")
	s.Nft[0].Chains = append(s.Nft[0].Chains, s.Nft[1].Chains...)
	s.Nft = s.Nft[:1]
	chains := s.Nft[0].Chains
	decision{handle: 8}.check(t, Of(s).Evaluate(packet("input")))
	chains[0].Handle, chains[1].Handle = 2, 1
	decision{handle: 7}.check(t, Of(s).Evaluate(packet("input")))
	chains[0].Handle = 0
	decision{candidates: []uint64{7, 8}}.check(t, Of(s).Evaluate(packet("input")))
}

func TestABridgeHasChainsOfItsOwn(t *testing.T) {
	s := two(t, "ip", "bridge")
	s.IPTables = saved("DROP").IPTables
	s.Links = []host.Link{{Index: 2, Name: "eth0", Master: 3}, {Index: 3, Name: "br0"}}
	p := packet("input")
	p.IIF, p.Bridged = "eth0", true
	decision{handle: 8}.check(t, Of(s).Evaluate(p))
	rule := func(bridge string) {
		s.Nft[1].Chains[0].Rules[0].Exprs = exprs(t, "["+and(when("==", meta("ibrname"), bridge), drop)+"]")
	}
	rule("br0")
	decision{handle: 8}.check(t, Of(s).Evaluate(p))
	rule("br1")
	decision{}.check(t, Of(s).Evaluate(p))
	p.Bridged = false
	if o := Of(s).Evaluate(p); o.Rule != nil && o.Rule.Family == "bridge" {
		t.Errorf("%+v", o)
	}
}

// TestAChainThatDoesNothingHasNoPlace: where one without rules runs changes nothing, so the mark that another chain of its
// priority gives is known. Tables of iptables-legacy stay once they were listed.
func TestAChainThatDoesNothingHasNoPlace(t *testing.T) {
	s := two(t, "ip", "inet")
	s.Nft[0].Chains[0].Rules = []host.NftRule{{Handle: 7, Exprs: exprs(t, "["+mark7+"]")}}
	s.Nft[0].Chains = append(s.Nft[0].Chains, host.NftChain{Name: "d", Handle: 9, Hook: "input", Priority: 1, Rules: []host.NftRule{{Handle: 10, Exprs: exprs(t, "["+marked+","+drop+"]")}}})
	s.Nft[1].Chains[0].Rules = nil
	s.IPTables = saved("ACCEPT").IPTables
	decision{handle: 10}.check(t, Of(s).Evaluate(packet("input")))
}
