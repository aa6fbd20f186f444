package render

import (
	"strings"
	"testing"

	"ipiptrace/internal/doctor"
)

// TestDoctorSaysWhereItsCommandsAreFor: pasted into the shell in which doctor was, they would change another host.
func TestDoctorSaysWhereItsCommandsAreFor(t *testing.T) {
	in := func(netns string) doctor.Report {
		r := ailing()
		r.Netns = netns
		return r
	}
	for what, test := range map[string]struct {
		report doctor.Report
		says   string
	}{
		"one by name":              {in("/run/netns/n6r"), "\n    nsenter --net=/run/netns/n6r sh\n"},
		"one that a shell expands": {in("/run/netns/$(reboot)"), "\n    nsenter '--net=/run/netns/$(reboot)' sh\n"},
		"one that can't be typed":  {in("/run/netns/a\x1b[2J"), "no command: a path in it is none that can be typed"},
		"one's own":                {in(""), ""},
		"no commands":              {doctor.Report{Netns: "/run/netns/n6r"}, ""},
	} {
		text := doctorsText(t, test.report, 0)
		if says := strings.Contains(text, "commands are for the network namespace"); says != (test.says != "") || !strings.Contains(text, test.says) {
			t.Errorf("%s:\n%s", what, text)
		}
	}
	var b strings.Builder
	if err := DoctorJSON(&b, in("/run/netns/n6r")); err != nil || !strings.Contains(b.String(), `"netns_path":"/run/netns/n6r"`) {
		t.Errorf("%v: %s", err, b.String())
	}
}
