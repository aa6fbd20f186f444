package main

import (
	"bytes"
	"testing"
	"time"

	"ipiptrace/internal/lab/fault"
	"ipiptrace/internal/recording"
)

// TestATapeIsCutToItsScenario reads a tape of one scenario, and cuts it before its packets came, and after.
func TestATapeIsCutToItsScenario(t *testing.T) {
	data, err := recording.Recording{Dir: "../../testdata", Scenario: "rp-filter", Kernel: "6.1"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var tp tape
	tp.read(bytes.NewReader(data), make(chan struct{}))
	s, _ := fault.Named("rp-filter")
	all := tp.so()
	first := tp.run.Wall(all[0].Time)
	for what, c := range map[string]struct {
		from time.Duration
		ok   bool
	}{
		"all of it":              {0, true},
		"all but the first":      {time.Microsecond, false},
		"what came a minute on":  {time.Minute, false},
		"what came a minute ago": {-time.Minute, true},
	} {
		run, events := recording.Cut(tp.run, all, first.Add(c.from))
		if err := (options{}).saidBy(nil, s, run, events); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	if tp.rewind(); len(tp.so()) > 0 {
		t.Error("what was seen before is there still")
	}
}

func TestEveryScenarioIsOnOneTape(t *testing.T) {
	seen := map[string]int{}
	for _, rd := range tapeRounds() {
		for _, s := range rd.scenarios {
			seen[s.Name]++
		}
	}
	for _, s := range fault.Scenarios() {
		if seen[s.Name] != 1 {
			t.Errorf("%s is on %d tapes", s.Name, seen[s.Name])
		}
	}
}
