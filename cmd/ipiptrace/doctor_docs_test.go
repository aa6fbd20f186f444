package main

import (
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/host"
	"ipiptrace/internal/render"
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
func recordedState(t *testing.T, scenario, kernel string) *host.Snapshot {
	t.Helper()
	all := rawStates(t, scenario, kernel)
	if len(all) == 0 {
		t.Fatalf("no state of %s on %s was recorded", scenario, kernel)
	}
	s, err := host.Parse(all[len(all)-1])
	check(t, err)
	return s
}
