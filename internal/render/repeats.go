package render

import (
	"fmt"
	"slices"
	"time"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
)

// verdict is what makes two journeys the same to a person in front of a terminal.
type verdict struct {
	service, kind    string
	direction        journey.Direction
	fate             journey.Fate
	function, reason string
	hook, dev        string
	answer, code     string
	replyLost, gaps  bool
}

func verdictOf(told diagnose.Verdict) verdict {
	j := told.Journey
	v := verdict{
		service: endpoint(j.Packet, j.Direction == journey.Reply), kind: kind(j.Packet), direction: j.Direction,
		fate: j.Fate, dev: where(j), replyLost: j.ReplyLost, gaps: j.Gaps > 0,
	}
	if j.Drop != nil {
		v.function, v.reason, v.hook = j.Drop.Function, j.Drop.Reason, hook(j.Drop)
	}
	if j.Reject != nil {
		v.answer = answer(*j.Reject)
	}
	if told.Cause != nil {
		v.code = told.Cause.Code
	}
	return v
}

// repeat counts a verdict that is on the screen already.
type repeat struct {
	verdict verdict
	// since counts this second's, all counts the whole run's, with the one that was shown.
	since, all int
	like       journey.Journey
}

// maxRepeats bounds the verdicts that are remembered: then all are forgotten, and shown again.
const maxRepeats = 512

// repeats are the verdicts on the screen, by the time of the journeys.
type repeats struct {
	counts map[verdict]*repeat
	order  []*repeat
	second time.Time
}

// count counts a journey whose verdict is on the screen already, and reports whether it is.
func (r *repeats) count(told diagnose.Verdict) bool {
	v := verdictOf(told)
	if c, known := r.counts[v]; known {
		c.since++
		c.all++
		return true
	}
	if len(r.order) >= maxRepeats {
		clear(r.counts)
		r.order = nil
	}
	j := told.Journey
	j.Steps, j.Notices = nil, nil
	c := &repeat{verdict: v, all: 1, like: j}
	r.counts[v] = c
	r.order = append(r.order, c)
	return false
}

// due are the counts of the last second, if it is over at that moment.
func (r *repeats) due(now time.Time) []repeat {
	if now.Sub(r.second) < time.Second {
		return nil
	}
	first := r.second.IsZero()
	r.second = now
	if first {
		return nil
	}
	return r.all()
}

// all are the counts so far, which begin again.
func (r *repeats) all() []repeat {
	var due []repeat
	for _, c := range r.order {
		if c.since > 0 {
			due = append(due, *c)
			c.since = 0
		}
	}
	slices.SortStableFunc(due, func(a, b repeat) int { return b.since - a.since })
	return due
}

// repeated has a line for each count: "  +12  SYN to 10.0.0.100:80 dropped on tunl0: … (57 in all)".
func (t *Text) repeated(p *screen.Page, counts []repeat) {
	for _, c := range counts {
		to := "to"
		if c.verdict.direction == journey.Reply {
			to = "from"
		}
		p.Printf("%5s  %s %s %s ", fmt.Sprintf("+%d", c.since), c.verdict.kind, to, c.verdict.service)
		t.fate(p, c.like)
		if c.verdict.dev != "" {
			p.Printf(" on %s", c.verdict.dev)
		}
		if c.verdict.code != "" {
			p.Printf(": %s", c.verdict.code)
		}
		if why := why(c.like); why != "" && c.verdict.fate != journey.Consumed {
			p.Printf(": %s", why)
		}
		p.Linef(" (%d in all)", c.all)
	}
}
