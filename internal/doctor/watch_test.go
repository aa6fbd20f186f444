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
