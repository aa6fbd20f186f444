package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/host"
	tapes "ipiptrace/internal/recording"
	"ipiptrace/internal/render"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// rawStates are all states that were recorded on a kernel, of one scenario or (with "") of each, as they were written.
func rawStates(t *testing.T, scenario, kernel string) (all [][]byte) {
	t.Helper()
	recordings, err := tapes.All(testdata)
	check(t, err)
	for _, r := range recordings {
		if r.Kernel != kernel || scenario != "" && r.Scenario != scenario {
			continue
		}
		in, err := r.Open()
		check(t, err)
		for e, err := range in.Events() {
			check(t, err)
			if e.Kind == event.State {
				all = append(all, e.Host)
			}
		}
	}
	return all
}

// asked is what doctor says of a state, as text for a screen so wide, and as JSON.
func asked(t *testing.T, s *host.Snapshot, width int) (text, lines string) {
	t.Helper()
	r := doctor.Examine(s, doctor.Options{VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}, Ports: []uint16{80}})
	var a, b bytes.Buffer
	check(t, render.DoctorText(&a, r, render.TextOptions{Width: width}))
	check(t, render.DoctorJSON(&b, r))
	return a.String(), b.String()
}

// spoken are the findings and the counts of a report, once as text and once as JSON has them.
func spoken(t *testing.T, text, lines string) (asText, asJSON []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^(fault|risk|note) +([a-z0-9-]+)`).FindAllStringSubmatch(text, -1) {
		asText = append(asText, m[1]+" "+m[2])
	}
	asText = append(asText, text[strings.LastIndex(strings.TrimSpace(text), "\n")+1:])
	for line := range strings.Lines(lines) {
		var x struct {
			Type, Code, Severity  string
			Faults, Risks, Checks int
			Unread                []string
		}
		check(t, json.Unmarshal([]byte(line), &x))
		if x.Type == "finding" {
			asJSON = append(asJSON, x.Severity+" "+x.Code)
			continue
		}
		plural := func(n int, word string) string {
			if n == 1 {
				return "1 " + word
			}
			return fmt.Sprintf("%d %ss", n, word)
		}
		asJSON = append(asJSON, fmt.Sprintf("%s, %s, %s unread of %d\n", plural(x.Faults, "fault"), plural(x.Risks, "risk"), plural(len(x.Unread), "check"), x.Checks))
	}
	return asText, asJSON
}

// TestDoctorSaysTheSameAsTextAndAsJSON asks about every state that was recorded on a kernel.
func TestDoctorSaysTheSameAsTextAndAsJSON(t *testing.T) {
	found := 0
	for _, raw := range rawStates(t, "", "6.1") {
		s, err := host.Parse(raw)
		check(t, err)
		text, lines := asked(t, s, 0)
		asText, asJSON := spoken(t, text, lines)
		if fmt.Sprint(asText) != fmt.Sprint(asJSON) {
			t.Errorf("text\n%q\nJSON\n%q", asText, asJSON)
		}
		found += len(asText) - 1
	}
	if found < 100 {
		t.Errorf("only %d findings", found)
	}
}

// TestNoTextOfAStateMakesDoctorDoHarm has hostile text in names, rules, comments and processes, wherever it is said.
func TestNoTextOfAStateMakesDoctorDoHarm(t *testing.T) {
	all := rawStates(t, "", "6.1")
	n := 200
	if *long {
		n = 10_000
	}
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 9))
		raw := all[r.IntN(len(all))]
		for range 1 + r.IntN(3) {
			word, by := pick(r, text.FindAll(raw, -1)), quoted(pick(r, hostile))
			if len(word) > 4 {
				raw = bytes.ReplaceAll(raw, word, []byte(by))
			}
		}
		s, err := host.Parse(raw)
		if err != nil {
			continue // it is no state any more
		}
		said, lines := asked(t, s, 80)
		for _, form := range []string{said, lines} {
			if !utf8.ValidString(form) || strings.ContainsFunc(form, func(r rune) bool { return r != '\n' && screen.IsObeyed(r) }) {
				t.Fatalf("%d: a terminal would obey it: %+q", i, form)
			}
		}
		for line := range strings.Lines(lines) {
			var f struct{ Fix []string }
			check(t, json.Unmarshal([]byte(line), &f))
			for _, fix := range f.Fix {
				if err := harmlessCommand(fix); err != nil {
					t.Errorf("%d: %v: %q", i, err, fix)
				}
			}
		}
	}
}
