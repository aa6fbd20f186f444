package diagnose

import (
	"maps"
	"slices"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// allParts are those that a snapshot can be without.
var allParts = []host.Part{
	host.PartLinks, host.PartAddrs, host.PartRoutes, host.PartRules, host.PartNeighbours, host.PartSysctls, host.PartModules, host.PartNft,
	host.PartIPTables, host.PartSockets, host.PartConntrack, host.PartIPVS, host.PartXFRM, host.PartFilters, host.PartCgroups,
	host.PartLookups, host.PartCounters, host.PartFOU, host.PartQueues,
}

// TestNothingIsSaidOfWhatWasNotRead takes each part of the state from each loss that a row explains: no evidence is left
// that would be from it, and no row that needs it has an answer.
func TestNothingIsSaidOfWhatWasNotRead(t *testing.T) {
	all := repairable(t)
	maps.Copy(all, losses())
	for what, test := range all {
		if test.s == nil {
			continue
		}
		for _, part := range allParts {
			s := test.s.Only(slices.DeleteFunc(slices.Clone(allParts), func(p host.Part) bool { return p == part })...)
			s.Unread = append(s.Unread, host.Unread{Part: part, Why: "not permitted"})
			l := wasLost(test.j)
			for _, r := range rows {
				answer, f := r.ask(l.Subject, stateOf(s, ruleset.Of(s)).of(l.Subject))
				if slices.Contains(r.needs, part) && answer != Unread {
					t.Errorf("%s without %s: %s needs it and answers", what, part, r.code)
				}
				if f == nil {
					continue
				}
				for _, e := range f.evidence {
					if e.part == part && len(texts(s, []evidence{e})) > 0 {
						t.Errorf("%s without %s: %s says %q", what, part, r.code, e.text)
					}
				}
			}
		}
	}
}

// TestRowsNameWhatTheySay: a row has evidence only from the parts that it names.
func TestRowsNameWhatTheySay(t *testing.T) {
	all := repairable(t)
	maps.Copy(all, losses())
	for what, test := range all {
		l := wasLost(test.j)
		st := stateOf(test.s, ruleset.Of(test.s)).of(l.Subject)
		for _, r := range rows {
			answer, f := r.ask(l.Subject, st)
			if answer < Consistent {
				continue
			}
			for _, e := range f.evidence {
				if e.part != "" && !slices.Contains(slices.Concat(r.needs, r.minds, r.looks), e.part) {
					t.Errorf("%s: %s says %q, and does not name %s", what, r.code, e.text, e.part)
				}
			}
		}
	}
}

// TestAHealthyStateHasNoFault: asked about a packet that nothing is wrong with, no check finds a fault.
func TestAHealthyStateHasNoFault(t *testing.T) {
	for what, outer := range map[string]bool{"the outer packet": true, "the inner packet": false} {
		dev := map[bool]string{true: "eth0", false: "tunl0"}[outer]
		l := wasLost(dropped("", "", dev, outer))
		st := stateOf(realServer(), ruleset.Of(realServer())).of(l.Subject)
		for _, r := range rows {
			if answer, f := r.ask(l.Subject, st); answer == Fault {
				t.Errorf("%s: %s: %s", what, r.code, f.summary)
			}
			if answer, f := r.ask(l.answer(), st.of(l.answer())); answer == Fault {
				t.Errorf("the answer to %s: %s: %s", what, r.code, f.summary)
			}
		}
	}
}
