package ruleset

import (
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

// twoLimits is a table in which two rules may drop the packet: handles 1 and 3, and none decides for certain.
func twoLimits(t *testing.T) *host.Snapshot {
	t.Helper()
	return table(t, "accept", and(toVIP, limit, drop), and(when("==", ip("daddr"), "192.0.2.1"), drop), and(to80, limit, drop))
}

func TestConfirm(t *testing.T) {
	known := func(handle, next uint64) Seen { return Seen{Handle: handle, Next: next, NextKnown: true} }
	for name, test := range map[string]struct {
		seen          Seen
		rule          uint64
		candidates    []uint64
		against, gone bool
	}{
		"the first":                           {seen: known(1, 2), rule: 1},
		"the last":                            {seen: known(3, 0), rule: 3},
		"its neighbour is not known":          {seen: Seen{Handle: 3}, rule: 3},
		"its neighbour is another now":        {seen: known(3, 4), candidates: []uint64{1, 3}, gone: true},
		"not there any more":                  {seen: known(17, 0), candidates: []uint64{1, 3}, gone: true},
		"one that should not have dropped it": {seen: known(2, 3), candidates: []uint64{2}, against: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := twoLimits(t)
			o := Of(s).Evaluate(packet("input")).Confirm(s, test.seen)
			var rule uint64
			if o.Rule != nil {
				rule = o.Rule.Handle
			}
			var candidates []uint64
			for _, c := range o.Candidates {
				candidates = append(candidates, c.Handle)
			}
			if rule != test.rule || !slices.Equal(candidates, test.candidates) || o.Against != test.against || o.Gone != test.gone {
				t.Errorf("rule %d, candidates %v, against %t, gone %t", rule, candidates, o.Against, o.Gone)
			}
		})
	}
}

// TestARuleWithinARuleIsNotGone: nft lists a chain that a rule has within itself as text.
func TestARuleWithinARuleIsNotGone(t *testing.T) {
	s := table(t, "accept", and(toVIP, `"jump {\n\t\t\ttcp dport 80 drop\n\t\t}"`), and(to80, limit, drop))
	o := Of(s).Evaluate(packet("input")).Confirm(s, Seen{Handle: 9, NextKnown: true})
	if o.Gone || o.Rule != nil || len(o.Candidates) != 2 {
		t.Errorf("%+v", o)
	}
}

// A handle is one of its table's: another table may have a rule with the same, and the same behind it.
func TestConfirmTwoTables(t *testing.T) {
	s := twoLimits(t)
	other := twoLimits(t).Nft[0]
	other.Name = "u"
	s.Nft = append(s.Nft, other)
	o := Of(s).Evaluate(packet("input")).Confirm(s, Seen{Handle: 3, NextKnown: true})
	if o.Rule != nil || len(o.Candidates) != 2 || o.Candidates[0].Table == o.Candidates[1].Table {
		t.Errorf("%+v", o)
	}
}

func TestConfirmIPTablesNft(t *testing.T) {
	s := &host.Snapshot{
		Nft: []host.NftTable{{Family: "ip", Name: "filter", IPTables: true, Chains: []host.NftChain{{
			Name: "INPUT", Hook: "input", Type: "filter", Policy: "accept", Rules: []host.NftRule{{Handle: 5}, {Handle: 8}},
		}}}},
		IPTables: []host.IPTables{{Backend: "iptables-nft", Table: "filter", Chains: []host.IPTablesChain{{
			Name: "INPUT", Policy: "ACCEPT", Rules: []host.IPTablesRule{
				{Args: []string{"-m", "statistic", "--mode", "nth", "--every", "3", "--packet", "0", "-j", "DROP"}},
				{Args: []string{"-m", "statistic", "--mode", "nth", "--every", "2", "--packet", "0", "-j", "REJECT"}},
			},
		}}}},
	}
	o := Of(s).Evaluate(packet("input")).Confirm(s, Seen{Handle: 8, NextKnown: true})
	if o.Rule == nil || o.Rule.Number != 2 || o.Rule.Backend != "iptables-nft" || !o.Rule.Rejects {
		t.Errorf("%+v", o)
	}
}

// TestARuleWhoseTextWasNotReadIsFoundByItsHandle, where it is the only one with that, and that behind it.
func TestARuleWhoseTextWasNotReadIsFoundByItsHandle(t *testing.T) {
	s := &host.Snapshot{
		Unread: []host.Unread{{Part: host.PartNft, Why: "it took too long"}},
		NftOutline: []host.NftOutline{
			{Family: "ip", Table: "t", Chain: "c", Handles: []uint64{2, 3}}, {Family: "inet", Table: "u", Chain: "d", Handles: []uint64{2, 4}},
		},
	}
	for name, test := range map[string]struct {
		seen  Seen
		table string
	}{
		"with the next":         {Seen{Handle: 2, Next: 4, NextKnown: true}, "u"},
		"the last":              {Seen{Handle: 3, NextKnown: true}, "t"},
		"one of two":            {Seen{Handle: 2}, ""},
		"it has another behind": {Seen{Handle: 2, Next: 9, NextKnown: true}, ""},
		"none":                  {Seen{Handle: 17}, ""},
	} {
		o := Of(s).Evaluate(packet("input")).Confirm(s, test.seen)
		if o.Rule != nil || o.Outlined != (test.table != "") || o.Outlined && (o.Candidates[0].Table != test.table || o.Candidates[0].Handle != test.seen.Handle) {
			t.Errorf("%s: %+v", name, o)
		}
	}
	r := Rule{Backend: "nft", Family: "inet", Table: "u", Chain: "d", Handle: 2, Unread: true}
	after := *s
	Mend(&after, r, packet("input"))
	if !slices.Equal(after.NftOutline[1].Handles, []uint64{4}) || !slices.Equal(s.NftOutline[1].Handles, []uint64{2, 4}) {
		t.Errorf("after its deletion %+v, before %+v", after.NftOutline, s.NftOutline)
	}
}
