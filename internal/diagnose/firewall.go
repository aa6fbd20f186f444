package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
	"ipiptrace/tracer/event"
)

// hooked is the header that rules at the hook see.
func (s Subject) hooked() ruleset.Packet {
	p := s.headers(s.Now)
	p.Hook, p.Bridged, p.ByNfTables = s.Hook, s.Bridged, s.ByNfTables
	if o := s.Outer; o != nil && s.Tunnelled {
		p.Src, p.Dst, p.Proto, p.TTL, p.Length, p.HasPorts, p.Fragment = o.Src, o.Dst, o.Protocol, o.TTL, o.Len, o.SrcPort != 0 && o.DstPort != 0, o.Frag&0x1fff != 0
		p.Sport, p.Dport = s.outerPorts()
		p.AnyPort = false
	}
	return p
}

// filteredPacket is the packet as the hook sees it: with its devices, and what connection tracking has made of it.
func filteredPacket(s Subject, h *host.Snapshot) ruleset.Packet {
	p := s.hooked()
	if s.Over != "" {
		return overBridge(s, p)
	}
	switch p.Hook {
	case "output", "postrouting", "egress":
		p.OIF = s.Dev
		if p.OIF == "" {
			p.OIF = h.Route(host.Flow{Src: p.Src, Dst: p.Dst}).Dev
		}
		if s.Supposed { // forwarded: ip_output tells the chains where it came in, too
			p.IIF = s.Came
		}
	case "forward":
		p.IIF = s.Dev
		if p.OIF = h.Route(host.Flow{Src: p.Src, Dst: p.Dst, IIF: p.IIF}).Dev; throughBridge(h, p.IIF, false) != p.IIF {
			p.OIF = p.IIF // a port: a bridge forwards it, and no route is asked
		}
		if p.Bridged {
			p.OIF = "" // another port, which the bridge knows
		}
	default:
		p.IIF = s.Dev
	}
	p.IIF, p.OIF = throughBridge(h, p.IIF, p.Bridged), throughBridge(h, p.OIF, p.Bridged)
	if s.Segments > 1 {
		p.Length = 0 // merged, or not cut yet
	}
	if p.CT = s.Tracked; !s.Supposed {
		p.CT = tracking(h, p)
	}
	return p
}

// overBridge is a frame that a bridge passes on. Rules of the family bridge see the ports, which are not known, iptables' the
// bridge (br_nf_pre_routing, br_nf_forward_ip, br_nf_post_routing).
func overBridge(s Subject, p ruleset.Packet) ruleset.Packet {
	p.Over, p.CT = s.Over, s.Tracked
	if p.Bridged {
		return p
	}
	if p.Hook != "postrouting" {
		p.IIF = s.Over
	}
	if p.Hook != "prerouting" {
		p.OIF = s.Over
	}
	return p
}

// throughBridge is the device that rules see where a bridge has the packet: those of the bridge see the port, IPv4's, with
// br_netfilter, the bridge itself (br_nf_pre_routing). It is empty if that is one of several.
func throughBridge(h *host.Snapshot, dev string, bridged bool) string {
	l := h.LinkNamed(dev)
	switch {
	case l == nil:
	case !bridged && l.MasterKind == "bridge":
		if master := h.Link(l.Master); master != nil {
			return master.Name
		}
	case bridged && l.Type == "bridge":
		var ports []string
		for _, port := range h.Links {
			if port.Master == l.Index {
				ports = append(ports, port.Name)
			}
		}
		if len(ports) != 1 {
			return ""
		}
		return ports[0]
	}
	return dev
}

// headers are what rules read of a packet that has left its tunnel.
func (s Subject) headers(p event.Packet) ruleset.Packet {
	return ruleset.Packet{
		Src: p.Inner.Src, Dst: p.Inner.Dst, Proto: p.Inner.Protocol, TTL: p.Inner.TTL,
		Length: p.Inner.Len, Fragment: p.Inner.Frag&0x1fff != 0, HasPorts: p.HasPorts,
		Sport: p.SrcPort, Dport: p.DstPort, Flags: uint8(p.TCPFlags), ICMPType: p.ICMPType, ICMPCode: p.ICMPCode,
		Answer: s.Reply, Invented: s.Invented, AnyPort: s.AnyPort,
	}
}

