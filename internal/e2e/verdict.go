package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// window is the time in which a scenario's traffic began.
type window struct {
	scenario fault.Scenario
	from, to time.Time
	// unseen is how many verdicts did not come: only a probe that the kernel missed excuses that.
	unseen int
}

// verdicts are those on every kind of the scenario's traffic: the journeys that were lost, and what is wrong by kind.
func (o options) verdicts(r *report, l *lab.Lab, w *watch, rd round, during *window) (lost []line, errs []error) {
	for _, t := range during.scenario.Traffic {
		found, err := o.verdict(r, l, w, rd, during, t)
		lost = append(lost, found...)
		errs = append(errs, err)
	}
	return lost, errs
}

// verdict checks that of as many flows as were sent a packet was lost as expected; or is unknown, where the kernel missed a
// probe of that very packet. It returns both.
func (o options) verdict(r *report, l *lab.Lab, w *watch, rd round, during *window, t lab.Traffic) (found []line, err error) {
	want, ok := o.expected(l, during.scenario, t.Proto, rd.tier)
	if !ok {
		return nil, errors.New("the scenario does not say how its journeys end")
	}
	in := want.window(*during)
	found = w.await(in, t.Count, func(j line) bool { return want.ours(j) || want.unclear(j) })
	seen := countFlows(found)
	missing := max(0, t.Count-seen)
	during.unseen += missing
	r.verdicts, r.doubtful = r.verdicts+max(seen, t.Count), r.doubtful+missing
	if want.Blind == "" { // else a gap is what is to be seen
		r.doubtful += doubtful(found)
	}
	if seen == 0 {
		return found, fmt.Errorf("%d were lost, no journey says so; all journeys:%s", t.Count, list(w.during(in)))
	}
	for _, j := range found {
		code := during.scenario.Code
		if j.Gaps > 0 && j.Cause != nil && j.Cause.Certainty == "unknown" {
			code = anyCode
		}
		if want.unclear(j) {
			continue
		}
		if err := o.match(l, j, want, code); err != nil {
			return found, fmt.Errorf("%w\nin %s", err, j.raw)
		}
	}
	return found, nil
}

// unclear reports whether the journey is of the packets that are expected to be lost, and its end was not seen.
func (l loss) unclear(j line) bool { return j.Gaps > 0 && j.Fate == "unknown" && j.is(l) }

// doubtful is the number of flows of which no journey is without a gap.
func doubtful(journeys []line) int {
	whole := slices.DeleteFunc(slices.Clone(journeys), func(j line) bool { return j.Gaps > 0 })
	return countFlows(journeys) - countFlows(whole)
}

func countFlows(journeys []line) int {
	flows := map[flow]bool{}
	for _, j := range journeys {
		flows[j.flow()] = true
	}
	return len(flows)
}

// nothingElse checks, when everything is over, that so many connections and exchanges lost a packet as
// were to, that all were lost as they should be, and that no other was. A slow client may have sent one twice.
// A sighting that was missed is a gap of every packet that was under way.
func (o options) nothingElse(l *lab.Lab, w *watch, rd round, during window, missed int) error {
	if during.unseen > 0 && missed == 0 {
		return fmt.Errorf("%d losses were not told, and the kernel had missed nothing; all journeys:%s", during.unseen, list(w.during(during)))
	}
	journeys := w.during(during)
	for _, t := range during.scenario.Traffic {
		want, ok := o.expected(l, during.scenario, t.Proto, rd.tier)
		if !ok {
			continue
		}
		// One that was sent again may have been explained when the fault was repaired already.
		ours := func(j line) bool { return want.ours(j) && o.match(l, j, want, anyCode) == nil }
		unclear := func(j line) bool { return ours(j) || missed > 0 && want.unclear(j) }
		flows := countFlows(slices.DeleteFunc(w.during(want.window(during)), func(j line) bool { return !unclear(j) }))
		journeys = slices.DeleteFunc(journeys, unclear)
		if want.Onward && rd.watched == everywhere {
			journeys = slices.DeleteFunc(journeys, func(j line) bool {
				return j.Direction == "reply" && j.lost() && flat(j).cause == during.scenario.Code
			})
		}
		if flows > t.Count || flows+during.unseen < t.Count {
			return fmt.Errorf("%s: %d were lost instead of %d", t.Proto, flows, t.Count)
		}
	}
	strange := slices.DeleteFunc(journeys, func(j line) bool {
		return j.arrived() && j.Gaps <= missed || w.older(j, during.from) || during.scenario.Code == "" && j.gap(missed)
	})
	if len(strange) > 0 {
		return fmt.Errorf("%d journeys should not have ended so:%s", len(strange), list(strange))
	}
	return nil
}

// older reports whether the journey is of a connection, or an exchange, that had begun by then: the last packets of one that
// the client has closed may meet the fault, too.
func (w *watch) older(j line, then time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.lines, func(l line) bool {
		return l.Type == "journey" && l.Start.Before(then) && l.Inner.Proto == j.Inner.Proto && l.client() == j.client()
	})
}

