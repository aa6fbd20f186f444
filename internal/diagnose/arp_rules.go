package diagnose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// asked is what this host sends, or takes, by ARP, and the hook of the family arp that it passes.
type asked struct {
	what, hook string
	arp        ruleset.ARP
}

// packet is it as rules see it on a device.
func (a asked) packet(on host.Link) ruleset.Packet {
	p := ruleset.Packet{Hook: a.hook, ARP: &a.arp}
	if a.hook == "input" {
		p.IIF = on.Name
	} else {
		p.OIF = on.Name
	}
	return p
}

// dropsARP is the rule of the family arp that drops one of several, and which; none if none does.
type dropsARP struct {
	rule ruleset.Rule
	asked
}

// filtersARP asks the rules of the family arp (arp_xmit, arp_rcv) for what this host sends and takes on a device.
func (st *State) filtersARP(on host.Link, all ...asked) (drops *dropsARP, undecided *finding) {
	for _, a := range all {
		switch o := st.rules.Evaluate(a.packet(on)); {
		case o.Rule != nil:
			return &dropsARP{*o.Rule, a}, nil
		case len(o.Unread) > 0 && slices.Contains(o.Unread, host.PartARPTables):
			return nil, &finding{undecided: "arptables: what a table of arptables-legacy does to " + a.what}
		case len(o.Candidates) > 0:
			return nil, &finding{undecided: fmt.Sprintf("nftables: whether %s drops %s", where(o.Candidates[0]), a.what)}
		case st.rewritesARP():
			return nil, &finding{undecided: "nftables: what a rule of the family arp makes of " + a.what}
		}
	}
	return nil, nil
}

// rewritesARP reports whether a rule may give a question or an answer other addresses.
func (st *State) rewritesARP() bool {
	writes := func(e json.RawMessage) bool {
		return bytes.Contains(e, []byte(`"mangle"`)) || bytes.Contains(e, []byte(`"xt"`))
	}
	return slices.ContainsFunc(st.Nft, func(t host.NftTable) bool {
		return t.Family == "arp" && !t.Dormant && slices.ContainsFunc(t.Chains, func(c host.NftChain) bool {
			return slices.ContainsFunc(c.Rules, func(r host.NftRule) bool { return slices.ContainsFunc(r.Exprs, writes) })
		})
	})
}

// unheardState: a rule of the family arp drops this host's question for the next hop, or its answer: nothing gets there once the
// entry that this host may have of it is gone.
func unheardState(s Subject, st *State) *finding {
	a := st.Output(host.Flow{Src: s.src(), Dst: s.dst()})
	if s.Reply && !s.Tunnelled {
		var undecided *finding
		if a, _, undecided = st.wayOut(s); undecided != nil {
			return nil // that is another's to say
		}
	}
	l, hop := st.LinkNamed(a.Dev), a.Gateway
	if !hop.IsValid() {
		hop = s.dst()
	}
	permanent := func(n host.Neighbour) bool { return n.Addr == hop && n.Link == l.Index && n.State == "permanent" }
	if a.Type != "unicast" || l == nil || l.NoARP || !speaksEthernet(*l) || slices.ContainsFunc(st.Neighbours, permanent) {
		return nil
	}
	drops, undecided := st.filtersARP(*l, asked{"the question for " + hop.String(), "output", ruleset.ARP{Target: hop}}, asked{"what " + hop.String() + " answers", "input", ruleset.ARP{Answer: true, Sender: hop}})
	if drops == nil {
		return undecided
	}
	f := &finding{
		summary:  fmt.Sprintf("%s drops %s by ARP on %s: nothing gets there once this host has no entry for it", where(drops.rule), drops.what, l.Name),
		evidence: append([]evidence{got(s.dst(), a)}, evidenceOf(drops.rule)...), doubtful: true,
	}
	if p := drops.packet(*l); drops.rule.Policy == "" && !drops.rule.Broad {
		f.fix = ruleset.Fix(drops.rule, p)
		f.mend = func(st *State) {
			ruleset.Mend(st.whole, drops.rule, p)
			st.whole.Neighbours = slices.DeleteFunc(slices.Clone(st.whole.Neighbours), func(n host.Neighbour) bool { return n.Addr == hop && n.Link == l.Index })
		}
	}
	return f
}
