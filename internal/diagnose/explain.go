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
)

// unknown is the code of a loss that no row explains.
const unknown = "unknown"

// rows are all causes.
var rows = slices.Concat(linkRows(), tunnelRows(), routingRows(), natRows(), filterRows(), optionRows(), socketRows(), packetRows(), replyRows(), directorRows(), balanceRows())

// answer is a row that a journey may have ended by, with what is said of it.
type answer struct {
	row     row
	finding finding
	// explained: the state says so, too.
	explained bool
}

// Explain finds the cause of a lost journey. s is the state of the namespace in which it was lost, read after the
// loss; nil if it was not read.
//
// Of causes that the state shows without doubt the one that the packet meets first is named; then those that it shows
// with doubt; then those that only the journey shows.
func Explain(j journey.Journey, s *host.Snapshot) Verdict { return explain(j, s, ruleset.Of(s)) }

// explain is Explain with the state's rules, as far as they were unpacked for others.
func explain(j journey.Journey, s *host.Snapshot, rules *ruleset.Ruleset) Verdict {
	v := Verdict{Journey: j}
	if !j.Lost() {
		return v
	}
	q := question{Journey: j, host: s, ruleset: rules}
	q.rules = sync.OnceValues(q.evaluated)
	var best *answer
	for _, r := range rows {
		if q.Astray != nil && r.stage != replying {
			continue // beyond its tunnel nothing is to be repaired
		}
		if a, ok := q.ask(r); ok && (best == nil || a.before(*best)) {
			best = &a
		}
	}
	if best == nil {
		v.Cause = &Cause{Code: unknown, Certainty: NotKnown, Summary: q.plainly(), Unread: q.unreadAtAll()}
		return v
	}
	f := best.finding
	v.Cause = &Cause{
		Code: best.row.code, Certainty: Inferred, Summary: f.summary, Evidence: f.evidence, Fix: f.fix.Commands(), Unread: q.unread(best.row),
	}
	if why := f.fix.Refused(); why != "" {
		v.Cause.Summary += "; no command: " + why
	}
	if best.explained && !f.doubtful && j.Gaps == 0 && len(v.Cause.Unread) == 0 {
		v.Cause.Certainty = Observed
	}
	v.Rule, v.Candidates = toRule(f.rule), toRules(f.candidates)
	return v
}

func (q question) ask(r row) (a answer, ok bool) {
	sight := r.seen(q)
	if sight == absent {
		return a, false
	}
	if q.host != nil && r.state != nil {
		if f := r.state(q); f != nil {
			return answer{r, *f, true}, true
		}
	}
	if sight == shown && r.bare != nil {
		return answer{r, r.bare(q), false}, true
	}
	return a, false
}

func (a answer) before(b answer) bool {
	if a.explained != b.explained {
		return a.explained
	}
	if a.explained && a.finding.doubtful != b.finding.doubtful {
		return b.finding.doubtful
	}
	return cmp.Compare(a.row.stage, b.row.stage) < 0
}

// unread are the parts of the state that the row would have needed.
func (q question) unread(r row) (parts []string) {
	if q.host == nil {
		if len(r.needs) > 0 {
			parts = []string{"the state of the machine"}
		}
		return parts
	}
	for _, u := range q.host.Unread {
		if u.Part == host.PartAll || slices.Contains(r.needs, u.Part) {
			parts = append(parts, fmt.Sprintf("%s: %s", u.Part, u.Why))
		}
	}
	return parts
}

// unreadAtAll are all parts of the state that were not read: where nothing explains a loss, each may have mattered.
func (q question) unreadAtAll() (parts []string) {
	if q.host == nil {
		return []string{"the state of the machine"}
	}
	var whys []string
	names := map[string][]string{}
	for _, u := range q.host.Unread {
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

// plainly says what was seen where nothing is known.
func (q question) plainly() string {
	switch d := q.Drop; {
	case q.Fate == journey.Vanished:
		last, _ := q.Last()
		return fmt.Sprintf("last seen at %s on %s, then nothing more of it", last.Place, last.Dev)
	case d == nil:
		return "no known cause explains it"
	case d.Reason != "" && d.Reason != "NOT_SPECIFIED":
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
