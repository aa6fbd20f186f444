package main

import (
	"flag"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/recording"
	"ipiptrace/testdata"
)

var update = flag.Bool("update", false, "rewrite testdata/unrecorded.txt")

// kernels are those that every scenario is recorded on.
var kernels = []string{"5.10", "6.1", "6.12", "7.3"}

// TestEveryVerdictIsRecordedOnEveryKernel keeps the list of what is not, testdata/unrecorded.txt: what is recorded goes off
// it, and nothing comes onto it. A scenario that is recorded nowhere is new, and only counted.
func TestEveryVerdictIsRecordedOnEveryKernel(t *testing.T) {
	const list = "testdata/unrecorded.txt"
	recordings, err := recording.All("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	goldens, err := testdata.Verdicts.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, kernel := range kernels {
		for _, golden := range goldens {
			r := recording.Recording{Dir: "../../testdata", Scenario: golden.Name(), Kernel: kernel}
			if !slices.Contains(recordings, r) {
				missing = append(missing, path.Join(r.Scenario, kernel))
			}
		}
	}
	slices.Sort(missing)
	if *update {
		if err := os.WriteFile(list, []byte(strings.Join(append(missing, ""), "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Fields(string(text))
	for _, m := range missing {
		isNew := !slices.ContainsFunc(recordings, func(r recording.Recording) bool { return r.Scenario == path.Dir(m) })
		if !isNew && !slices.Contains(known, m) {
			t.Errorf("%s is not recorded: make record KERNEL=…, or go test ./internal/e2e -run Recorded -update", m)
		}
	}
	for _, k := range known {
		if !slices.Contains(missing, k) {
			t.Errorf("%s is recorded, and in %s still: go test ./internal/e2e -run Recorded -update", k, list)
		}
	}
	if all := len(goldens) * len(kernels); len(missing) > 0 {
		t.Logf("%d of %d scenarios × kernels are not recorded", len(missing), all)
	}
}
