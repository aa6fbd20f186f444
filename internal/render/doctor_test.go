package render

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/command"
	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/doctor"
)

// ailing is a report with a fault, a note, and a check that was not read.
func ailing() doctor.Report {
	finding := func(s diagnose.Severity, code, summary string, step int) doctor.Finding {
		return doctor.Finding{
			Finding: diagnose.Finding{Severity: s, Cause: diagnose.Cause{
				Code: code, Certainty: diagnose.Inferred, Summary: summary, Evidence: []string{"ip link show tunl0: state DOWN"},
				Fix: command.Of("ip link set tunl0 up").Commands(),
			}},
			Step: step, VIP: netip.MustParseAddr("10.99.0.1"),
		}
	}
	return doctor.Report{
		VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}, Role: doctor.RealServer,
		Facts:    doctor.Facts{Addresses: []netip.Addr{}, Sends: []doctor.Sending{}},
		Findings: []doctor.Finding{finding(diagnose.Lost, "tunnel-device-down", "the tunnel device tunl0 is down", 1), finding(diagnose.Noted, "xdp-drop", "a program \x1b[31mis there", 2)},
		Checks: []doctor.Check{
			{Step: 1, Code: "tunnel-device-down", Mark: doctor.Failed}, {Step: 2, Code: "xdp-drop", Mark: doctor.Noted},
			{Step: 2, Code: "firewall-drop", Mark: doctor.Unread, Why: []string{"nftables: not permitted"}}, {Step: 5, Code: "no-listener"},
		},
	}
}

const ailingText = `10.99.0.1 on this real server: 1 fault, 0 risks, 1 check unread of 4

fault  tunnel-device-down: the tunnel device tunl0 is down
           ip link show tunl0: state DOWN
    fix    ip link set tunl0 up
    more   ipiptrace explain tunnel-device-down

note   xdp-drop: a program \x1b[31mis there
           ip link show tunl0: state DOWN
    fix    ip link set tunl0 up
    more   ipiptrace explain xdp-drop

1 tunnel
  ✗ tunnel-device-down
2 firewall
  ✓ xdp-drop
  ? firewall-drop: nftables: not permitted
5 service
  ✓ no-listener

1 fault, 0 risks, 1 check unread of 4
`

func TestDoctorAnswersFirstAndLast(t *testing.T) {
	var b strings.Builder
	if err := DoctorText(&b, ailing(), TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if b.String() != ailingText {
		t.Errorf("got\n%s\nwant\n%s", b.String(), ailingText)
	}
}

func TestDoctorsJSONEndsWithTheReport(t *testing.T) {
	var b strings.Builder
	if err := DoctorJSON(&b, ailing()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	var report jsonReport
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil || len(lines) != 3 {
		t.Fatal(err, b.String())
	}
	if report.Type != "report" || report.Faults != 1 || report.Notes != 1 || len(report.Unread) != 1 || report.Checks != 4 {
		t.Errorf("%+v", report)
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("a terminal would obey it")
	}
}
