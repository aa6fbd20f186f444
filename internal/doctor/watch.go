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
	// Journeys, Arrived and Lost count those that ended meanwhile.
	Journeys, Arrived, Lost int
	seen                    []seen
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
	}
	if !v.Lost() {
		return
	}
	w.Lost++
	if v.Cause == nil {
		return
	}
	for i := range w.seen {
		if c := w.seen[i].verdict.Cause; c.Code == v.Cause.Code && c.Summary == v.Cause.Summary {
			w.seen[i].count++
			return
		}
	}
	w.seen = append(w.seen, seen{v, 1})
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
	}
}

// Unwatched says why nothing could be seen.
func (r *Report) Unwatched(why string, o Options) {
	r.say(packets, watchedCode)
	r.open(watchedCode, why)
	r.finish(o)
}

// Join adds what was seen to a report: a finding by which packets were lost is a fault, and what no check has found is one,
// too.
func (r *Report) Join(w *Watched, o Options) {
	r.Watched = w
	r.account(w)
	for _, s := range w.seen {
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
			r.Findings = append(r.Findings, Finding{diagnose.Finding{Severity: diagnose.Lost, Cause: c}, n, vip, []netip.Addr{vip}})
			r.mark(n, c.Code)
			continue
		}
		f := &r.Findings[i]
		if f.Severity == diagnose.Noted { // the state could not tell: the packet could
			f.Cause = c
		}
		f.Severity, f.Certainty, f.Behind = diagnose.Lost, c.Certainty, false
		r.told(f.Code)
		f.Evidence = append(slices.Clip(f.Evidence), line)
		r.mark(f.Step, f.Code)
	}
	r.finish(o)
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
