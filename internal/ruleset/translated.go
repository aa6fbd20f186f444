package ruleset

import (
	"slices"

	"ipiptrace/internal/host"
)

// statusDNAT is IPS_DST_NAT: a rule has given the packet's connection another destination.
const statusDNAT = 32

var statusNames = map[string]uint64{"expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": statusDNAT, "dying": 512}

// redirected says whether the packet's connection has another destination by a rule. Nobody has answered one that is new,
// so it is not from before the rules that are there: if none of them gives another destination, it has none.
func (e *evaluation) redirected() match {
	switch {
	case e.ct&(New|Established|Related) == 0:
		return no
	case e.ct&(Established|Related) != 0, e.p.Bridged, e.p.IIF == "lo", e.rules.redirects():
		return may
	}
	return no
}

// redirecting are the statements, and the targets, that give a connection another destination.
var redirecting = []string{"dnat", "redirect", "DNAT", "REDIRECT", "NETMAP"}

// redirects reports whether a rule may give a connection another destination, as far as rules were read and understood.
func (r *Ruleset) redirects() bool {
	return !r.host.Knows(host.PartNft) || !r.host.Knows(host.PartIPTables) || r.Once("redirects", func() bool {
		return slices.ContainsFunc(r.host.Nft, redirectsIn) || slices.ContainsFunc(r.host.IPTables, redirectsOf)
	})
}

func redirectsIn(t host.NftTable) bool {
	for _, c := range t.Chains {
		for _, rule := range c.Rules {
			for _, raw := range rule.Exprs {
				name, body := only(raw)
				if name == "xt" {
					v, _ := xt(body, Rule{})
					name = v.target
				}
				if slices.Contains(redirecting, name) {
					return true
				}
			}
		}
	}
	return false
}

func redirectsOf(t host.IPTables) bool {
	for _, c := range t.Chains {
		for _, rule := range c.Rules {
			if slices.ContainsFunc(rule.Args, func(a string) bool { return slices.Contains(redirecting, a) }) {
				return true
			}
		}
	}
	return false
}
