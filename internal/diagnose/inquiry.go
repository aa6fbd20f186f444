package diagnose

import (
	"time"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// The bounds of an Inquiry: how long a loss waits for the state of the machine, how many journeys wait, and how many
// states are kept for them. A state is read in a fraction of a second; on a machine with no time to spare a late cause
// is better than none.
const (
	stateWait  = 10 * time.Second
	maxWaiting = 1 << 13
	maxStates  = 64
)

// MaxAsked bounds how many namespaces an Inquiry has asked for and not been told of. The next ones are asked for when
// a state has come: about as many can be read before a loss has waited too long.
const MaxAsked = 64

// An Inquiry explains journeys in the order in which they ended. A loss waits for a state that was read after it,
// and what ended later waits behind it. It knows of time only what events say: live and replayed it finds the same.
// A nil Inquiry explains nothing.
type Inquiry struct {
	now time.Duration
	// states are those that a loss may still need, and those that are being read.
	states  map[uint32]state
	waiting []waiting
	// asked is the number of states that are being read.
	asked int
	// asks are the namespaces whose state is wanted and was not asked for yet.
	asks  []uint32
	sites journey.Sites
}

// state is what is known of a network namespace.
type state struct {
	host *host.Snapshot
	read time.Duration
	// asked: it is being read.
	asked bool
	// said are the verdicts that this state has led to.
	said map[sameToRules]Verdict
}

// waiting is a journey that has ended.
type waiting struct {
	journey.Journey
	at time.Duration
}

// NewInquiry is an Inquiry that has seen nothing.
func NewInquiry() *Inquiry {
	return &Inquiry{states: map[uint32]state{}, sites: journey.Sites{}}
}

// Add takes an event and the journeys that ended with it, and returns those that can be explained by now.
func (q *Inquiry) Add(e event.Event, ended []journey.Journey) []Verdict {
	if q == nil {
		return unexplained(ended)
	}
	q.now = max(q.now, e.Time)
	if e.Kind == event.State {
		q.learn(e)
	}
	q.queue(ended)
	told := q.ready(false)
	if e.Kind == event.State {
		q.forget()
		q.wantAgain()
	}
	return told
}

// End takes the journeys that end with the events. What is still asked for may be added afterwards.
func (q *Inquiry) End(ended []journey.Journey) []Verdict {
	if q == nil {
		return unexplained(ended)
	}
	q.queue(ended)
	return q.ready(false)
}

// Finish explains what is left with what is known.
func (q *Inquiry) Finish() []Verdict {
	if q == nil {
		return nil
	}
	return q.ready(true)
}

// Asks are the network namespaces, by inode number, whose state is wanted now; each is named once until it was read.
func (q *Inquiry) Asks() (netns []uint32) {
	if q == nil {
		return nil
	}
	netns, q.asks = q.asks, nil
	return netns
}

// want asks for the state of the namespace in which a journey was lost, unless that is being read already.
func (q *Inquiry) want(w waiting) {
	inode := placeOf(w.Journey)
	if s := q.states[inode]; w.Lost() && inode != 0 && !s.asked && s.read < w.at && q.asked < MaxAsked {
		s.asked = true
		q.asked++
		q.states[inode] = s
		q.asks = append(q.asks, inode)
	}
}

// Account is an account with the losses that were explained by cause.
func (q *Inquiry) Account(a journey.Account) journey.Account {
	if q != nil {
		a.Sites = q.sites.Sorted()
	}
	return a
}

func unexplained(ended []journey.Journey) []Verdict {
	verdicts := make([]Verdict, len(ended))
	for i, j := range ended {
		verdicts[i].Journey = j
	}
	return verdicts
}

// learn takes a state. One that can't be read is none.
func (q *Inquiry) learn(e event.Event) {
	s := state{read: e.Time, said: map[sameToRules]Verdict{}}
	if snapshot, err := host.Parse(e.Host); err == nil {
		s.host = snapshot
	}
	if q.states[e.Netns].asked {
		q.asked--
	}
	q.states[e.Netns] = s
}

// forget lets go of states: a loss needs one that was read after it, so what no loss waits for is of no use once time
// has moved on. If too many are left the oldest goes, and is asked for again.
func (q *Inquiry) forget() {
	needed := map[uint32]bool{}
	for _, w := range q.waiting {
		if w.Lost() {
			needed[placeOf(w.Journey)] = true
		}
	}
	kept, oldest := 0, uint32(0)
	for inode, s := range q.states {
		switch {
		case s.host == nil && s.asked:
		case !needed[inode] && s.read < q.now:
			q.drop(inode)
		default:
			kept++
			if o, ok := q.states[oldest]; !ok || s.read < o.read {
				oldest = inode
			}
		}
	}
	if kept > maxStates { // one state comes at a time
		q.drop(oldest)
	}
}

// drop lets go of a state, not of the knowledge that it is being read again.
func (q *Inquiry) drop(inode uint32) {
	if q.states[inode].asked {
		q.states[inode] = state{asked: true}
		return
	}
	delete(q.states, inode)
}

func (q *Inquiry) queue(ended []journey.Journey) {
	for _, j := range ended {
		w := waiting{j, q.now}
		q.waiting = append(q.waiting, w)
		q.want(w)
	}
}

// wantAgain asks for what is still wanted after a state came: it was read too early for some.
func (q *Inquiry) wantAgain() {
	for _, w := range q.waiting {
		q.want(w)
	}
}

func (q *Inquiry) ready(all bool) (verdicts []Verdict) {
	n := 0
	for ; n < len(q.waiting); n++ {
		w := q.waiting[n]
		late := all || q.now-w.at >= stateWait || len(q.waiting)-n > maxWaiting
		v, ok := q.explain(w, late)
		if !ok {
			break
		}
		verdicts = append(verdicts, v)
	}
	q.waiting = q.waiting[n:]
	return verdicts
}

// explain is ok if the journey needs no explanation, if the state is known, or if it is too late to wait for it.
func (q *Inquiry) explain(w waiting, late bool) (v Verdict, ok bool) {
	if !w.Lost() {
		return Verdict{Journey: w.Journey}, true
	}
	s := q.states[placeOf(w.Journey)]
	switch {
	case s.host != nil && s.read >= w.at:
		v = s.explain(w.Journey)
	case late:
		v = Explain(w.Journey, nil)
	default:
		return v, false
	}
	q.sites.Count(v.Site())
	return v, true
}

// Site is where a journey was lost, and why.
func (v Verdict) Site() journey.Site {
	site := journey.SiteOf(v.Journey)
	if v.Cause != nil {
		site.Code = v.Cause.Code
	}
	return site
}

// placeOf is the network namespace in which a journey was lost, 0 if it is not known.
func placeOf(j journey.Journey) uint32 {
	if j.Drop != nil && j.Drop.Netns != 0 {
		return j.Drop.Netns
	}
	last, _ := j.Last()
	return last.Netns
}
