package render

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

var update = flag.Bool("update", false, "rewrite the goldens of the recordings")

// TestARecordingIsReadAsItAlwaysWas replays testdata/<scenario>/<kernel>.jsonl and compares what trace says
// of it with <kernel>.golden.
func TestARecordingIsReadAsItAlwaysWas(t *testing.T) {
	recordings, err := filepath.Glob("../../testdata/*/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if len(recordings) == 0 {
		t.Log("no scenario has been recorded yet: nothing is compared")
	}
	for _, path := range recordings {
		golden := strings.TrimSuffix(path, ".jsonl") + ".golden"
		name, _ := filepath.Rel("../../testdata", path)
		t.Run(filepath.ToSlash(name), func(t *testing.T) {
			got, account := replay(t, path)
			if strings.HasPrefix(filepath.ToSlash(name), "healthy/") && account.Arrived != account.Journeys {
				t.Errorf("of %d healthy packets %d arrived", account.Journeys, account.Arrived)
			}
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; make it with go test ./internal/render -update, and review it", err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// replay is what trace says of a recording.
func replay(t *testing.T, path string) ([]byte, journey.Account) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in, err := event.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	out := NewText(&b, TextOptions{})
	a := journey.New(journey.Options{Run: in.Run()})
	for m, err := range a.Assemble(in.Events()) {
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range m.Ended {
			if err := out.Journey(diagnose.Verdict{Journey: j}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Account(a.Account()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), a.Account()
}
