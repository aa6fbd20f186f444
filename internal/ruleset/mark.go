package ruleset

import (
	"encoding/json"
	"slices"
)

// Mark is the mark of a packet that had the given one before it came to its hook and those that lead there; of several it is
// that of the last, which was in the one before and keeps its mark (skb_scrub_packet). ok is false if rules that were not
// read, or not understood, may have changed it, or ones of which it is not known whether they match.
func (r *Ruleset) Mark(from uint32, through ...Packet) (mark uint32, ok bool) {
	mark = from
	for _, p := range through {
		p.Mark, p.Marked = mark, true
		e := &evaluation{p: p, s: r.host, rules: r, tracked: p.CT.known()}
		e.run()
		if !e.marked || e.steps > maxSteps || len(r.unread(p)) > 0 {
			return 0, false
		}
		mark = e.mark
	}
	return mark, true
}

// KeepsMark reports whether no rule at the packet's hook may give it another mark than that, not even for a while: what is
// sent is routed again then (ip_route_me_harder).
func (r *Ruleset) KeepsMark(mark uint32, p Packet) bool {
	p.Mark, p.Marked = mark, true
	e := &evaluation{p: p, s: r.host, rules: r, tracked: p.CT.known()}
	e.run()
	return e.marked && !e.remarked && e.steps <= maxSteps && len(r.unread(p)) == 0
}

// setMarkTo gives the packet a mark, if known, as surely as the rule is reached and matches.
func (e *evaluation) setMarkTo(mark uint32, known bool, m match) {
	switch {
	case m == no, e.marked && known && mark == e.mark:
	case m == may || !known:
		e.marked = false
	default:
		e.mark, e.marked, e.remarked = mark, true, true
	}
}

// marking are the targets of iptables that may give a mark in a way that is not followed.
var marking = []string{"HMARK", "TPROXY", "SET"}

// mayMark notes that an expression or a target of that name may have changed the mark.
func (e *evaluation) mayMark(target string, m match) {
	if m != no && (slices.Contains(marking, target) || !slices.Contains(onward, target) && targets[target] == goesOn) {
		e.marked = false
	}
}

// xtMarks is mayMark of a target that iptables-nft does not show: of those that give marks nobody knows which.
func (e *evaluation) xtMarks(body json.RawMessage, m match) {
	var x struct{ Type, Name string }
	_ = json.Unmarshal(body, &x)
	switch {
	case x.Type == "match":
	case x.Name == "MARK", x.Name == "CONNMARK":
		e.setMarkTo(0, false, m)
	default:
		e.mayMark(x.Name, m)
	}
}
