package ruleset

import "ipiptrace/internal/host"

// Translate finds the rule that gives a packet another destination at its hook: the rules of NAT are asked, as the
// kernel asks them for the first packet of a connection.
func Translate(s *host.Snapshot, p Packet) Outcome {
	e := &evaluation{p: p, s: s, tracked: New, nat: true}
	e.hook()
	return e.outcome()
}

// Spare is the command that keeps the packet's service from a rule of NAT, and leaves the rule to others.
func Spare(r Rule, p Packet) []string {
	r.Policy = "accept"
	return Fix(r, p)
}
