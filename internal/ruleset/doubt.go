package ruleset

import "slices"

// A Doubt is a rule of which it can't be told whether it applies to the packet.
type Doubt struct {
	// Rule is its place: no more of it is set.
	Rule Rule
	// By is what it compares, or does, that is not known: "limit", "match ct mark", "-m hashlimit".
	By string
}

// maxDoubts bounds those that are told of one packet.
const maxDoubts = 8

// watcher is told of an evaluation's way, where somebody asks: each verdict that the packet meets, and how surely, and
// of each comparison that is not certain of what.
type watcher struct {
	verdict func(v verdict, m match)
	doubt   func(what string)
}

// doubts takes a comparison that is not certain.
func (e *evaluation) doubts(m match, what string) {
	if m != may {
		return
	}
	if e.unsure == "" {
		e.unsure = what
	}
	if e.watch.doubt != nil {
		e.watch.doubt(what)
	}
}

// doubt takes a rule with a verdict that applies or not.
func (e *evaluation) doubt(at Rule) {
	if e.unsure != "" && !e.through && len(e.doubted) < maxDoubts {
		e.doubted = append(e.doubted, Doubt{at.place(), e.unsure})
	}
}

// place is where a rule is, and nothing else of it.
func (r Rule) place() Rule {
	return Rule{Backend: r.Backend, Family: r.Family, Table: r.Table, Chain: r.Chain, Handle: r.Handle, Number: r.Number}
}

func distinct(all []Doubt) (some []Doubt) {
	for _, d := range all {
		same := func(x Doubt) bool { return x.By == d.By && x.Rule.Same(d.Rule) }
		if len(some) < maxDoubts && !slices.ContainsFunc(some, same) {
			some = append(some, d)
		}
	}
	return some
}
