package journey

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"ipiptrace/tracer/event"
)

// DefaultPatience is the silence after which a journey has vanished, MaxPatience the longest one that is kept.
const (
	DefaultPatience = 5 * time.Second
	MaxPatience     = time.Hour
)

// Options say how events become journeys.
type Options struct {
	// Run is the run that the events are of: the wall clock, what was asked for, what could be watched.
	Run event.Run
	// Patience is the silence after which a journey has vanished, at most MaxPatience; 0: DefaultPatience.
	Patience time.Duration
	// Role is Auto (or empty), or what every journey's Role is to be.
	Role Role
	// Netns is the inode number of the only network namespace to look at, 0 for all: a journey begins
	// with its first sighting there and ends Forwarded when it is seen elsewhere.
	Netns uint32
}

// The bounds of what an Assembler remembers.
const (
	maxFlights   = 1 << 16
	maxGone      = 1 << 14
	maxNetns     = 1 << 10 // and pairs of one with an address
	maxAnswered  = 16
	maxCopies    = 64
	maxAlike     = 64  // flights with one hash that are found by it: the last ones
	maxParts     = 256 // fragments of a datagram: in packets of 576 bytes it has 119
	quotedMemory = time.Second
)

// An Assembler groups events into journeys. It is not safe for concurrent use.
//
// Events may arrive slightly out of order: CPUs share one ring but not one clock.
type Assembler struct {
	opts    Options
	watched map[event.Place]bool // nil: everything

	now     time.Duration
	losses  int
	flights uint64

	agenda  agenda
	byKey   map[key]*flight
	bySkb   map[uint64]key
	byID    map[uint64][]*flight
	flows   *recent[flowKey, *flow]
	gone    *recent[key, goneBy]
	roles   *recent[uint32, Role]
	tunnels *recent[tunnelTo, struct{}]
	// exits are the devices by which packets leave their tunnel.
	exits     *recent[exit, struct{}]
	answers   *recent[answerSite, given]
	fragments map[datagram][]*flight

	tally tally
	ended []Journey
}

// goneBy says how much the end of a journey is worth.
type goneBy uint8

const (
	bySight   goneBy = iota // the end was seen: what comes later is a straggler
	bySilence               // the end was inferred: what comes later is a journey again
)

// datagram is what the fragments of an IP datagram have in common (RFC 791).
type datagram struct {
	header event.Header
	netns  uint32
}

// New is an Assembler that has seen nothing.
func New(opts Options) *Assembler {
	if opts.Patience <= 0 {
		opts.Patience = DefaultPatience
	}
	opts.Patience = min(opts.Patience, MaxPatience)
	a := &Assembler{
		opts:      opts,
		byKey:     map[key]*flight{},
		bySkb:     map[uint64]key{},
		byID:      map[uint64][]*flight{},
		flows:     newRecent[flowKey, *flow](maxFlows),
		gone:      newRecent[key, goneBy](maxGone),
		roles:     newRecent[uint32, Role](maxNetns),
		tunnels:   newRecent[tunnelTo, struct{}](maxNetns),
		exits:     newRecent[exit, struct{}](maxNetns),
		answers:   newRecent[answerSite, given](maxNetns),
		fragments: map[datagram][]*flight{},
	}
	a.tally.sites = Sites{}
	a.watch(opts.Run.Probes)
	a.tally.account.Filter = opts.Run.Filter
	return a
}

// watch says which places are watched from now on.
func (a *Assembler) watch(probes []event.Probe) {
	a.watched, a.tally.account.Probes = watchedPlaces(probes), probes
}

// watchedPlaces is nil if the run doesn't say: then everything counts as watched.
func watchedPlaces(probes []event.Probe) map[event.Place]bool {
	if len(probes) == 0 {
		return nil
	}
	watched := map[event.Place]bool{}
	for _, p := range probes {
		place, ok := p.Place, p.Place != event.NoPlace
		if !ok {
			place, ok = event.PlaceNamed(p.Name)
		}
		if ok && p.Attached() {
			watched[place] = true
		}
	}
	return watched
}

func (a *Assembler) watches(p event.Place) bool { return a.watched == nil || a.watched[p] }

// Moment is an event and what it has ended.
type Moment struct {
	Event event.Event
	// Ended are the journeys that have ended by the event's time, in order of end.
	Ended []Journey
	// Last: the events are over. There is no Event, and Ended are the journeys that were open, in order of first sighting.
	Last bool
}

// Assemble groups events into journeys, up to their end or to an error, and yields a Moment for each event and then the
// Last one. An error of the stream comes behind that. It is called once.
func (a *Assembler) Assemble(events event.Stream) iter.Seq2[Moment, error] {
	return func(yield func(Moment, error) bool) {
		var failed error
		for e, err := range events {
			if err != nil {
				failed = err
				break
			}
			if !yield(Moment{Event: e, Ended: a.add(e)}, nil) {
				return
			}
		}
		if yield(Moment{Ended: a.finish(), Last: true}, nil) && failed != nil {
			yield(Moment{}, failed)
		}
	}
}

