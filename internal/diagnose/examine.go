package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// Severity says how bad a finding about a supposed packet is. The strings are part of the JSON contract.
type Severity string

// The severities.
const (
	// Lost: with this a packet of the service is lost now.
	Lost Severity = "fault"
	// AtRisk: it is lost under a condition that the summary names.
	AtRisk Severity = "risk"
	// Noted: worth knowing; the state does not tell whether it loses any.
	Noted Severity = "note"
)

// Perhaps begins why a check could not be told of which a note says what there may be.
const Perhaps = "perhaps, as a note says"

// A Finding is what the state does, or may do, to a supposed packet.
type Finding struct {
	Severity Severity
	// Cause is as that of a packet that was lost so; never observed.
	Cause
	// Behind: the packet meets it only once the findings before it are repaired, and so is the state that it speaks of.
	Behind bool
}

// A Check is what all rows of one code say together. Answer is the worst: Unread stands between Consistent and Clear.
type Check struct {
	Code   string
	Answer Answer
	// Unread is why it could not be told on a part of the way.
	Unread []string
	// Behind: a packet comes there only once what is found before it is repaired, and the answer is of the state as it is then.
	Behind bool
}

// maxRepairs bounds how many findings are repaired in the model one behind the other.
const maxRepairs = 16

// Examine asks a state, and its rules, what a supposed request and its answer meet, as far as they come and further: what is found
// is repaired in a copy of the state, and everything asked again.
func (q Supposition) Examine(s *host.Snapshot, rules *ruleset.Ruleset) ([]Finding, []Check) {
	e := examination{q: q, host: s}
	e.first = stateOf(told(s), rules)
	st := e.first
	for range maxRepairs {
		hit := e.sweep(st)
		if hit == nil {
			break
		}
		st = e.found(*hit, st)
	}
	if e.q.late() {
		e.unasked()
	}
	if n := q.unsent(e.first); n > 0 && !q.Open {
		e.left(fmt.Sprintf("what is sent to %d of the real servers was not asked about: to no more than %d", n, maxSupposed))
	}
	return e.findings, e.checks
}

// left says of the rows that are asked about what leaves that they were not asked about all of it.
func (e *examination) left(why string) {
	for i := range e.checks {
		c := &e.checks[i]
		if slices.ContainsFunc(examined, func(r row) bool { return r.code == c.Code && leaving(r) && (r.asked|r.doubted)&replySide != 0 }) {
			c.Unread = append(c.Unread, why)
		}
	}
}

func (q Supposition) late() bool { return q.Late != nil && q.Late() }

// unasked says of all rows that there was no time to ask them along the whole way.
func (e *examination) unasked() {
	const why = "there was no time left to ask along the whole way"
	for _, r := range examined {
		i := slices.IndexFunc(e.checks, func(c Check) bool { return c.Code == r.code })
		switch {
		case r.asked == 0 && i < 0:
		case i < 0:
			e.checks = append(e.checks, Check{Code: r.code, Answer: Clear, Unread: []string{why}})
		case !slices.Contains(e.checks[i].Unread, why):
			e.checks[i].Unread = append(e.checks[i].Unread, why)
		}
	}
}

// told is a state in which sockets are bound as they say themselves.
func told(s *host.Snapshot) *host.Snapshot {
	if s == nil || !s.Coarse {
		return s
	}
	own := *s
	own.Sockets = slices.Clone(s.Sockets)
	for i := range own.Sockets {
		if own.Sockets[i].Told != 0 {
			own.Sockets[i].Device = own.Sockets[i].Told
		}
	}
	return &own
}

// examination is one supposition that is being asked about.
type examination struct {
	q     Supposition
	host  *host.Snapshot
	first *State
	// known are findings that were said already.
	known    []string
	findings []Finding
	checks   []Check
	// lost: a fault was found, and no packet comes further in the state as it is; of a risk some do.
	lost bool
}

// hit is a fault, and where it was met.
type hit struct {
	named
	at point
}

// sweep asks all rows along the way, up to the first fault that is new.
func (e *examination) sweep(st *State) *hit {
	for _, p := range e.q.way(st) {
		if e.q.late() {
			return nil
		}
		asked := st.of(p.Subject)
		for _, r := range examined {
			if (r.asked|r.doubted)&p.side == 0 || !e.belongs(r, p) || r.fits != nil && !r.fits(p.Subject, asked) {
				continue
			}
			answer, f := r.ask(p.Subject, asked)
			e.note(r, p, asked, answer, f)
			if answer == Fault && !slices.Contains(e.known, key(r, f)) {
				return &hit{named{r, *f, answer}, p}
			}
		}
	}
	return nil
}

// belongs reports whether a row is asked at a point: those that look at a hook's rules at a hook, others between them.
func (e *examination) belongs(r row, p point) bool {
	atHook := r.code == "firewall-drop" || r.code == "firewall-reject" || r.code == "queue-drop"
	return p.asks(r) && atHook == (p.Hook != "")
}

