package main

import (
	"testing"

	"ipiptrace/internal/lab/fault"
	"ipiptrace/internal/recording"
)

// TestEveryRecordingSaysWhatItsVerdictSays replays each scenario as it was recorded in a guest, with the state of the
// machine, through the whole way, to the verdict that is golden on every kernel.
func TestEveryRecordingSaysWhatItsVerdictSays(t *testing.T) {
	recordings, err := recording.All("../../testdata")
	if err != nil || len(recordings) == 0 {
		t.Fatalf("no recording was found (%v)", err)
	}
	scenarios := map[string]fault.Scenario{}
	for _, s := range fault.Scenarios() {
		scenarios[s.Name] = s
	}
	for _, r := range recordings {
		t.Run(r.Scenario+"/"+r.Kernel, func(t *testing.T) {
			t.Parallel()
			s, ok := scenarios[r.Scenario]
			if !ok {
				t.Fatal("there is no such scenario")
			}
			in, err := r.Open()
			if err != nil {
				t.Fatal(err)
			}
			journeys, err := replayed(in.Run(), in.Events())
			if err != nil {
				t.Fatal(err)
			}
			// Of answers that took long ipiptrace does not wait for the end: there may be fewer.
			own, err := options{}.own(nil, s, journeys)
			if err != nil && s.Code == "" {
				t.Error(err)
			}
			if err := (options{}).golden(r.Scenario, own); err != nil {
				t.Error(err)
			}
		})
	}
}
