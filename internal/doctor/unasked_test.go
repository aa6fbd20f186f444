package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// TestNoStepIsMissingWithoutAWord: a step has a check, or it is said why it has none.
func TestNoStepIsMissingWithoutAWord(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	only, watched := o, Examine(machine(), o)
	only.Only = []string{"rp-filter", "7"}
	watched.Join(&Watched{}, o)
	refused := Examine(machine(), o)
	refused.Unwatched("not permitted", o)
	for what, test := range map[string]struct {
		r    Report
		want map[int]string
	}{
		"a real server":   {Examine(machine(), o), map[int]string{3: "nothing was watched: --watch 10s traces beside the checks", 8: "there is nothing to ask on a real server", 9: "nobody has looked"}},
		"what was chosen": {Examine(machine(), only), map[int]string{1: LeftOut, 2: LeftOut, 3: LeftOut, 5: LeftOut, 6: LeftOut, 8: LeftOut, 9: LeftOut}},
		"one is watched":  {watched, map[int]string{8: "there is nothing to ask on a real server", 9: "nobody has looked"}},
		"it can't be":     {refused, map[int]string{8: "there is nothing to ask on a real server", 9: "nobody has looked"}},
	} {
		asked := map[int]bool{}
		for _, c := range test.r.Checks {
			asked[c.Step] = true
		}
		for _, u := range test.r.Unasked {
			if asked[u.Step] || u.Why != test.want[u.Step] {
				t.Errorf("%s: step %d: %q", what, u.Step, u.Why)
			}
			asked[u.Step] = true
		}
		if len(asked) != len(steps) || len(test.r.Unasked) != len(test.want) {
			t.Errorf("%s: %v, unasked %v", what, asked, test.r.Unasked)
		}
	}
}

// TestWhatNobodyWatchedIsUnread: where no packet came, or none may be looked at, that is said, and is no health.
func TestWhatNobodyWatchedIsUnread(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	silent, refused, busy := Examine(machine(), o), Examine(machine(), o), Examine(machine(), o)
	silent.Join(&Watched{}, o)
	refused.Unwatched("not permitted", o)
	busy.Join(&Watched{Journeys: 2, Arrived: 2}, o)
	for what, test := range map[string]struct {
		r    Report
		mark Mark
		says string
	}{
		"no packet came":       {silent, Unread, "in 0s: 0 journeys, 0 arrived, 0 lost\nno packet of the service was seen to arrive, or to be lost"},
		"nobody may look":      {refused, Unread, "not permitted"},
		"packets have arrived": {busy, Passed, "in 0s: 2 journeys, 2 arrived, 0 lost"},
	} {
		if mark, _ := markOf(test.r, watchedCode); mark != test.mark || said(test.r, watchedCode) != test.says {
			t.Errorf("%s: %d %q", what, mark, said(test.r, watchedCode))
		}
	}
}

// TestFindingsAreInTheOrderOfTheSteps: worst first, what packets meet now before what is behind it.
func TestFindingsAreInTheOrderOfTheSteps(t *testing.T) {
	finding := func(how diagnose.Severity, step int, behind bool) Finding {
		return Finding{Finding: diagnose.Finding{Severity: how, Behind: behind}, Step: step}
	}
	want := []Finding{
		finding(diagnose.Lost, 1, false), finding(diagnose.Lost, 5, false), finding(diagnose.Lost, 2, true), finding(diagnose.AtRisk, 4, false), finding(diagnose.Noted, 2, false),
	}
	r := Report{Findings: []Finding{want[4], want[2], want[3], want[1], want[0]}}
	r.sort()
	for i, f := range r.Findings {
		if f.Severity != want[i].Severity || f.Step != want[i].Step || f.Behind != want[i].Behind {
			t.Errorf("%d: %s %d %v", i, f.Severity, f.Step, f.Behind)
		}
	}
}

// TestAFaultThatIsLeftOutIsNoHealth: --only and --skip hide it, but not that there is one.
func TestAFaultThatIsLeftOutIsNoHealth(t *testing.T) {
	nobody := func(s *host.Snapshot) { s.Sockets = nil }
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director, Skip: []string{"service"}}
	if r := Examine(machine(nobody), o); !slices.Equal(r.Hidden, []string{"no-listener"}) || r.Faults() > 0 {
		t.Errorf("hidden %v, %d faults", r.Hidden, r.Faults())
	}
	if r := Examine(machine(), o); len(r.Hidden) > 0 {
		t.Error("nothing is")
	}
}