// evaluate is what the rules do with the packet. If no rule drops it in the state that connection tracking should have given
// it, other states are tried: a wrong checksum, for example, makes a packet invalid.
func evaluate(s Subject, h *host.Snapshot, rules *ruleset.Ruleset) (ruleset.Packet, ruleset.Outcome) {
	p := filteredPacket(s, h)
	if mark, ok := (&State{Snapshot: h, whole: h, rules: rules}).markPast(s, ""); ok && !s.Reply && s.Hook != "output" && s.Dev != "lo" {
		p.Mark, p.Marked = mark, true
	}
	o := rules.Evaluate(p)
	if o.Rule == nil && len(o.Candidates) == 0 && o.Tracked && p.CT != 0 && !s.Supposed {
		p.CT = 0
		o = rules.Evaluate(p)
		if o.Rule != nil {
			o.Candidates, o.Rule = []ruleset.Rule{*o.Rule}, nil
		}
	}
	if r := s.Rule; r != nil {
		o = o.Confirm(h, ruleset.Seen{Handle: r.Handle, Next: r.Next, NextKnown: r.NextKnown})
	}
	return p, o
}

// firewallState finds the rule or the policy that drops or rejects the packet. If the packet was answered, only rules that
// answer count.
func firewallState(s Subject, st *State, rejects bool) *finding {
	if s.Hook == "" {
		return nil
	}
	p, o := st.filtered()
	verb := map[bool]string{true: "reject", false: "drop"}[rejects]
	if s.Rejected {
		o.Candidates = slices.DeleteFunc(slices.Clone(o.Candidates), func(r ruleset.Rule) bool { return !r.Rejects })
	}
	rule, summary := o.Rule, "%s %ss the packet"
	if s.Over != "" && rule == nil && len(o.Candidates) > 0 && o.Candidates[0].Rejects == rejects {
		return unknownEnds(o)
	}
	if rule == nil && len(o.Candidates) == 1 {
		rule, summary = &o.Candidates[0], "of the rules at the hook "+p.Hook+" only %s can %s the packet"
		if len(o.Unread) > 0 {
			summary = "of the rules at the hook " + p.Hook + " that were read only %s can %s the packet"
		}
		if o.Outlined {
			own := *rule
			own.Rejects = s.Rejected
			rule, summary = &own, "%s %ss the packet, as the kernel was seen doing; what it says was not read"
		}
		if o.Against {
			summary = "%s %ss the packet, as the kernel was seen doing, though by what was read of it it would not"
		}
	}
	switch {
	case rule != nil && rule.Rejects == rejects:
		fix, mend := letPass(s, st, *rule, p)
		return &finding{
			summary:  fmt.Sprintf(summary, where(*rule), verb),
			evidence: slices.Concat(evidenceOf(*rule), trackedAs(p, o), s.gone(o)), fix: fix, mend: mend, rule: rule,
			doubtful: o.Rule == nil, consistent: o.Rule == nil, because: doubted(o),
		}
	case rule != nil, len(o.Candidates) == 0, o.Candidates[0].Rejects != rejects, rejects && !s.Rejected && !s.Supposed:
		return nil
	}
	f := &finding{
		summary:    fmt.Sprintf("one of %d rules at the hook %s %ss the packet", len(o.Candidates), p.Hook, verb),
		candidates: o.Candidates, doubtful: true, consistent: true, because: doubted(o),
	}
	if o.Certain && s.Supposed {
		// Without the last one that of those before which drops it is certain, or none is.
		f.doubtful, f.consistent = false, false
		f.fix, f.mend = letPass(s, st, o.Candidates[len(o.Candidates)-1], p)
	}
	return f
}

// unknownEnds says of a frame that passes a bridge that a rule asks for what only its ends know, or for the bridge's ports.
func unknownEnds(o ruleset.Outcome) *finding {
	first := o.Candidates[0]
	what := where(first)
	if text := strings.TrimSpace(first.Text); text != "" {
		what += " (" + text + ")"
	}
	why := append(doubted(o), "who sends them, to whom, and by which ports of the bridge is not all known here: --director and --client say it, and --peer with what doctor says on the director")
	return &finding{undecided: fmt.Sprintf("rules: whether %s drops the service's packets is not told: %s", what, strings.Join(why, "; "))}
}

// doubted says which rules leave it open what becomes of the packet, and by what.
func doubted(o ruleset.Outcome) (all []string) {
	for _, d := range o.Doubts {
		all = append(all, fmt.Sprintf("%s can't be evaluated (%s)", where(d.Rule), d.By))
	}
	return all
}

// letPass are the commands that undo what the rule does to the packet. If a policy drops the outer packet and would drop the
// inner one, too, both are let pass. In forward the packet keeps its outer header.
func letPass(s Subject, st *State, r ruleset.Rule, p ruleset.Packet) (fix command.Fix, mend func(*State)) {
	closed := r.Policy != "" || r.Broad
	if closed && s.Over != "" && (!s.Tunnelled || !p.Src.IsValid()) {
		return fix, nil // whom to let pass is not known
	}
	fix, mend = ruleset.Fix(r, p), func(st *State) { ruleset.Mend(st.whole, r, p) }
	if !closed || p.Proto != protoIPIP || p.Hook == "forward" || s.Over != "" {
		return fix, mend
	}
	inner := s.headers(s.Now)
	inner.Hook = p.Hook
	if l := st.taker(s); l != nil {
		inner.IIF = l.Name
	}
	inner.CT = tracking(st.Snapshot, inner)
	if o := st.rules.Evaluate(inner); o.Rule != nil && o.Rule.Same(r) {
		fix, mend = fix.And(ruleset.Fix(*o.Rule, inner)), together(mend, func(st *State) { ruleset.Mend(st.whole, *o.Rule, inner) })
	}
	return fix, mend
}

