package diagnose

import (
	"slices"
	"time"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
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

// alwaysExplained is how many losses are explained however late it is.
const alwaysExplained = 16

// MaxAsked bounds the namespaces whose state an Inquiry waits for. It asks for the next one when a state has come: about as
// many can be read before a loss has waited too long.
const MaxAsked = 64

// An Inquiry explains journeys in the order in which they ended. A loss waits for a state that was read after it,
// and what ended later waits behind it. It knows of time only what events say: live and replayed it finds the same.
// A nil Inquiry explains nothing.
type Inquiry struct {
	now time.Duration
	// states are those that a loss may still need, and those that are being read.
	states  map[uint32]state
	waiting []waiting
	// needs has each namespace with a loss that waits; order is the order of their first losses.
	needs map[uint32]need
	order []uint32
	// asked is the number of states that are being read.
	asked int
	// asks are the namespaces whose state is wanted and was not asked for yet.
	asks  []Ask
	sites journey.Sites
	// late and over: see Until. nil is never. hurried is how many losses were explained although one of them was true.
	late, over func() bool
	hurried    int
	// unexplained is the cause of every loss once over reports true.
	unexplained *Cause
}

// state is what is known of a network namespace.
type state struct {
	host *host.Snapshot
	// rules are those of host.
	rules *ruleset.Ruleset
	read  time.Duration
	// asked: it is being read.
	asked bool
	// said are the verdicts that this state has led to.
	said map[sameToRules]Verdict
	// tried are the repairs that were tried on it.
	tried trials
}

// need counts the losses that wait for a namespace's state, with the times of the first and the last one.
type need struct {
	count       int
	first, last time.Duration
}

// Ask is a network namespace, by inode number, whose state is wanted for losses since that time of the events.
type Ask struct {
	Netns uint32
	Since time.Duration
}

// waiting is a journey that has ended.
type waiting struct {
	journey.Journey
	at time.Duration
}

// NewInquiry is an Inquiry that has seen nothing.
func NewInquiry() *Inquiry {
	return &Inquiry{states: map[uint32]state{}, needs: map[uint32]need{}, sites: journey.Sites{}}
}

// Until bounds the time of explaining: a run that has to end has none for thousands of losses. From the moment that late
// reports true no state is used, once over does nothing is explained any more, but for the first alwaysExplained losses:
// those take no time, and a recording of them, replayed without a bound, is to say the same. nil is never.
func (q *Inquiry) Until(late, over func() bool) {
	q.late, q.over = late, over
	q.unexplained = &Cause{
		Code: unknown, Certainty: NotKnown, Summary: "the run ended before there was time to explain it", Unread: []string{"the state of the machine"},
	}
}

// Add takes an event and the journeys that ended with it, and returns those whose explanation is complete.
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

// End takes the journeys that end with the last event. States that were asked for may still be added afterwards.
func (q *Inquiry) End(ended []journey.Journey) []Verdict {
	if q == nil {
		return unexplained(ended)
	}
	q.queue(ended)
	return q.ready(false)
}

// Finish explains the journeys that are left, with the states that are known.
func (q *Inquiry) Finish() []Verdict {
	if q == nil {
		return nil
	}
	return q.ready(true)
}

// Asks are the network namespaces whose state is wanted now; each is named once until it was read.
func (q *Inquiry) Asks() (asks []Ask) {
	if q == nil {
		return nil
	}
	asks, q.asks = q.asks, nil
	return asks
}

// want asks for the state of a namespace that has losses, unless it is being read already, or was after the last one.
func (q *Inquiry) want(inode uint32) {
	if s := q.states[inode]; !s.asked && s.read < q.needs[inode].last && q.asked < MaxAsked {
		s.asked = true
		q.asked++
		q.states[inode] = s
		q.asks = append(q.asks, Ask{inode, q.needs[inode].first})
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
	s := state{read: e.Time, said: map[sameToRules]Verdict{}, tried: trials{}}
	if snapshot, err := host.Parse(e.Host); err == nil {
		s.host, s.rules = snapshot, ruleset.Of(snapshot)
	}
	if q.states[e.Netns].asked {
		q.asked--
	}
	q.states[e.Netns] = s
}

// forget drops states that no loss waits for: a later loss needs a state that was read after it. If too many are left, the
// oldest goes and is asked for again.
func (q *Inquiry) forget() {
	kept, oldest := 0, uint32(0)
	for inode, s := range q.states {
		switch {
		case s.host == nil && s.asked:
		case q.needs[inode].count == 0 && s.read < q.now:
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

// drop forgets a state, but not that it is being read again.
func (q *Inquiry) drop(inode uint32) {
	if q.states[inode].asked {
		q.states[inode] = state{asked: true}
		return
	}
	delete(q.states, inode)
}

func (q *Inquiry) queue(ended []journey.Journey) {
	q.waiting = slices.Grow(q.waiting, len(ended)) // at the end of a run they may be many
	for _, j := range ended {
		q.waiting = append(q.waiting, waiting{j, q.now})
		inode := netnsOf(j)
		if !j.Lost() || inode == 0 {
			continue
		}
		n := q.needs[inode]
		if n.count == 0 {
			q.order = append(q.order, inode)
			n.first = q.now
		}
		q.needs[inode] = need{n.count + 1, n.first, q.now}
		q.want(inode)
	}
}

// explained notes that a journey waits no longer.
func (q *Inquiry) explained(w waiting) {
	inode := netnsOf(w.Journey)
	n := q.needs[inode]
	switch {
	case !w.Lost() || inode == 0:
	case n.count > 1:
		n.count--
		q.needs[inode] = n
	default:
		delete(q.needs, inode)
		i := slices.Index(q.order, inode)
		q.order = slices.Delete(q.order, i, i+1)
	}
}

// wantAgain asks again if the state that came was read too early for some losses.
func (q *Inquiry) wantAgain() {
	for _, inode := range q.order {
		if q.asked >= MaxAsked {
			return
		}
		q.want(inode)
	}
}

func (q *Inquiry) ready(all bool) (verdicts []Verdict) {
	if all {
		verdicts = make([]Verdict, 0, len(q.waiting))
	}
	n := 0
	for ; n < len(q.waiting); n++ {
		w := q.waiting[n]
		late := all || q.now-w.at >= stateWait || len(q.waiting)-n > maxWaiting
		v, ok := q.explain(w, late)
		if !ok {
			break
		}
		verdicts = append(verdicts, v)
		q.explained(w)
	}
	q.waiting = q.waiting[n:]
	return verdicts
}

// explain is ok if the journey needs no explanation, if the state is known, or if it is too late to wait for it.
func (q *Inquiry) explain(w waiting, late bool) (v Verdict, ok bool) {
	if !w.Lost() {
		return Verdict{Journey: w.Journey}, true
	}
	s := q.states[netnsOf(w.Journey)]
	switch {
	case s.host != nil && s.read >= w.at && !q.hasPassed(q.late):
		v = s.explain(w.Journey)
	case late && q.hasPassed(q.over):
		v = Verdict{Journey: w.Journey, Cause: q.unexplained}
	case late:
		v = Explain(w.Journey, nil)
	default:
		return v, false
	}
	q.sites.Count(v.Site())
	return v, true
}

// hasPassed reports whether a bound of time does, which some losses are beyond.
func (q *Inquiry) hasPassed(bound func() bool) bool {
	if bound == nil || !bound() {
		return false
	}
	q.hurried++
	return q.hurried > alwaysExplained
}

// Site is where a journey was lost, and why.
func (v Verdict) Site() journey.Site {
	site := journey.SiteOf(v.Journey)
	if v.Cause != nil {
		site.Code = v.Cause.Code
	}
	return site
}

// netnsOf is the network namespace in which a journey was lost, 0 if it is not known.
func netnsOf(j journey.Journey) uint32 {
	if j.Drop != nil && j.Drop.Netns != 0 {
		return j.Drop.Netns
	}
	last, _ := j.Last()
	return last.Netns
}
