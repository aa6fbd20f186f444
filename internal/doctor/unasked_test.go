package doctor

import (
	"net/netip"
	"slices"
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
	if r := Examine(machine(nobody), o); !r.Hidden || r.Faults() > 0 {
		t.Errorf("hidden %v, %d faults", r.Hidden, r.Faults())
	}
	if r := Examine(machine(), o); r.Hidden {
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
		{Options{VIPs: []netip.Addr{vip}, Proto: protoICMP}, []string{"icmp"}},
		{Options{VIPs: []netip.Addr{vip}, Proto: protoUDP}, nil},
	} {
		if got := Examine(machine(), test.o).Services[0].Asked; !slices.Equal(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.o, got, test.want)
		}
	}
}
