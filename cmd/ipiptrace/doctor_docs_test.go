package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/host"
	tapes "ipiptrace/internal/recording"
	"ipiptrace/internal/render"
	"ipiptrace/tracer/event"
)

// TestDocsShowWhatDoctorSays: the README has what doctor says of a state that was recorded in a guest, by a trace, which reads
// less of sockets than doctor does.
func TestDocsShowWhatDoctorSays(t *testing.T) {
	r := doctor.Examine(recordedState(t, "firewall-policy-outer", "6.1"), doctor.Options{
		VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}, Ports: []uint16{80}, Director: netip.MustParseAddr("10.0.0.2"), Only: []string{"tunnel", "firewall"},
	})
	var b strings.Builder
	check(t, render.DoctorText(&b, r, render.TextOptions{Width: 110}))
	section(t, "../README.md", "doctor", "\n```\n# ipiptrace doctor --vip 10.99.0.1 --port 80 --director 10.0.0.2 --only tunnel,firewall\n"+b.String()+"```\n\n")
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