// Where names a rule in a sentence.
func Where(r ruleset.Rule) string { return where(r) }

// where is Where.
func where(r ruleset.Rule) string {
	place := fmt.Sprintf("chain %s of %s table %s %s", r.Chain, r.Backend, r.Family, r.Table)
	if r.Backend != "nft" {
		place = fmt.Sprintf("chain %s of %s table %s", r.Chain, r.Backend, r.Table)
	}
	switch {
	case r.Policy != "":
		return "the policy of " + place
	case r.Backend == "nft":
		return fmt.Sprintf("the rule with handle %d in %s", r.Handle, place)
	}
	return fmt.Sprintf("rule %d in %s", r.Number, place)
}

// evidenceOf is a rule as it is listed. A rule whose text may begin on an earlier line of the listing has none.
func evidenceOf(r ruleset.Rule) []evidence {
	part := host.PartNft
	if r.Backend != "nft" {
		part = host.PartIPTables
	}
	switch {
	case r.Policy != "":
		return []evidence{by(part, "chain %s: policy drop, and no rule accepts the packet", r.Chain)}
	case strings.TrimSpace(r.Text) != "" && r.ByHandle():
		chain := command.OneOf("the table", r.Table, "filter", "nat", "mangle", "raw", "security").And(command.IPTablesChain(r.Chain))
		return []evidence{{part, r.Text}, by(host.PartNft, "nft -a list chain ip %s: rule %d has handle %d", chain, r.Number, r.InKernel)}
	case strings.TrimSpace(r.Text) != "":
		return []evidence{{part, r.Text}}
	case r.Backend == "nft" && r.Unread:
		return []evidence{seen("the kernel was seen using a rule with handle %d", r.Handle)}
	case r.Backend == "nft":
		return []evidence{by(part, "chain %s: handle %d, whose text cannot be read safely", r.Chain, r.Handle)}
	}
	return []evidence{by(part, "chain %s: rule %d, which has no text", r.Chain, r.Number)}
}

// trackedAs is evidence of the packet's state in connection tracking, if a rule has tested it.
func trackedAs(p ruleset.Packet, o ruleset.Outcome) []evidence {
	if !o.Tracked || p.CT == 0 {
		return nil
	}
	return []evidence{by(host.PartConntrack, "/proc/net/nf_conntrack: to connection tracking the packet is %s", p.CT)}
}

// unreadRule: netfilter freed the packet, and the rule that decided was not read, or not found.
func unreadRule(rejects bool) func(Subject, *State) bool {
	return func(s Subject, st *State) bool {
		if s.Rejected != rejects || s.Hook == "" && rejects {
			return false
		}
		if st == nil || s.Hook == "" || s.Rule != nil || s.ByNfTables {
			return true
		}
		_, o := st.filtered()
		return len(o.Unread) > 0
	}
}

// bareRule is the finding of unreadRule.
func bareRule(s Subject) finding {
	verb := map[bool]string{true: "rejects", false: "drops"}[s.Rejected]
	switch {
	case s.Hook == "":
		return finding{summary: "netfilter drops the packet: a rule, a chain's policy, connection tracking or IPVS; which of them is not known, since the kernel's functions that led there have no names here"}
	case s.Rule != nil:
		return finding{
			summary:  fmt.Sprintf("a rule of nf_tables at the hook %s %s the packet; it is listed with its handle: nft -a list ruleset | grep 'handle %d$'", s.Hook, verb, s.Rule.Handle),
			evidence: []evidence{seen("the kernel was seen using a rule with handle %d", s.Rule.Handle)},
		}
	}
	if s.ByNfTables {
		return finding{summary: fmt.Sprintf("a rule or a chain's policy of nf_tables at the hook %s %s the packet; which one does not follow from what was read: nft monitor trace shows it, once a rule sets nftrace", s.Hook, verb)}
	}
	return finding{summary: fmt.Sprintf("what netfilter runs at the hook %s %s the packet, and not all rules were read", s.Hook, verb)}
}

// gone is the finding that the kernel used a rule that was gone when the ruleset was read.
func (s Subject) gone(o ruleset.Outcome) []evidence {
	if !o.Gone || s.Rule == nil {
		return nil
	}
	return []evidence{seen("the kernel was seen using a rule with handle %d, which the ruleset did not have when it was read", s.Rule.Handle)}
}
