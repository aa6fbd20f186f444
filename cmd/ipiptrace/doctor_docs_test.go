package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/host"
	tapes "ipiptrace/internal/recording"
	"ipiptrace/internal/render"
	"ipiptrace/tracer/event"
)

// TestDocsShowWhatDoctorSays: the README has a session of doctor that was read in a guest (make sessions), and its findings
// are what doctor says today of the state that was recorded there.
func TestDocsShowWhatDoctorSays(t *testing.T) {
	const scenario = "firewall-policy-outer" // shownToDoctor in internal/e2e
	said, err := os.ReadFile(testdata + scenario + "/doctor.txt")
	check(t, err)
	command, session, _ := strings.Cut(string(said), "\n")
	findings, _, _ := strings.Cut(session, "\n1 tunnel\n")
	s := recordedState(t, scenario, "6.1")
	r := doctor.Examine(s, doctor.Options{
		VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}, Ports: []uint16{80}, Director: netip.MustParseAddr("10.0.0.2"), Only: []string{"tunnel", "firewall"},
	})
	var b strings.Builder
	check(t, render.DoctorText(&b, r, render.TextOptions{}))
	if today, _, _ := strings.Cut(b.String(), "\n1 tunnel\n"); steadyAnswer(today) != steadyAnswer(findings) {
		t.Errorf("doctor says today\n%s\nmake sessions", today)
	}
	section(t, "../README.md", "doctor", "\n```\n"+command+"\n"+folded(session)+"```\n\n")
}

// steadyAnswer is an answer without how much of it could be told: less is read beside a trace.
func steadyAnswer(text string) string {
	return strings.Replace(text, ", as far as could be told", "", 1)
}

// recordedState is that of the namespace that was watched.
func recordedState(t *testing.T, scenario, kernel string) (s *host.Snapshot) {
	t.Helper()
	all, err := tapes.All(testdata)
	check(t, err)
	for _, r := range all {
		if r.Scenario != scenario || r.Kernel != kernel {
			continue
		}
		in, err := r.Open()
		check(t, err)
		for e, err := range in.Events() {
			check(t, err)
			if e.Kind == event.State {
				s, err = host.Parse(e.Host)
				check(t, err)
			}
		}
	}
	if s == nil {
		t.Fatal(fmt.Errorf("no state of %s on %s was recorded", scenario, kernel))
	}
	return s
}

// folded has the lines of a session broken as README.md's are.
func folded(text string) string {
	const columns = 110
	var b strings.Builder
	for line := range strings.Lines(text) {
		indent := len(line) - len(strings.TrimLeft(line, " ")) + 4
		for utf8.RuneCountInString(line) > columns+1 {
			runes := []rune(line)
			at := columns
			for runes[at] != ' ' {
				at--
			}
			b.WriteString(string(runes[:at]) + "\n")
			line = strings.Repeat(" ", indent) + string(runes[at+1:])
		}
		b.WriteString(line)
	}
	return b.String()
}
