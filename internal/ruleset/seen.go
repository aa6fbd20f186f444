package ruleset

import (
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// Seen is the rule of nftables that the kernel was seen using: its handle, and that of the rule behind it in its
// chain, 0 if it is the last. Together they are nearly always one rule of the machine's; a handle alone is one of a table.
type Seen struct {
	Handle, Next uint64
	// NextKnown: Next is valid.
	NextKnown bool
}

// Confirm is the outcome with what the kernel was seen doing. Of the rules that may have dropped the packet it is the
// one that the kernel used.
func (o Outcome) Confirm(s *host.Snapshot, seen Seen) Outcome {
	found := o.Candidates
	if o.Rule != nil {
		found = []Rule{*o.Rule}
	}
	used := named(s, seen)
	both := slices.DeleteFunc(slices.Clone(found), func(r Rule) bool { return !slices.ContainsFunc(used, r.sameButElement) })
	switch {
	case len(both) == 1:
		o.Rule, o.Candidates = &both[0], nil
	case len(both) > 1:
		o.Rule, o.Candidates = nil, both
	case len(used) > 0:
		o.Rule, o.Candidates, o.Against = nil, used, true
	case slices.Contains(o.Unread, host.PartNft): // it is one of those that were not read
		o.Rule, o.Candidates = nil, outlined(s, seen)
		o.Outlined = len(o.Candidates) > 0
	default:
		o.Rule, o.Candidates, o.Gone = nil, found, !slices.ContainsFunc(s.Nft, hasUnlisted)
	}
	return o.inKernel(s)
}

// hasUnlisted reports whether a rule has a chain of its own within itself: nft lists that as text, without the rules' handles.
func hasUnlisted(t host.NftTable) bool {
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			for _, raw := range r.Exprs {
				name, _ := only(raw)
				if strings.HasPrefix(name, "jump {") || strings.HasPrefix(name, "goto {") {
					return true
				}
			}
		}
	}
	return false
}

func (r Rule) sameButElement(o Rule) bool {
	r.Element, o.Element = "", ""
	r.Handle, o.Handle = 0, 0 // of iptables' rules it is not known
	return r.Same(o)
}

// named are the rules of the ruleset that are what the kernel used.
func named(s *host.Snapshot, seen Seen) (rules []Rule) {
	for i := range s.Nft {
		t := &s.Nft[i]
		for _, c := range t.Chains {
			for n, r := range c.Rules {
				if r.Handle != seen.Handle || seen.NextKnown && nextHandle(c, n) != seen.Next {
					continue
				}
				if rule, ok := asRule(s, t, c, n); ok {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules
}

// outlined is the rule that the kernel used, if only the places of rules were read and it is one of them.
func outlined(s *host.Snapshot, seen Seen) (rules []Rule) {
	for _, c := range s.NftOutline {
		for n, handle := range c.Handles {
			next := uint64(0)
			if n+1 < len(c.Handles) {
				next = c.Handles[n+1] & 0xffffffff
			}
			if handle == seen.Handle && (!seen.NextKnown || next == seen.Next) {
				rules = append(rules, Rule{Backend: "nft", Family: c.Family, Table: c.Table, Chain: c.Chain, Handle: handle, Number: n + 1, Unread: true})
			}
		}
	}
	if len(rules) != 1 {
		return nil
	}
	return rules
}

// nextHandle is the handle of the rule behind rule n, as far as the kernel half says it.
func nextHandle(c host.NftChain, n int) uint64 {
	if n+1 == len(c.Rules) {
		return 0
	}
	return c.Rules[n+1].Handle & 0xffffffff
}

// asRule is rule n of a chain, as iptables shows it where that made it.
func asRule(s *host.Snapshot, t *host.NftTable, c host.NftChain, n int) (Rule, bool) {
	if !t.IPTables {
		r := nftRuleOf(t, &c, n)
		for _, raw := range c.Rules[n].Exprs {
			name, body := only(raw)
			r.Rejects = r.Rejects || name == "reject"
			if name == "xt" {
				v, _ := xt(body, r)
				r.Rejects = r.Rejects || v.rule.Rejects
			}
		}
		return r, true
	}
	for i := range s.IPTables {
		it := &s.IPTables[i]
		if it.Backend != "iptables-nft" || it.Table != t.Name {
			continue
		}
		if chain := find(it, c.Name); chain != nil && n < len(chain.Rules) {
			args := chain.Rules[n].Args
			r := ruleOf(it, chain, n)
			r.Rejects = slices.Contains(args, "REJECT")
			return r, true
		}
	}
	return Rule{}, false
}