// TestWhatWasAskedAboutIsSaid: the ports that were given, or else those that are served.
func TestWhatWasAskedAboutIsSaid(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want []string
	}{
		{Options{VIPs: []netip.Addr{vip}}, []string{"tcp 80"}},
		{Options{VIPs: []netip.Addr{vip}, Ports: []uint16{81, 82}}, []string{"tcp 81", "tcp 82"}},
		{Options{VIPs: []netip.Addr{vip}, Ports: []uint16{443, 80}}, []string{"tcp 80", "tcp 443"}},
		{Options{VIPs: []netip.Addr{vip}, Proto: protoICMP}, []string{"icmp"}},
		{Options{VIPs: []netip.Addr{vip}, Proto: protoUDP}, nil},
	} {
		if got := Examine(machine(), test.o).Services[0].Asked; !slices.Equal(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.o, got, test.want)
		}
	}
}

// TestEachPortThatWasGivenIsAsked: one that nobody serves is a fault, also beside one that is served, by whatever protocol.
func TestEachPortThatWasGivenIsAsked(t *testing.T) {
	udp := host.Socket{Proto: "udp", State: "close", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), 53), Unbound: true}
	many := Options{VIPs: []netip.Addr{vip}, Client: client, Director: director, Ports: []uint16{80}}
	for port := uint16(8001); port < 8016; port++ {
		many.Ports = append(many.Ports, port)
	}
	both := machine(func(s *host.Snapshot) { s.Sockets = append(s.Sockets, udp) })
	for what, test := range map[string]struct {
		s     *host.Snapshot
		ports []uint16
		proto uint8
		want  []string
	}{
		"beside a served one":               {machine(), []uint16{80, 443}, 0, []string{"nothing listens on tcp port 443"}},
		"beside one of UDP":                 {both, []uint16{53, 443}, 0, []string{"nothing listens on tcp port 443"}},
		"of the protocol that is asked for": {both, []uint16{53, 443}, protoUDP, []string{"nothing listens on udp port 443"}},
		"each is served":                    {both, []uint16{53, 80}, 0, nil},
	} {
		o := many
		o.Ports, o.Proto = test.ports, test.proto
		var got []string
		for _, f := range Examine(test.s, o).Findings {
			what, _, _ := strings.Cut(f.Summary, " for ")
			got = append(got, what)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", what, got, test.want)
		}
	}
	if n := Examine(machine(), many).Faults(); n != 15 {
		t.Errorf("%d of 15 ports that nobody serves", n)
	}
}

// TestMoreServedPortsThanAreAskedAboutAreUnread: what is left out is said.
func TestMoreServedPortsThanAreAskedAboutAreUnread(t *testing.T) {
	r := Examine(machine(func(s *host.Snapshot) {
		for port := uint16(8000); port < 8020; port++ {
			s.Sockets = append(s.Sockets, host.Socket{Proto: "tcp", State: "listen", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), port), SendQueue: 128, Unbound: true})
		}
	}), Options{VIPs: []netip.Addr{vip}, Client: client, Director: director})
	if got := lines(r); !slices.Equal(got, []string{"unread no-listener"}) {
		t.Errorf("got %q", got)
	}
}

// TestAReportOfNothingToldIsNoHealth: neither is one whose rows only say what is there.
func TestAReportOfNothingToldIsNoHealth(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director, Only: []string{"packets"}}
	silent, busy := Examine(machine(), o), Examine(machine(), o)
	silent.Join(&Watched{}, o)
	busy.Join(&Watched{Journeys: 1, Arrived: 1}, o)
	refused := Examine(machine(), o)
	refused.Unwatched("not permitted", o)
	if silent.Told() || refused.Told() || !busy.Told() {
		t.Errorf("silent %v, refused %v, busy %v", silent.Told(), refused.Told(), busy.Told())
	}
}

// TestWhatIsOnlyDescribedIsNotTickedOff: neither what is there, nor what is not, nor what is not shown.
func TestWhatIsOnlyDescribedIsNotTickedOff(t *testing.T) {
	r := Examine(machine(noTunnel), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{81}, Client: client, Director: director})
	for _, code := range []string{tunnelsCode, listenersCode, vipCode, labelsCode, trackingCode, inEffectCode} {
		if mark, ok := markOf(r, code); !ok || mark != Described && mark != Unread {
			t.Errorf("%s: %d", code, mark)
		}
	}
	if mark, _ := markOf(r, "no-listener"); mark != Failed {
		t.Errorf("no-listener: %d", mark)
	}
}
