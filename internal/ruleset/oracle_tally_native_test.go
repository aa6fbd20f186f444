//go:build native

package ruleset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tally is what was compared: hooks that a packet has come to.
type tally struct {
	rulesets, played, compared, dropped, undecided, disagreed, left int
	// refused are rules that nft or iptables did not take.
	rules, refused int
	kinds, reasons map[string]int
}

func newTally() *tally { return &tally{kinds: map[string]int{}, reasons: map[string]int{}} }

// String has the figures.
func (s *tally) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d rulesets with %d rules (%d more were refused), %d packets; at %d hooks the model says what the kernel did, at %d of them a rule or a policy dropped the packet; %d disagreements; undecided: %d (%.1f%%)",
		s.rulesets, s.rules, s.refused, s.played, s.compared, s.dropped, s.disagreed, s.undecided, 100*float64(s.undecided)/float64(max(1, s.undecided+s.compared)))
	for _, m := range []map[string]int{s.kinds, s.reasons} {
		text.WriteString("\n   ")
		keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return m[b] - m[a] })
		for _, k := range keys {
			fmt.Fprintf(&text, " %s: %d,", k, m[k])
		}
	}
	return text.String()
}
