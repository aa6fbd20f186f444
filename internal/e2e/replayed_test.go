package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/render"
	"ipiptrace/tracer/event"
)

// TestEveryRecordingSaysWhatItsVerdictSays replays each scenario as it was recorded in a guest, with the state of the
// machine, through the whole way, to the verdict that is golden on every kernel.
func TestEveryRecordingSaysWhatItsVerdictSays(t *testing.T) {
	recordings, err := filepath.Glob("../../testdata/*/*.jsonl.zst")
	if err != nil || len(recordings) == 0 {
		t.Fatalf("no recording was found (%v)", err)
	}
	for _, path := range recordings {
		scenario, kernel := filepath.Base(filepath.Dir(path)), filepath.Base(path)
		t.Run(scenario+"/"+kernel, func(t *testing.T) {
			t.Parallel()
			journeys, err := journeysOf(replayed(t, path))
			if err != nil {
				t.Fatal(err)
			}
			if err := (options{}).golden(scenario, journeys); err != nil {
				t.Error(err)
			}
		})
	}
}

// replayed is what `replay -o json` prints of a recording.
func replayed(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer unpacked.Close()
	in, err := event.NewReader(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	out := render.NewJSON(&b)
	assembler, inquiry := journey.New(journey.Options{Run: in.Run()}), diagnose.NewInquiry()
	show := func(verdicts []diagnose.Verdict) {
		for _, v := range verdicts {
			if err := out.Journey(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	for e, err := range in.Events() {
		if err != nil {
			t.Fatal(err)
		}
		show(inquiry.Add(e, assembler.Add(e)))
	}
	show(inquiry.End(assembler.Finish()))
	show(inquiry.Finish())
	return b.Bytes()
}