// list is for people: at most so many.
func list(all []line) (s string) {
	for _, j := range all[:min(len(all), 12)] {
		s += "\n" + j.String()
	}
	return s
}

// ours reports whether a journey is one of those that are expected.
func (l loss) ours(j line) bool {
	if l.Notice != "" {
		_, ok := j.notice(l.Notice)
		return ok && j.is(l)
	}
	return j.is(l) && (j.lost() || l.Blind != "" && j.Fate == l.Blind || l.Fate == fault.ReplyLost && l.late(j))
}

// lateAnswer tells the datagrams whose answer ipiptrace does not wait for: the service took that long to try.
func lateAnswer(l *lab.Lab) func(line) bool {
	const soon = 1900 * time.Millisecond // a little less than internal/journey waits
	return func(j line) bool {
		if l == nil {
			return false
		}
		at, ok := l.Answered(j.Inner.Sport)
		return ok && j.Inner.Proto == string(lab.UDP) && j.Direction == "request" && j.arrived() && at.Sub(j.Start) > soon
	}
}

// is reports whether the journey is of the packets that are expected to be lost.
func (j line) is(want loss) bool {
	if j.Inner.Proto != wire(want.Proto) {
		return false
	}
	if want.Proto == lab.CraftedOdd {
		return j.Direction == "request" && j.Inner.Dst == ""
	}
	if want.Reply {
		return j.Direction == "reply" && j.Inner.Src == lab.VIP.String() && j.Inner.Sport == lab.Port
	}
	return j.Direction == "request" && j.Inner.Dst == lab.VIP.String() && j.Inner.Dport == lab.Port
}

// anyCode is for a cause that may be anything.
const anyCode = "any"

// match compares a journey with what is expected of it.
func (o options) match(l *lab.Lab, j line, want loss, code string) error {
	at, err := l.Node(want.at).Inode()
	if err != nil {
		return err
	}
	got := flat(j)
	reasons := want.Reasons
	if !o.reasons || want.Functions == nil {
		reasons = []string{""}
	}
	if j.Gaps > 0 && j.Drop != nil && j.Drop.NfHook != "" {
		reasons = append(slices.Clone(reasons), "") // the hook said that it drops it, and the kernel missed the probe of its freeing
	}
	functions, netns := want.Functions, fmt.Sprint(at)
	if functions == nil {
		functions, netns = []string{""}, ""
	}
	fates := []string{want.Fate}
	if !j.lost() {
		code = ""
		if want.Fate == fault.ReplyLost && want.late(j) {
			fates = append(fates, "delivered")
		}
	}
	var errs []error
	for _, c := range []struct {
		what, got string
		want      []string
		ask       bool
	}{
		{"fate", got.fate, fates, true},
		{"function", got.function, functions, true},
		{"reason", got.reason, reasons, true},
		{"dev", got.dev, []string{want.Dev}, want.Dev != ""},
		{"netns", got.netns, []string{netns}, true},
		{"nf_hook", got.hook, []string{want.Hook}, true},
		{"reject", got.reject, []string{want.Reject}, true},
		{"cause", got.cause, []string{code}, code != anyCode},
	} {
		if c.ask && !slices.Contains(c.want, c.got) {
			errs = append(errs, fmt.Errorf("%s is %q, want %q", c.what, c.got, c.want))
		}
	}
	return errors.Join(errs...)
}

// ending is what is compared of a journey.
type ending struct{ fate, function, reason, dev, netns, hook, reject, cause string }

func flat(j line) (e ending) {
	e.fate = j.Fate
	if j.Reply == "lost" {
		e.fate += ", reply lost"
	}
	if d := j.Drop; d != nil {
		e.function, e.reason, e.dev, e.netns, e.hook = d.Function, d.Reason, d.Dev, fmt.Sprint(d.Netns), d.NfHook
	}
	if r := j.Reject; r != nil {
		e.reject = fmt.Sprintf("%s %d/%d", r.By, r.Type, r.Code)
		if !r.Sent {
			e.reject += " not sent"
		}
	}
	if j.Cause != nil {
		e.cause = j.Cause.Code
	}
	return e
}

// rarely, one in so many, the kernel may skip a probe: where an interrupt finds one running, and, if the kernel
// preempts itself, as 7.3 does, where another task does. It counts those for packets that are not ours, too.
const (
	rarely = 200
	// few may be missed while much is attached at once, however short the run.
	few = 50
)

// complete checks that the account admits no gap.
func complete(a line) error {
	if a.LostEvents != 0 {
		return fmt.Errorf("%d events were lost", a.LostEvents)
	}
	if missed := a.missed(); missed > few && missed*rarely > a.Events {
		return fmt.Errorf("%d of %d sightings were missed", missed, a.Events)
	}
	if a.Untracked != 0 {
		return fmt.Errorf("%d packets were not tracked", a.Untracked)
	}
	return nil
}
