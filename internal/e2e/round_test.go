package main

import (
	"testing"

	"ipiptrace/internal/lab/fault"
)

func TestEveryFaultIsInOneRoundOfTheFullSet(t *testing.T) {
	for _, tier := range tiers {
		seen := map[string]int{}
		for _, r := range sets["full"].rounds(tier) {
			for _, s := range r.scenarios {
				seen[s.Name]++
			}
		}
		for _, s := range fault.Scenarios() {
			want := 1
			if s.Name == "healthy" || unforced(s) && tier != auto {
				want = 0
			}
			if seen[s.Name] != want {
				t.Errorf("%s: %s is in %d rounds", tier, s.Name, seen[s.Name])
			}
		}
	}
}

func TestForcedTiersHaveSixFaultsInTheQuickSet(t *testing.T) {
	for _, tier := range tiers {
		n := 0
		for _, r := range sets["quick"].rounds(tier) {
			n += len(r.scenarios)
		}
		if tier != auto && n != 6 {
			t.Errorf("%s has %d faults", tier, n)
		}
	}
}
