package tracer

import (
	"errors"
	"strings"
	"testing"
)

func TestWhatKeepsEveryPlaceFromBeingWatchedIsSaidOnce(t *testing.T) {
	if err := possible("/proc", openFiles); err != nil {
		t.Errorf("enough is too little: %v", err)
	}
	if err := possible("/proc", 64); !errors.Is(err, ErrTooFewFiles) || !strings.Contains(err.Error(), "is 64") {
		t.Errorf("64 files: %v", err)
	}
	for _, proc := range []string{t.TempDir(), "/nosuch"} {
		if err := possible(proc, openFiles); !errors.Is(err, ErrNoProc) {
			t.Errorf("%s: %v", proc, err)
		}
	}
}
