package doctor

import (
	"fmt"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// mixed is found where a packet has to pass the rules of several of nftables, iptables-nft and iptables-legacy: each of the
// programs shows only its own, and an accept in one of them is no accept in the others.
func (r *Report) mixed(s *host.Snapshot) {
	const code = "firewall-mixed"
	check := diagnose.Check{Code: code, Answer: diagnose.Clear}
	for _, u := range s.Unread {
		if u.Part == host.PartNft || u.Part == host.PartIPTables || u.Part == host.PartAll {
			check.Unread = append(check.Unread, fmt.Sprintf("%s: %s", u.Part, u.Why))
		}
	}
	var found []diagnose.Finding
	if held := holders(s); len(held) > 1 {
		f := diagnose.Finding{Severity: diagnose.Noted, Cause: diagnose.Cause{
			Code: code, Certainty: diagnose.Inferred,
			Summary: "rules of several firewalls are here at once, and a packet has to pass all of them: a rule that accepts it in one does not save it from another",
		}}
		for _, h := range held {
			f.Evidence = append(f.Evidence, h.line())
		}
		found = append(found, f)
	}
	for _, vip := range r.VIPs {
		r.add(vip, found, []diagnose.Check{check})
	}
}

// holder is a firewall's program, and how much of it decides over packets of IPv4.
type holder struct {
	shownBy       string
	rules, tables int
	// policies are chains whose policy is not to accept.
	policies int
}

func (h holder) line() string {
	line := fmt.Sprintf("%s: %d rules in %d tables", h.shownBy, h.rules, h.tables)
	if h.policies > 0 {
		line += fmt.Sprintf(", %d chains with policy drop", h.policies)
	}
	return line
}

// holders are those that have rules, or a policy that drops.
func holders(s *host.Snapshot) (all []holder) {
	nft := holder{shownBy: "nft list ruleset"}
	for _, t := range s.Nft {
		if t.IPTables || t.Dormant || t.Family == "ip6" || t.Family == "arp" || t.Family == "bridge" {
			continue
		}
		nft.tables++
		for _, c := range t.Chains {
			nft.take(len(c.Rules), c.Policy == "drop")
		}
	}
	byBackend := map[string]*holder{
		"iptables-nft": {shownBy: "iptables-nft-save"}, "iptables-legacy": {shownBy: "iptables-legacy-save"},
	}
	for _, t := range s.IPTables {
		h := byBackend[t.Backend]
		if h == nil {
			continue
		}
		h.tables++
		for _, c := range t.Chains {
			h.take(len(c.Rules), c.Policy == "DROP")
		}
	}
	for _, h := range []*holder{&nft, byBackend["iptables-nft"], byBackend["iptables-legacy"]} {
		if h.rules > 0 || h.policies > 0 {
			all = append(all, *h)
		}
	}
	return all
}

func (h *holder) take(rules int, drops bool) {
	h.rules += rules
	if drops {
		h.policies++
	}
}
