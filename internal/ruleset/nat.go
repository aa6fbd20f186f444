package ruleset

import "ipiptrace/internal/command"

// Translate finds the rule that gives a packet another destination at its hook: the rules of NAT are asked, as the
// kernel asks them for the first packet of a connection.
func (r *Ruleset) Translate(p Packet) Outcome {
	e := &evaluation{p: p, s: r.host, rules: r, tracked: New, sought: translator}
	e.hook()
	return e.outcome()
}

// translates is the verdict of a rule that gives the packet another destination: a drop if such a rule is looked for,
// otherwise an accept.
func (e *evaluation) translates() kind {
	if e.sought == translator {
		return drops
	}
	e.natted = true
	return accepts
}

// translatesSource notes that the packet may have another source from here on.
func (e *evaluation) translatesSource() {
	e.change("saddr")
	e.change("sport")
}

// Spare is the command that exempts the packet's service from a rule of NAT, and leaves the rule to other traffic.
func Spare(r Rule, p Packet) command.Fix {
	r.Policy, r.Broad = "accept", false
	return Fix(r, p)
}

// asRun has the priority at which the kernel runs it: that of NAT is the kernel's (nf_nat_ipv4_ops).
func (b base) asRun(hook string) base {
	if b.own = b.priority; b.nat {
		b.priority = natPriority(hook)
	}
	return b
}

// natPriority is NF_IP_PRI_NAT_DST, or NF_IP_PRI_NAT_SRC.
func natPriority(hook string) int {
	if hook == "input" || hook == "postrouting" {
		return 100
	}
	return -100
}
