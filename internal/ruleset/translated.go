package ruleset

import (
	"encoding/json"
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

// redirections are the statements, and the targets, that give a connection another destination.
var redirections = []string{"dnat", "redirect", "DNAT", "REDIRECT", "NETMAP"}

// redirects reports whether a rule may give a connection another destination, as far as rules were read and understood.
func (r *Ruleset) redirects() bool {
	return !r.host.Knows(host.PartNft) || !r.host.Knows(host.PartIPTables) || r.Once("redirects", func() bool {
		return r.host.AnyRule(
			func(_ host.NftTable, r host.NftRule) bool { return slices.ContainsFunc(r.Exprs, redirecting) },
			func(r host.IPTablesRule) bool {
				return slices.ContainsFunc(r.Args, func(a string) bool { return slices.Contains(redirections, a) })
			},
		)
	})
}

// redirecting reports whether an expression of a rule gives a connection another destination.
func redirecting(raw json.RawMessage) bool {
	name, body := only(raw)
	if name == "xt" {
		v, _ := xt(body, Rule{})
		name = v.target
	}
	return slices.Contains(redirections, name)
}