// add notes an event and returns the journeys that have ended by its time, in order of end. A time below 0 counts as 0
// and one beyond event.MaxTime as that, so that no wait that is added to one overflows.
func (a *Assembler) add(e event.Event) []Journey {
	e.Time = min(max(e.Time, 0), event.MaxTime)
	if e.Kind == event.Lost {
		a.losses++
		a.tally.account.LostEvents = event.Sum(a.tally.account.LostEvents, e.Count)
	}
	a.advance(e.Time)
	switch e.Kind {
	case event.Sighting:
		a.tally.account.Events++
		a.sight(e)
	case event.Watch:
		a.watch(e.Probes)
	case event.End:
		a.tally.end(e.Totals)
	}
	return a.take()
}

// finish ends what is open, in order of first sighting, and returns it. Nothing may be added afterwards.
func (a *Assembler) finish() []Journey {
	open := slices.Clone(a.agenda)
	a.ended = slices.Grow(a.ended, len(open))
	slices.SortFunc(open, func(x, y *flight) int { return cmp.Compare(x.number, y.number) })
	for _, f := range open {
		if !f.ended { // not with another one
			a.end(f, a.unfinished(f), bySilence)
		}
	}
	return a.take()
}

// Account is the sum of what has ended so far.
func (a *Assembler) Account() Account { return a.tally.snapshot() }

func (a *Assembler) take() []Journey {
	ended := a.ended
	a.ended = nil
	return ended
}

// advance moves the time, and ends what was silent for long enough.
func (a *Assembler) advance(to time.Duration) {
	a.now = max(a.now, to)
	for len(a.agenda) > 0 && a.agenda[0].deadline <= a.now {
		a.overdue(a.agenda[0])
	}
	for len(a.agenda) > maxFlights {
		f := a.agenda[0]
		f.gaps++
		a.end(f, a.unfinished(f), bySilence)
	}
}

// schedule says what becomes of a flight if nothing more is seen of it.
func (a *Assembler) schedule(f *flight, p prospect) {
	f.prospect = p
	if p.now {
		a.end(f, p.fate, bySight)
		return
	}
	after := p.after
	if after == 0 {
		after = a.opts.Patience
		if !f.quoted && (a.blind(f) || f.backlog) {
			after = min(after, lookAgain)
		}
	}
	for range f.rounds - patientRounds {
		after = min(2*after, longestWait)
	}
	f.deadline = max(f.last, a.now) + after
	a.agenda.moved(f)
}

// sight finds the flight that a sighting is of, and follows it.
func (a *Assembler) sight(e event.Event) {
	if e.Packet != nil && e.Packet.FlowOnly {
		a.flowChanged(e)
		return
	}
	k := key{e.Skb, e.Seen}
	f := a.byKey[k]
	if a.elsewhere(e) {
		if f != nil {
			a.leave(f, e)
		}
		return
	}
	if f == nil {
		if f = a.board(e, k); f == nil {
			return
		}
	}
	f.events++
	if f.quoted {
		a.answerLeaves(f, e)
		return
	}
	if f.isAside(k) {
		a.besides(f, e)
		return
	}
	a.forked(f, e)
	a.follow(f, e)
}

func (a *Assembler) elsewhere(e event.Event) bool {
	return a.opts.Netns != 0 && e.Netns != 0 && e.Netns != a.opts.Netns
}

func (a *Assembler) leave(f *flight, e event.Event) {
	f.last = max(f.last, e.Time)
	a.end(f, Forwarded, bySilence)
}

// end is the end of a flight that is a journey.
func (a *Assembler) end(f *flight, fate Fate, how goneBy) {
	a.retire(f, how)
	f.fate = fate
	if f.quoted {
		return
	}
	if fate == Dropped && f.freed == nil {
		f.freed = f.lostCopy
		if f.freed != nil && f.freed.Symbol == "" {
			f.gaps++ // a hook said that it drops the packet, and the kernel missed the probe of its freeing
		}
	}
	if fate == Delivered {
		w := &f.flow.ways[f.way]
		w.processed = max(w.processed, f.last)
		w.taken.took(f)
		if !f.reply {
			f.flow.delivered = f.id
		}
	}
	if fate == Rejected {
		a.remember(f)
	}
	if fate != Delivered && !f.reply {
		f.replyLost, f.astray = false, nil
	}
	j := f.journey(a.opts.Run, a.losses, a.role(f))
	f.flow.handshake.gone(f)
	j.Notices = a.notices(f)
	f.steps, f.related, f.answers = nil, nil, nil
	a.tally.count(j)
	a.ended = append(a.ended, j)
}

// retire forgets a flight.
func (a *Assembler) retire(f *flight, how goneBy) {
	for _, k := range f.keys {
		a.forget(k, how)
	}
	for _, k := range f.aside {
		a.forget(k, how)
	}
	f.keys, f.aside = nil, nil
	a.agenda.remove(f)
	rest := slices.DeleteFunc(a.byID[f.id], func(x *flight) bool { return x == f })
	if a.byID[f.id] = rest; len(rest) == 0 {
		delete(a.byID, f.id)
	}
	a.unfragment(f)
	if f.flow != nil && f.flow.ways[f.way].large == f {
		f.flow.ways[f.way].large = nil
	}
	f.ended = true
	a.replyGone(f)
}

// forget retires an sk_buff.
func (a *Assembler) forget(k key, how goneBy) {
	delete(a.byKey, k)
	if a.bySkb[k.skb] == k {
		delete(a.bySkb, k.skb)
	}
	a.gone.put(k, how)
}
