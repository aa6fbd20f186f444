package ruleset

import "ipiptrace/internal/command"

// Translate finds the rule that gives a packet another destination at its hook: the rules of NAT are asked, as the
// kernel asks them for the first packet of a connection.
func (r *Ruleset) Translate(p Packet) Outcome {
	e := &evaluation{p: p, s: r.host, rules: r, tracked: New, nat: true}
	e.hook()
	return e.outcome()
}

// translates is what a rule does that gives the packet another destination: it accepts it, unless it is the rule that
// is looked for.
func (e *evaluation) translates() kind {
	if e.nat {
		return drops
	}
	e.natted = true
	return accepts
}

// Spare is the command that keeps the packet's service from a rule of NAT, and leaves the rule to others.
func Spare(r Rule, p Packet) command.Fix {
	r.Policy = "accept"
	return Fix(r, p)
}
