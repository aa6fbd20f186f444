package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// lostBy is a journey that was lost by a cause.
func lostBy(code string) diagnose.Verdict {
	v := diagnose.Verdict{Cause: &diagnose.Cause{Code: code, Certainty: diagnose.Observed, Summary: "it was lost", Evidence: []string{"read"}}}
	v.Fate, v.Direction = journey.Dropped, journey.Request
	v.Packet.Inner = event.Header{Src: netip.MustParseAddr("203.0.113.9"), Dst: vip}
	return v
}

func TestWhatWasSeenIsAFault(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	withXDP := func(s *host.Snapshot) { s.Links[1].XDP = []host.XDP{{Mode: "generic", ID: 7}} }
	open := func(s *host.Snapshot) { s.Sysctls["net/ipv4/conf/all/arp_ignore"] = "0" }
	for what, test := range map[string]struct {
		s    *host.Snapshot
		code string
		want []string
	}{
		"a note":                     {machine(withXDP), "xdp-drop", []string{"fault xdp-drop"}},
		"what no check finds":        {machine(), "bad-checksum", []string{"fault bad-checksum"}},
		"beside a risk, a fault":     {machine(open), "bad-checksum", []string{"fault bad-checksum", "risk vip-arp-conflict"}},
		"what was found, and is new": {machine(func(s *host.Snapshot) { s.Sockets = nil }), "no-listener", []string{"fault no-listener"}},
	} {
		t.Run(what, func(t *testing.T) {
			w := &Watched{For: 10 * time.Second}
			w.Take(lostBy(test.code))
			w.Take(lostBy(test.code))
			r := Examine(test.s, o)
			r.Join(w, o)
			var got []string
			for _, f := range r.Findings {
				got = append(got, string(f.Severity)+" "+f.Code)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			first := r.Findings[0]
			if last := first.Evidence[len(first.Evidence)-1]; first.Certainty != diagnose.Observed || first.Step == 0 || !strings.HasPrefix(last, "seen: 2 packets") {
				t.Errorf("%+v", first)
			}
			if i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Code == test.code }); i < 0 || r.Checks[i].Mark != Failed {
				t.Errorf("checks %+v", r.Checks)
			}
		})
	}
}

// TestWhatWasSeenIsUnreadNoMore: whether the program drops could not be told from the state, but was seen.
func TestWhatWasSeenIsUnreadNoMore(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	r := Examine(machine(func(s *host.Snapshot) { s.Links[1].XDP = []host.XDP{{Mode: "generic", ID: 7}} }), o)
	if got := lines(r); !slices.Equal(got, []string{"note xdp-drop", "unread xdp-drop"}) {
		t.Fatalf("got %q", got)
	}
	w := &Watched{}
	w.Take(lostBy("xdp-drop"))
	if r.Join(w, o); !slices.Equal(lines(r), []string{"fault xdp-drop"}) {
		t.Errorf("got %q", lines(r))
	}
}

// TestOfTwoFindingsTheOneThatWasSeenIsSaidToBe: two findings of one code, and packets were lost by the second.
func TestOfTwoFindingsTheOneThatWasSeenIsSaidToBe(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{81, 82}, Client: client, Director: director}
	r := Examine(machine(), o)
	if len(r.Findings) != 2 {
		t.Fatalf("got %+v", r.Findings)
	}
	w, v := &Watched{For: 10 * time.Second}, lostBy("no-listener")
	v.Cause.Summary = r.Findings[1].Summary
	w.Take(v)
	r.Join(w, o)
	for i, f := range r.Findings {
		if (f.Certainty == diagnose.Observed) != (i == 1) {
			t.Errorf("%s: %s", f.Summary, f.Certainty)
		}
	}
}

