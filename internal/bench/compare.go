package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// By how much a build may be dearer than the one before it. The reader's part differs by a few per cent from one run
// of the same build to the next: it is scheduled by time.
const (
	tolerance       = 0.05
	readerTolerance = 0.15
)

// comparison is one case before and now.
type comparison struct {
	before, now cost
}

// compare pairs the costs of two builds that both have.
func compare(before, now []cost) (pairs []comparison) {
	for _, b := range before {
		for _, n := range now {
			n.Build = b.Build
			if b.Case != untraced && b.Unusable == "" && n.Unusable == "" && sameCase(b, n) {
				pairs = append(pairs, comparison{b, n})
			}
		}
	}
	return pairs
}

// change is the relative difference: 0.05 is five per cent dearer.
func (c comparison) change() float64 {
	return float64(c.now.Instructions-c.before.Instructions) / float64(max(c.before.Instructions, 1))
}

// tolerated is how much dearer this case may be.
func (c comparison) tolerated() float64 {
	if c.now.Case == inAll {
		return readerTolerance
	}
	return tolerance
}

func (c comparison) worse() bool { return c.change() > c.tolerated() }

// writeComparison writes the pairs and tells whether one is worse than tolerated.
func writeComparison(w io.Writer, pairs []comparison) (worse bool, err error) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprint(t, "back-end\tcase\tbefore\tnow\tchange\n")
	for _, c := range pairs {
		verdict := ""
		if c.worse() {
			verdict, worse = fmt.Sprintf("   worse than %+.0f %%", 100*c.tolerated()), true
		}
		fmt.Fprintf(t, "%s\t%s\t+%d\t+%d\t%+.1f %%%s\n", c.now.Backend, c.now.Case, c.before.Instructions, c.now.Instructions, 100*c.change(), verdict)
	}
	return worse, t.Flush()
}

// writeRepeat says of two guests with the same order whether they agree. The case
// [inAll] need not: its reader is scheduled by time.
func writeRepeat(w io.Writer, first, again []cost) (same bool) {
	same = true
	figures, equal := 0, 0
	for i := range min(len(first), len(again)) {
		a, b := first[i], again[i]
		figures++
		if a.Instructions == b.Instructions {
			equal++
			continue
		}
		same = same && a.Case == inAll
		c := comparison{a, b}
		fmt.Fprintf(w, "%s, %s: %d and %d, %+.2f %%\n", a.Backend, a.Case, a.Instructions, b.Instructions, 100*c.change())
	}
	fmt.Fprintf(w, "%d of %d figures are the same to the digit\n", equal, figures)
	return same && len(first) == len(again)
}