// examined are all rows that are asked about supposed packets, in the order in which such a packet meets them.
var examined = func() []row {
	some := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.asked|r.doubted == 0 })
	slices.SortStableFunc(some, func(a, b row) int { return int(a.stage) - int(b.stage) })
	return some
}()

func key(r row, f *finding) string { return r.code + " " + f.summary }

// note keeps what a row has said, for its code.
func (e *examination) note(r row, p point, st *State, answer Answer, f *finding) {
	i := slices.IndexFunc(e.checks, func(c Check) bool { return c.Code == r.code })
	if i < 0 {
		i = len(e.checks)
		e.checks = append(e.checks, Check{Code: r.code, Answer: Clear, Behind: e.lost})
	}
	c := &e.checks[i]
	for _, why := range e.untold(r, p, st, answer, f) {
		if !slices.Contains(c.Unread, why) {
			c.Unread = append(c.Unread, why)
		}
	}
	if answer > Unread {
		c.Answer = max(c.Answer, answer)
	}
	if k := ""; answer == Consistent {
		if k = key(r, f); !slices.Contains(e.known, k) {
			e.known = append(e.known, k)
			said := e.finding(r, f, Noted)
			said.Summary, said.Fix = fmt.Sprintf("perhaps: %s; the state does not tell", f.summary), nil
			e.findings = append(e.findings, said)
		}
	}
}

// untold is why a row's answer is none, or not all that there would be to say.
func (e *examination) untold(r row, p point, st *State, answer Answer, f *finding) []string {
	switch {
	case answer == Unread && f != nil:
		return []string{f.undecided}
	case answer == Unread, answer == Clear && len(r.minds) > 0:
		return unreadOf(e.host, r)
	case answer == Consistent:
		why := Perhaps + ": the state does not tell"
		if len(f.because) > 0 {
			why = Perhaps + ": " + strings.Join(f.because, ", ")
		}
		return append(unreadOf(e.host, r), why)
	}
	return nil
}

// found says a fault, and repairs it in the model.
func (e *examination) found(h hit, st *State) *State {
	f := h.finding.unharmed(st)
	e.known = append(e.known, key(h.row, &f))
	said := e.finding(h.row, &f, severity(h))
	if st != e.first {
		if original := e.before(h); original != nil {
			said.Evidence = texts(e.host, original.evidence)
		} else {
			said.Evidence = st.foretold(said.Evidence)
			// That nobody listens is so whether the packet comes there or not.
			said.Behind = h.row.code != "no-listener" || !sameSlice(st.whole.Sockets, e.first.whole.Sockets)
		}
	}
	said.Untried = f.mend == nil && len(said.Fix) > 0
	if f.mend != nil && said.Severity != Noted {
		st = st.mended(f.mend)
		if answer, again := h.row.ask(h.at.Subject, st.of(h.at.Subject)); answer == Fault && key(h.row, again) == key(h.row, &f) {
			said.Untried = true
		}
	}
	e.findings = append(e.findings, said)
	e.lost = e.lost || said.Severity == Lost
	return st
}

// before is the same fault in the state as it was read; nil if the packet does not meet it there.
func (e *examination) before(h hit) *finding {
	for _, p := range e.q.way(e.first) {
		if p.side != h.at.side || p.Hook != h.at.Hook || !e.belongs(h.row, p) {
			continue
		}
		asked := e.first.of(p.Subject)
		if h.row.fits != nil && !h.row.fits(p.Subject, asked) {
			continue
		}
		if answer, f := h.row.ask(p.Subject, asked); answer == Fault && f.summary == h.finding.summary {
			return f
		}
	}
	return nil
}

func (e *examination) finding(r row, f *finding, how Severity) Finding {
	said := Finding{Severity: how, Cause: Cause{
		Code: r.code, Certainty: Inferred, Summary: f.said(), Evidence: texts(e.host, f.evidence), Fix: f.fix.Commands(), Unread: unreadOf(e.host, r),
	}}
	return said
}

// passing are what a state shows of a moment, or of packets that need not come: at most a risk, or a note.
var passing = []struct {
	code string
	is   Severity
}{
	{"neighbour-failed", AtRisk}, {"ipvs-defence", AtRisk}, {"fragment-lost", AtRisk}, {"ipvs-destination-removed", AtRisk},
	{"ipvs-persistence", Noted}, {"ipvs-wrong-method", Noted}, {"vip-arp-conflict", AtRisk},
	{"syn-queue-full", AtRisk}, {"backlog-full", AtRisk}, {"mtu-exceeded", Noted},
}

// severity is a risk where the row itself has a doubt.
func severity(h hit) Severity {
	for _, p := range passing {
		if p.code == h.row.code {
			return p.is
		}
	}
	if h.finding.doubtful || h.at.partly && h.row.stage == transport {
		return AtRisk
	}
	return Lost
}
