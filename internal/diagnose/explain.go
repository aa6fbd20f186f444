package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
	"ipiptrace/internal/site"
)

// unknown is the code of a loss that no row explains.
const unknown = "unknown"

// rows are all causes.
var rows = slices.Concat(linkRows(), arpRows(), tunnelRows(), routingRows(), natRows(), filterRows(), optionRows(), socketRows(), packetRows(), replyRows(), directorRows(), persistenceRows(), balanceRows())

// named is a row that may explain a loss, with what its check says.
type named struct {
	row     row
	finding finding
	// answer is the state's; Clear and Unread where only the end of the packet tells.
	answer Answer
}

// Explain finds the cause of a lost journey. s is the state of the namespace in which it was lost, read after the
// loss; nil if it was not read.
//
// Causes that the state shows come before those that it does not contradict, and both before those that only the
// journey shows; what is beyond doubt comes before what is not, and of two the one that the packet meets first.
func Explain(j journey.Journey, s *host.Snapshot) Verdict {
	return explain(j, wasLost(j), s, ruleset.Of(s), nil)
}

// explain is Explain with what earlier losses have left: rules that were unpacked, and repairs that were tried.
func explain(j journey.Journey, l lostPacket, s *host.Snapshot, rules *ruleset.Ruleset, done trials) Verdict {
	v := Verdict{Journey: j}
	if !j.Lost() {
		return v
	}
	st := stateOf(s, rules).of(l.Subject)
	best := l.cause(st)
	if best == nil {
		v.Cause = &Cause{Code: unknown, Certainty: NotKnown, Summary: plainly(j), Unread: append(unreadAtAll(s), l.undecided(st)...)}
		return v
	}
	best.finding = best.finding.unharmed(st)
	f := best.finding
	v.Cause = &Cause{
		Code: best.row.code, Certainty: Inferred, Summary: f.said(), Evidence: texts(s, f.evidence), Fix: f.fix.Commands(), Unread: unreadOf(s, best.row),
	}
	if best.answer < Consistent {
		v.Cause.Unread = append(v.Cause.Unread, l.undecided(st)...)
	}
	if best.answer >= Consistent && !f.doubtful && j.Gaps == 0 && len(v.Cause.Unread) == 0 {
		v.Cause.Certainty = Observed
	}
	if len(v.Cause.Fix) > 0 && st != nil {
		next, ok := done.of(j, l, *best, st)
		v.Cause.Untried, v.Cause.Next = !ok, next
		for _, n := range next {
			v.Cause.Fix = append(v.Cause.Fix, n.Fix...)
		}
	}
	v.Rule, v.Candidates = toRule(f.rule), toRules(f.candidates)
	return v
}

// undecided says why rows that may explain the loss cannot decide, although the state was read.
func (l lostPacket) undecided(st *State) (whys []string) {
	for _, r := range rows {
		if r.sees(l, st) == absent {
			continue
		}
		if _, f := r.ask(l.Subject, st); f != nil && f.undecided != "" && !slices.Contains(whys, f.undecided) {
			whys = append(whys, f.undecided)
		}
	}
	return whys
}

// stateOf is a state for all rows; nil if it was not read.
func stateOf(s *host.Snapshot, rules *ruleset.Ruleset) *State {
	if s == nil {
		return nil
	}
	return &State{Snapshot: s, whole: s, rules: rules}
}

// of is the state for one packet: netfilter's rules are evaluated for it once, and all rows share the result.
func (st *State) of(s Subject) *State {
	if st == nil {
		return nil
	}
	own := *st
	own.filtered = sync.OnceValues(func() (ruleset.Packet, ruleset.Outcome) { return evaluate(s, st.whole, st.rules) })
	return &own
}

// cause is the best explanation of the loss; nil if there is none.
func (l lostPacket) cause(st *State) (best *named) {
	for _, r := range rows {
		if l.Astray != nil && r.stage != replying {
			continue // beyond its tunnel nothing is to be repaired
		}
		if n, ok := l.name(r, st); ok && (best == nil || n.before(*best)) {
			best = &n
		}
	}
	return best
}

// name asks a row about the loss; ok is false if the row does not explain it.
func (l lostPacket) name(r row, st *State) (n named, ok bool) {
	sight := r.sees(l, st)
	if sight == absent {
		return n, false
	}
	answer, f := r.ask(l.Subject, st)
	switch {
	case answer == Fault, answer == Consistent && sight > possible:
		return named{r, *f, answer}, true
	case sight == shown && r.bare != nil:
		return named{r, r.bare(l.Subject), Clear}, true
	}
	return n, false
}

func (n named) before(b named) bool {
	if n.answer != b.answer {
		return n.answer > b.answer
	}
	if n.finding.doubtful != b.finding.doubtful {
		return b.finding.doubtful
	}
	return cmp.Compare(n.row.stage, b.row.stage) < 0
}

// texts are the lines of evidence whose part of the state was read: nothing is said of a part that was not. Of a ruleset
// that was read in part, the rules that were read are shown.
func texts(s *host.Snapshot, all []evidence) (lines []string) {
	for _, e := range all {
		if e.part == "" || s.Knows(e.part) || e.part == host.PartNft || e.part == host.PartIPTables {
			lines = append(lines, e.text)
		}
	}
	return lines
}

// unreadOf are the parts of the state that the row would have needed.
func unreadOf(s *host.Snapshot, r row) (parts []string) {
	wants := slices.Concat(r.needs, r.minds)
	if s == nil {
		if len(wants) > 0 {
			parts = []string{"the state of the machine"}
		}
		return parts
	}
	for _, u := range s.Unread {
		if u.Part == host.PartAll || slices.Contains(wants, u.Part) {
			parts = append(parts, fmt.Sprintf("%s: %s", u.Part, u.Why))
		}
	}
	return parts
}

// unreadAtAll are all parts of the state that were not read: if nothing explains the loss, any of them may have done so.
func unreadAtAll(s *host.Snapshot) (parts []string) {
	if s == nil {
		return []string{"the state of the machine"}
	}
	var whys []string
	names := map[string][]string{}
	for _, u := range s.Unread {
		if names[u.Why] == nil {
			whys = append(whys, u.Why)
		}
		names[u.Why] = append(names[u.Why], string(u.Part))
	}
	for _, why := range whys {
		parts = append(parts, strings.Join(names[why], ", ")+": "+why)
	}
	return parts
}

// plainly says what was seen of a loss that nothing explains.
func plainly(j journey.Journey) string {
	switch d := j.Drop; {
	case j.Fate == journey.Vanished:
		last, _ := j.Last()
		return fmt.Sprintf("last seen at %s on %s, then nothing more of it", last.Place, last.Dev)
	case d == nil:
		return "no known cause explains it"
	case d.Reason != "" && d.Reason != site.NotSpecified:
		return fmt.Sprintf("the kernel freed it in %s and gave the reason %s; no known cause explains it", d.Function, d.Reason)
	default:
		return fmt.Sprintf("the kernel freed it in %s and gave no reason; no known cause explains it", d.Function)
	}
}

func toRule(r *ruleset.Rule) *Rule {
	if r == nil {
		return nil
	}
	return &Rule{Backend: r.Backend, Family: r.Family, Table: r.Table, Chain: r.Chain, Handle: r.Handle, Number: r.Number, Text: r.Text, Policy: r.Policy}
}

func toRules(all []ruleset.Rule) (rules []Rule) {
	for i := range all {
		rules = append(rules, *toRule(&all[i]))
	}
	return rules
}
