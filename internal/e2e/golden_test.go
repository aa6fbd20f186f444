package main

import (
	"encoding/json"
	"testing"
)

// said is a journey of a SYN or a datagram that was dropped, as ipiptrace says it.
func said(t *testing.T, proto, cause string, gaps int) (j line) {
	t.Helper()
	text := `{"type":"journey","direction":"request","fate":"dropped","inner":{"proto":"` + proto + `"},"cause":` + cause + `}`
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		t.Fatal(err)
	}
	j.Gaps = gaps
	return j
}

func TestAGapExcusesLessCertaintyAndNothingElse(t *testing.T) {
	// accept-queue-full's golden verdict is one, of TCP.
	const summary = "the service on port 80 does not accept its connections fast enough: its queue is full (e2e)"
	observed := `{"code":"accept-queue-full","certainty":"observed","summary":"` + summary + `"}`
	inferred := `{"code":"accept-queue-full","certainty":"inferred","summary":"perhaps"}`
	nothing := `{"code":"unknown","certainty":"unknown","summary":"no known cause explains it"}`
	other := `{"code":"rp-filter","certainty":"inferred","summary":"perhaps"}`
	unclear := said(t, "tcp", "null", 1)
	unclear.Fate = "unknown"
	for what, c := range map[string]struct {
		said []line
		ok   bool
	}{
		"as it should be":                        {[]line{said(t, "tcp", observed, 0)}, true},
		"nothing":                                {nil, false},
		"one of them less certain, with a gap":   {[]line{said(t, "tcp", observed, 0), said(t, "tcp", inferred, 1)}, true},
		"one of them unknown, with a gap":        {[]line{said(t, "tcp", observed, 0), said(t, "tcp", nothing, 1)}, true},
		"all of them with a gap":                 {[]line{said(t, "tcp", inferred, 1), said(t, "tcp", nothing, 2), unclear}, true},
		"two less certain, with a gap each":      {[]line{said(t, "tcp", inferred, 1), said(t, "tcp", inferred, 1)}, true},
		"less certain, with no gap":              {[]line{said(t, "tcp", observed, 0), said(t, "tcp", inferred, 0)}, false},
		"observed, with a gap":                   {[]line{said(t, "tcp", observed, 0), said(t, "tcp", observed, 1)}, false},
		"another cause, with a gap":              {[]line{said(t, "tcp", observed, 0), said(t, "tcp", other, 1)}, false},
		"a wrong one beside one with a gap":      {[]line{said(t, "tcp", other, 0), said(t, "tcp", inferred, 1)}, false},
		"one of another protocol":                {[]line{said(t, "tcp", observed, 0), said(t, "udp", observed, 0)}, false},
		"a gap of another protocol only":         {[]line{said(t, "udp", nothing, 1)}, false},
		"as it should be, and an end not seen":   {[]line{said(t, "tcp", observed, 0), unclear}, true},
		"unknown, although nothing was missed":   {[]line{said(t, "tcp", nothing, 0)}, false},
		"two that differ, one of them is golden": {[]line{said(t, "tcp", observed, 0), said(t, "tcp", nothing, 0)}, false},
	} {
		if err := (options{}).golden("accept-queue-full", c.said); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
