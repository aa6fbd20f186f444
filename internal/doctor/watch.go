package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
)

// Watched is what was seen of the service's packets beside the checks.
type Watched struct {
	For time.Duration
	// Journeys, Arrived and Lost count those that ended meanwhile. Past are the requests among Arrived that had no outer header:
	// they came past the tunnel.
	Journeys, Arrived, Past, Lost int
	seen                          []seen
}

// seen is a cause that packets were lost by, and how many.
type seen struct {
	verdict diagnose.Verdict
	count   int
}

// Take adds a journey that has ended.
func (w *Watched) Take(v diagnose.Verdict) {
	w.Journeys++
	if v.Arrived() {
		w.Arrived++
		if v.Direction == journey.Request && v.Outer == nil {
			w.Past++
		}
	}
	if !v.Lost() {
		return
	}
	w.Lost++
	v.Cause = causeOf(v)
	for i := range w.seen {
		if c := w.seen[i].verdict.Cause; c.Code == v.Cause.Code && c.Summary == v.Cause.Summary {
			w.seen[i].count++
			return
		}
	}
	w.seen = append(w.seen, seen{v, 1})
}

// causeOf is why a journey was lost. Of one that nothing explains the function and the kernel's reason are evidence.
func causeOf(v diagnose.Verdict) *diagnose.Cause {
	c := diagnose.Cause{Code: unknown, Certainty: diagnose.NotKnown, Summary: "a packet of the service was lost, and nothing that was read says why"}
	if v.Cause != nil {
		c = *v.Cause
	}
	if d := v.Drop; c.Code == unknown && d != nil {
		c.Evidence = append(slices.Clip(c.Evidence), "function: "+d.Function)
		if d.Reason != "" {
			c.Evidence = append(c.Evidence, "reason: "+d.Reason)
		}
	}
	return &c
}

// unknown is the code of a loss that nothing explains.
const unknown = "unknown"

// drops are what was seen, a loss of which the rule was not told with those at the same place of which one was: it is the same
// drop, whose state was not read in time.
func (w *Watched) drops() (all []seen) {
	told := func(s seen) bool { return s.verdict.Cause.Certainty == diagnose.Observed }
	for _, s := range w.seen {
		if told(s) {
			all = append(all, s)
		}
	}
	n := len(all)
	for _, s := range w.seen {
		if told(s) {
			continue
		}
		var same []int
		for i, t := range all[:n] {
			if samePlace(s.verdict, t.verdict) {
				same = append(same, i)
			}
		}
		if len(same) == 1 {
			all[same[0]].count += s.count
		} else {
			all = append(all, s)
		}
	}
	return all
}

// samePlace reports whether two losses of one code happened in the same function and hook of one namespace.
func samePlace(a, b diagnose.Verdict) bool {
	return a.Cause.Code == b.Cause.Code && a.Drop != nil && b.Drop != nil &&
		a.Drop.Function == b.Drop.Function && a.Drop.NfHook == b.Drop.NfHook && a.Drop.Netns == b.Drop.Netns
}

// packets is the step of what was seen, and found by no other.
const packets = 3

// watchedCode is the word in the table for what was seen.
const watchedCode = "watched"

// account says in the table what was seen; nothing is no proof of anything.
func (r *Report) account(w *Watched) {
	r.say(packets, watchedCode, fmt.Sprintf("in %s: %d journeys, %d arrived, %d lost", w.For, w.Journeys, w.Arrived, w.Lost))
	switch {
	case w.Lost > 0:
		r.named(watchedCode).Mark = Failed
	case w.Arrived == 0:
		r.open(watchedCode, "no packet of the service was seen to arrive, or to be lost")
	default:
		r.named(watchedCode).Mark = Passed
	}
}

// Unwatched says why nothing could be seen.
func (r *Report) Unwatched(why string, o Options) {
	r.say(packets, watchedCode)
	r.open(watchedCode, why)
	r.finish(o)
}

// Join adds what was seen to a report: a finding by which packets were lost is a fault, and what no check has found is one,
// too. What was seen is said whatever Only and Skip leave out.
func (r *Report) Join(w *Watched, o Options) {
	r.Watched = w
	r.account(w)
	r.contradict(w)
	for _, s := range w.drops() {
		c := *s.verdict.Cause
		line := fmt.Sprintf("seen: %d packets were lost by it in %s, the first from %s", s.count, w.For, s.verdict.Packet.Inner.Src)
		if s.count == 1 {
			line = fmt.Sprintf("seen: a packet was lost by it in %s, from %s", w.For, s.verdict.Packet.Inner.Src)
		}
		i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code == c.Code && f.Summary == c.Summary })
		if i < 0 { // said in other words, or of another rule
			i = slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code == c.Code && f.Certainty == diagnose.Inferred })
		}
		if i < 0 {
			n := step(c.Code)
			if n == 0 {
				n = packets
			}
			vip := vipOf(s.verdict.Journey)
			c.Evidence = append(slices.Clip(c.Evidence), line)
			r.Findings = append(r.Findings, Finding{diagnose.Finding{Severity: diagnose.Lost, Cause: c}, n, vip, []netip.Addr{vip}, true})
			r.mark(n, c.Code)
			continue
		}
		f := &r.Findings[i]
		if f.Severity == diagnose.Noted { // the state could not tell: the packet could
			f.Cause = c
		}
		f.Severity, f.Certainty, f.Behind, f.Seen = diagnose.Lost, c.Certainty, false, true
		r.told(f.Code)
		f.Evidence = append(slices.Clip(f.Evidence), line)
		r.mark(f.Step, f.Code)
	}
	r.finish(o)
}

// contradict says with the faults that packets arrived meanwhile, and none was lost: they did not meet what was found.
func (r *Report) contradict(w *Watched) {
	if w.Arrived == 0 || w.Lost > 0 {
		return
	}
	line := fmt.Sprintf("seen: %d packets of the service arrived in %s, and none was lost: they did not meet this", w.Arrived, w.For)
	if w.Past > 0 && r.Role == RealServer {
		line += fmt.Sprintf("; %d of them are requests that came without a tunnel, past the director or from it", w.Past)
	}
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Severity == diagnose.Lost {
			f.Evidence = append(slices.Clip(f.Evidence), line)
		}
	}
}

// told takes away that a check could not be told, unless a note says so still.
func (r *Report) told(code string) {
	if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code == code && f.Severity == diagnose.Noted }) {
		return
	}
	if c := r.named(code); c != nil {
		c.Why = slices.DeleteFunc(c.Why, func(why string) bool { return strings.HasPrefix(why, diagnose.Perhaps) })
	}
}

// mark has a code's check failed.
func (r *Report) mark(step int, code string) {
	r.say(step, code)
	r.named(code).Mark = Failed
}

// vipOf is the service's address in a journey.
func vipOf(j journey.Journey) netip.Addr {
	if j.Direction == journey.Reply {
		return j.Packet.Inner.Src
	}
	return j.Packet.Inner.Dst
}
