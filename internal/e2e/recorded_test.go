package main

import (
	"os"
	"path"
	"slices"
	"testing"

	"ipiptrace/internal/recording"
	"ipiptrace/testdata"
)

// kernels are those that every scenario is recorded on, with the names of their guests.
var kernels = []struct{ version, guest string }{{"5.10", "5.10"}, {"6.1", "6.1"}, {"6.12", "6.12"}, {"7.3", "newest"}}

// unrecorded are the scenarios/kernels that can't be recorded, or are not yet, each with the reason.
var unrecorded = map[string]string{
	"firewall-netdev-egress/5.10": noEgress, "healthy-netdev-egress/5.10": noEgress,
}

const noEgress = "netfilter has a hook at a device's egress from 5.16 on"

// TestEveryVerdictIsRecordedOnEveryKernel: a scenario that is new is to be recorded, too.
func TestEveryVerdictIsRecordedOnEveryKernel(t *testing.T) {
	recordings, err := recording.All("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	goldens, err := testdata.Verdicts.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, kernel := range kernels {
		for _, golden := range goldens {
			r := recording.Recording{Dir: "../../testdata", Scenario: golden.Name(), Kernel: kernel.version}
			name := path.Join(r.Scenario, r.Kernel)
			switch why, there := unrecorded[name], slices.Contains(recordings, r); {
			case there && why != "":
				t.Errorf("%s is recorded: it needs no excuse", name)
			case !there && why == "":
				t.Errorf("%s is not recorded: make record KERNEL=%s E2EFLAGS='-run ^%s'", name, kernel.guest, r.Scenario)
			}
		}
	}
}

// TestRecordingsStaySmall: whoever clones the repository has them all, and what they were before.
func TestRecordingsStaySmall(t *testing.T) {
	recordings, err := recording.All("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for _, r := range recordings {
		info, err := os.Stat(r.String())
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if each := size / int64(len(recordings)); each > 12<<10 {
		t.Errorf("%d recordings have %d bytes, %d each", len(recordings), size, each)
	}
}
