package render

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"ipiptrace/internal/command"
	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/doctor"
)

// ailing is a report with a fault, one behind it, notes, and checks that were not read.
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
	const limit = "a rule goes by a limit, and what it lets pass can't be told"
	down, behind := finding(diagnose.Lost, "tunnel-device-down", "the tunnel device tunl0 is down", 1), finding(diagnose.Lost, "no-listener", "nothing listens", 5)
	down.Certainty, behind.Behind = diagnose.Observed, true
	return doctor.Report{
		VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}, Role: doctor.RealServer,
		Services: []doctor.Summary{{VIP: netip.MustParseAddr("10.99.0.1"), Role: doctor.RealServer, Asked: []string{"tcp 80"}, Faults: 2, Notes: 2, Unread: 4}},
		Facts:    doctor.Facts{Addresses: []netip.Addr{}, Sends: []doctor.Sending{}},
		Findings: []doctor.Finding{down, behind, finding(diagnose.Noted, "firewall-drop", limit, 2), finding(diagnose.Noted, "xdp-drop", "a program \x1b[31mis there", 2)},
		Checks: []doctor.Check{
			{Step: 1, Code: "tunnel-device-down", Mark: doctor.Failed}, {Step: 2, Code: "xdp-drop", Mark: doctor.Noted},
			{Step: 2, Code: "firewall-drop", Mark: doctor.Unread, Why: []string{"perhaps, as a note says", "iptables: not permitted"}},
			{Step: 2, Code: "redirected", Mark: doctor.Unread, Why: []string{"nftables: not permitted"}},
			{Step: 2, Code: "queue-drop", Mark: doctor.Unread, Why: []string{"nftables: not permitted"}},
			{Step: 5, Code: "no-listener", Mark: doctor.Failed, Why: []string{"sockets of udp: not read"}}, {Step: 5, Code: "vip-missing"}, {Step: 5, Code: "tcp-auth"},
			{Step: 5, Code: "min-ttl", Mark: doctor.Behind}, {Step: 6, Code: "tracking", Mark: doctor.Described, Says: []string{"connections are not tracked here"}},
		},
		Unasked: []doctor.Unasked{{Step: 3, Why: "nobody has looked"}, {Step: 7, Why: "it was left out"}, {Step: 9, Why: "nobody has looked"}},
	}
}

const ailingText = `10.99.0.1 (tcp 80) on this real server: packets are lost (2 faults, 0 risks, 2 notes)

fault  tunnel-device-down (observed): the tunnel device tunl0 is down
           ip link show tunl0: state DOWN
    fix    ip link set tunl0 up
    more   ipiptrace explain tunnel-device-down

fault  no-listener: nothing listens
           as it will be once the faults that a packet meets before it are repaired
           ip link show tunl0: state DOWN
    fix    ip link set tunl0 up
    more   ipiptrace explain no-listener

note   firewall-drop: a rule goes by a limit, and what it lets pass can't be told
           ip link show tunl0: state DOWN
    fix    ip link set tunl0 up
    more   ipiptrace explain firewall-drop

note   xdp-drop: a program \x1b[31mis there
           ip link show tunl0: state DOWN
    fix    ip link set tunl0 up
    more   ipiptrace explain xdp-drop

1 tunnel
  ✗ tunnel-device-down
2 firewall
  ? firewall-drop: perhaps, as a note says; iptables: not permitted
  ? redirected, queue-drop: nftables: not permitted
  ✓ xdp-drop
5 service
  ✗ no-listener
  ? no-listener: sockets of udp: not read
  ✓ vip-missing, tcp-auth
  – min-ttl
6 conntrack
  i tracking
      connections are not tracked here
not asked
  3 packets, 9 kernel: nobody has looked
  7 mtu: it was left out
✗ a fault · ? not told, or not for all of the way · ✓ nothing is wrong · i nothing is asked, only what is there is said · – packets come there only once what fails before it is repaired

2 faults, 0 risks, 4 checks unread of 10
`

