package journey

import (
	"cmp"
	"slices"

	"ipiptrace/tracer/event"
)

// Account is the sum of a run: what became of the packets, and what was not seen.
type Account struct {
	Journeys, Arrived, Lost, Open, Unknown int
	// Events is the number of sightings: all of them, or those of the journeys that were asked for.
	Events uint64
	// LostEvents is the number of events that did not fit into the ring.
	LostEvents uint64
	// Missed is how often a probe was not run; nil where the kernel does not count.
	Missed *uint64
	// Untracked is the number of matching packets that could not be followed.
	Untracked uint64
	Probes    []event.Probe
	// Sites are the losses by where they happened, the most frequent first.
	Sites []Site
	// Filter is what was asked for.
	Filter event.Filter
	// Totals are what the kernel half counted; nil if the run has no End.
	Totals *event.Totals
}

// Site is a point in the kernel where packets were lost, and how many.
type Site struct {
	Fate Fate
	// Function and Reason are those of the drop; Function is the last Place seen if the packet vanished.
	Function, Reason, Dev string
	// Code is the cause's, empty until somebody has explained the losses.
	Code  string
	Count int
}

// maxSites bounds the memory of a tally; the names come from recordings too.
const maxSites = 1024

// tally counts journeys as they end.
type tally struct {
	account Account
	sites   Sites
}

func (t *tally) count(j Journey) {
	t.account.Count(j)
	if j.Lost() {
		t.site(j)
	}
}

// Count counts a journey by what became of it. Where it was lost is for Sites to count.
func (a *Account) Count(j Journey) {
	a.Journeys++
	switch {
	case j.Fate == Open:
		a.Open++
	case j.Fate == Unknown:
		a.Unknown++
	case j.Lost():
		a.Lost++
	default:
		a.Arrived++
	}
}

func (t *tally) site(j Journey) { t.sites.Count(SiteOf(j)) }

// SiteOf is where a journey was lost, counted once.
func SiteOf(j Journey) Site {
	s := Site{Fate: j.Fate}
	if last, ok := j.Last(); ok {
		s.Function, s.Dev = last.Place.String(), last.Dev
	}
	if j.Drop != nil {
		s.Function, s.Reason, s.Dev = j.Drop.Function, j.Drop.Reason, j.Drop.Dev
	}
	return s
}

// Sites counts losses by where they happened. The keys have no Count.
type Sites map[Site]int

// Count counts a loss.
func (m Sites) Count(s Site) { m.add(s, 1) }

func (m Sites) add(s Site, n int) {
	s.Count = 0
	if _, known := m[s]; !known && len(m) >= maxSites {
		s = Site{Fate: s.Fate, Function: "elsewhere"}
	}
	m[s] += n
}

// Sorted has the most frequent first.
func (m Sites) Sorted() []Site {
	sorted := make([]Site, 0, len(m))
	for s, n := range m {
		s.Count = n
		sorted = append(sorted, s)
	}
	slices.SortFunc(sorted, func(x, y Site) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Code, y.Code), cmp.Compare(x.Function, y.Function),
			cmp.Compare(x.Reason, y.Reason), cmp.Compare(x.Dev, y.Dev), cmp.Compare(x.Fate, y.Fate))
	})
	return sorted
}

// end adds what the kernel half counted.
func (t *tally) end(totals *event.Totals) {
	if totals == nil {
		return
	}
	t.account.Totals = totals
	t.account.Missed = totals.Missed
	t.account.Untracked = totals.Untracked
	t.account.LostEvents = max(t.account.LostEvents, totals.Lost)
}

// Plus is the account of two runs, a's first. Losses at the same point are one Site. The filter is the later run's, and
// so are the probes and totals, if it says any.
func (a Account) Plus(b Account) Account {
	sites := Sites{}
	for _, s := range slices.Concat(a.Sites, b.Sites) {
		sites.add(s, s.Count)
	}
	sum := Account{
		Journeys: a.Journeys + b.Journeys, Arrived: a.Arrived + b.Arrived, Lost: a.Lost + b.Lost,
		Open: a.Open + b.Open, Unknown: a.Unknown + b.Unknown,
		Events: event.Sum(a.Events, b.Events), LostEvents: event.Sum(a.LostEvents, b.LostEvents),
		Untracked: event.Sum(a.Untracked, b.Untracked),
		Probes:    b.Probes, Sites: sites.Sorted(), Filter: b.Filter, Totals: cmp.Or(b.Totals, a.Totals),
	}
	if len(sum.Probes) == 0 {
		sum.Probes = a.Probes
	}
	if a.Missed != nil && b.Missed != nil {
		missed := event.Sum(*a.Missed, *b.Missed)
		sum.Missed = &missed
	}
	return sum
}

// snapshot is the account as of now, its own copy.
func (t *tally) snapshot() Account {
	a := t.account
	a.Sites = t.sites.Sorted()
	return a
}
