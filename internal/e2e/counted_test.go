package main

import (
	"encoding/json"
	"testing"
)

// TestAnAccountWithoutMissedCountsNone: a kernel that does not count missed probes has no such field.
func TestAnAccountWithoutMissedCountsNone(t *testing.T) {
	for text, want := range map[string]bool{`{"journeys":1}`: false, `{"missed":null}`: false, `{"missed":0}`: true, `{"missed":3}`: true} {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if l.counted() != want {
			t.Errorf("%s: counted %v", text, l.counted())
		}
	}
}