// doctorsText is a report as text on a screen so wide.
func doctorsText(t *testing.T, r doctor.Report, width int) string {
	var b strings.Builder
	if err := DoctorText(&b, r, TextOptions{Width: width}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDoctorAnswersFirstAndLast(t *testing.T) {
	if got := doctorsText(t, ailing(), 0); got != ailingText {
		t.Errorf("got\n%s\nwant\n%s", got, ailingText)
	}
}

// TestDoctorsFirstLineIsNoHealthWhereSomethingIsOpen: what was not told, or not asked for, is said with the answer.
func TestDoctorsFirstLineIsNoHealthWhereSomethingIsOpen(t *testing.T) {
	risk := doctor.Finding{Finding: diagnose.Finding{Severity: diagnose.AtRisk}}
	fault := doctor.Finding{Finding: diagnose.Finding{Severity: diagnose.Lost}}
	unread := doctor.Check{Mark: doctor.Unread, Why: []string{"not permitted"}}
	for want, r := range map[string]doctor.Report{
		"nothing was found that loses packets (0 faults, 0 risks, 0 notes)":                                                                  {},
		"nothing was found that loses packets, as far as could be told (0 faults, 0 risks, 0 notes)":                                         {Checks: []doctor.Check{unread, {}}},
		"nothing was found that loses packets now, but something that may (0 faults, 1 risk, 0 notes)":                                       {Findings: []doctor.Finding{risk}},
		"packets are lost by what --only or --skip leaves out (no-listener), and by nothing that was asked for (0 faults, 0 risks, 0 notes)": {Hidden: []string{"no-listener"}},
		"nothing could be told (0 faults, 0 risks, 0 notes)":                                                                                 {Checks: []doctor.Check{unread}},
		"packets are lost that meet what was found; those that were seen meanwhile did not, and arrived (1 fault, 0 risks, 0 notes)":         {Findings: []doctor.Finding{fault}, Watched: &doctor.Watched{Arrived: 3}},
		"packets are lost (2 faults, 0 risks, 2 notes)":                                                                                      ailing(),
	} {
		if got := inWords(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestOfSeveralVIPsTheTextSaysWhose: a finding is of one, or of each.
func TestOfSeveralVIPsTheTextSaysWhose(t *testing.T) {
	r, second := ailing(), netip.MustParseAddr("10.99.0.2")
	r.VIPs = append(r.VIPs, second)
	r.Services = append(r.Services, doctor.Summary{VIP: second, Role: doctor.Director, Risks: 1})
	r.Findings[0].VIPs, r.Findings[1].VIPs = r.VIPs, r.VIPs[1:]
	for _, want := range []string{
		"10.99.0.1, 10.99.0.2 on this machine: packets are lost",
		"\n    10.99.0.1 (tcp 80), real server: 2 faults, 0 risks, 2 notes, 4 checks unread\n    10.99.0.2, director: 0 faults, 1 risk, 0 notes, 0 checks unread\n",
		"tunl0 is down\n           of each VIP\n", "nothing listens\n           of 10.99.0.2\n",
	} {
		if got := doctorsText(t, r, 0); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestDoctorsTextFitsTheScreen: what can be broken into lines is; commands stay whole.
func TestDoctorsTextFitsTheScreen(t *testing.T) {
	r := ailing()
	r.Findings[0].Summary = strings.Repeat("many words ", 30) + "end"
	long := "ip rule add " + strings.Repeat("from 10.0.0.1 ", 10)
	r.Findings[0].Evidence = append(r.Findings[0].Evidence, strings.TrimSpace(long))
	var joined []string
	for line := range strings.Lines(doctorsText(t, r, 80)) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
		joined = append(joined, strings.Fields(line)...)
	}
	if got, want := joined, strings.Fields(doctorsText(t, r, 0)); !slices.Equal(got, want) {
		t.Errorf("other words than without a screen: %q", got)
	}
}

// TestWhatIsBehindAFaultThatIsLeftOutSaysSo: nothing stands above it.
func TestWhatIsBehindAFaultThatIsLeftOutSaysSo(t *testing.T) {
	r := ailing()
	r.Findings, r.Hidden = r.Findings[1:], []string{"tunnel-device-down"}
	got := doctorsText(t, r, 0)
	for _, want := range []string{"it are repaired (--only or --skip leaves such out)\n", "before it is repaired (--only or --skip leaves such out)\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestTheTextSaysWhoseTheOtherEndsReportIs: and of when, or that it does not say so.
func TestTheTextSaysWhoseTheOtherEndsReportIs(t *testing.T) {
	for want, of := range map[string]doctor.Source{
		"\n    joined with the other end: lb1, network namespace 4026532244, as of 2026-01-02T03:04:05Z, by ipiptrace 1.2.3\n": {
			Host: "lb1", Netns: 4026532244, Time: "2026-01-02T03:04:05Z", Version: "1.2.3",
		},
		"the report does not say whose": {},
	} {
		r := ailing()
		r.Peer = &of
		if got := doctorsText(t, r, 0); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestDoctorsJSONEndsWithTheReport(t *testing.T) {
	var b strings.Builder
	if err := DoctorJSON(&b, ailing()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	var report jsonReport
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil || len(lines) != 5 {
		t.Fatal(err, b.String())
	}
	if report.Type != "report" || report.Faults != 2 || report.Notes != 2 || len(report.Unread) != 4 || report.Checks != 10 || len(report.Unasked) != 3 {
		t.Errorf("%+v", report)
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("a terminal would obey it")
	}
}

var (
	headings = regexp.MustCompile(`(?m)^(fault|risk|note) +([a-z0-9-]+)`)
	tabled   = regexp.MustCompile(`(?m)^  ([✗!?✓i–]) ([a-z0-9, -]+)`)
)

// TestDoctorsTextAndJSONSayTheSame: the same findings in the same order, and each check with the same mark.
func TestDoctorsTextAndJSONSayTheSame(t *testing.T) {
	r, text := ailing(), doctorsText(t, ailing(), 0)
	var b strings.Builder
	if err := DoctorJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(b.String()) {
		var x struct {
			Type, Code, Severity string
			Table                []jsonCheck
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatal(err)
		}
		if x.Type == "finding" {
			want = append(want, x.Severity+" "+x.Code)
		}
		for _, c := range x.Table {
			sign := map[string]string{"fault": "✗", "risk": "!", "passed": "✓", "noted": "✓", "described": "i", "behind": "–", "unread": "?"}[c.Mark]
			want = append(want, sign+" "+c.Code)
			if len(c.Unread) > 0 && c.Mark != "unread" {
				want = append(want, "? "+c.Code)
			}
		}
	}
	for _, m := range headings.FindAllStringSubmatch(text, -1) {
		got = append(got, m[1]+" "+m[2])
	}
	findings := len(got)
	for _, m := range tabled.FindAllStringSubmatch(text, -1) {
		for code := range strings.SplitSeq(m[2], ", ") {
			got = append(got, fmt.Sprintf("%s %s", m[1], code))
		}
	}
	slices.Sort(got[findings:])
	slices.Sort(want[findings:])
	if !slices.Equal(got, want) {
		t.Errorf("text\n%q\nJSON\n%q", got, want)
	}
}