// TestAPacketThatWasLostIsAFaultWhateverIsChosen: under the code of its cause, or as unknown with what the kernel said; the report
// counts as many as its table marks.
func TestAPacketThatWasLostIsAFaultWhateverIsChosen(t *testing.T) {
	known, bare := lostBy("firewall-drop"), lostBy("unknown")
	bare.Cause, bare.Drop = nil, &journey.Drop{Drop: event.Drop{Function: "ip_rcv_core", Reason: "IP_INHDR"}}
	for what, test := range map[string]struct {
		v          diagnose.Verdict
		only, skip []string
		code       string
	}{
		"packets alone":          {known, []string{"packets"}, nil, "firewall-drop"},
		"another step":           {known, []string{"tunnel"}, nil, "firewall-drop"},
		"the code is left out":   {known, nil, []string{"firewall-drop", "packets"}, "firewall-drop"},
		"nothing says why":       {bare, []string{"tunnel"}, nil, "unknown"},
		"nothing was left out":   {bare, nil, nil, "unknown"},
		"a rule that was hidden": {known, []string{"mtu"}, nil, "firewall-drop"},
	} {
		o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director, Only: test.only, Skip: test.skip}
		w := &Watched{For: time.Second}
		w.Take(test.v)
		r := Examine(machine(), o)
		r.Join(w, o)
		if r.Faults() != 1 || r.Findings[0].Code != test.code || len(r.Hidden) > 0 || r.Services[0].Faults != 1 {
			t.Errorf("%s: %q, hidden %q, %+v", what, lines(r), r.Hidden, r.Services)
		}
		if mark, ok := markOf(r, test.code); !ok || mark != Failed {
			t.Errorf("%s: mark %d", what, mark)
		}
		if says := strings.Join(r.Findings[0].Evidence, "\n"); test.code == "unknown" && !strings.Contains(says, "function: ip_rcv_core\nreason: IP_INHDR") {
			t.Errorf("%s: %s", what, says)
		}
	}
}

// TestADropWhoseStateCameTooLateIsTheOneThatWasTold: one rule, one finding, unless two rules were told at that place.
func TestADropWhoseStateCameTooLateIsTheOneThatWasTold(t *testing.T) {
	at := func(function, summary string, how diagnose.Certainty) diagnose.Verdict {
		v := lostBy("firewall-drop")
		v.Cause.Summary, v.Cause.Certainty = summary, how
		v.Drop = &journey.Drop{Drop: event.Drop{Function: function}, NfHook: "input"}
		return v
	}
	told, late := at("nf_hook_slow", "rule 1 drops", diagnose.Observed), at("nf_hook_slow", "a rule drops", diagnose.Inferred)
	for what, test := range map[string]struct {
		lost []diagnose.Verdict
		want []int
	}{
		"told later":   {[]diagnose.Verdict{late, told, late}, []int{3}},
		"elsewhere":    {[]diagnose.Verdict{told, at("ip_rcv", "a rule drops", diagnose.Inferred)}, []int{1, 1}},
		"one of two":   {[]diagnose.Verdict{told, at("nf_hook_slow", "rule 2 drops", diagnose.Observed), late}, []int{1, 1, 1}},
		"nothing told": {[]diagnose.Verdict{late, late}, []int{2}},
	} {
		w := &Watched{}
		for _, v := range test.lost {
			w.Take(v)
		}
		var got []int
		for _, s := range w.drops() {
			got = append(got, s.count)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", what, got, test.want)
		}
	}
}

// TestFaultsSayThatTheWatchedPacketsDidNotMeetThem: they arrived, and past the tunnel if they had no outer header.
func TestFaultsSayThatTheWatchedPacketsDidNotMeetThem(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director, Role: RealServer}
	w := &Watched{For: 4 * time.Second}
	for range 2 {
		v := lostBy("")
		v.Cause, v.Fate = nil, journey.Delivered
		w.Take(v)
	}
	r := Examine(machine(noTunnel), o)
	r.Join(w, o)
	if r.Faults() == 0 {
		t.Fatal("no fault")
	}
	for _, f := range r.Findings {
		says := strings.Join(f.Evidence, "\n")
		if want := "seen: 2 packets of the service arrived in 4s, and none was lost: they did not meet this; 2 of them are requests that came without a tunnel"; (f.Severity == diagnose.Lost) != strings.Contains(says, want) {
			t.Errorf("%s: %s", f.Code, says)
		}
	}
}
