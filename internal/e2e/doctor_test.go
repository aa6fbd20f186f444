package main

import (
	"net/netip"
	"slices"
	"testing"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/host"
	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
	"ipiptrace/internal/recording"
	"ipiptrace/tracer/event"
)

// TestDoctorNamesWhatTraceNamed asks doctor of the states that were read in guests of four kernels when packets were lost
// there: it names the fault, and no other.
func TestDoctorNamesWhatTraceNamed(t *testing.T) {
	recordings, err := recording.All("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, r := range recordings {
		s, ok := fault.Named(r.Scenario)
		if !ok || s.Code == "" || slices.Contains(untold, s.Name) || s.Where() == lab.Client {
			continue
		}
		for _, state := range statesOf(t, r) {
			asked++
			if err := judged(s, foundIn(state, s)); err != nil {
				t.Errorf("%s: %v", r, err)
			}
		}
	}
	t.Logf("asked of %d states", asked)
	if asked < 100 {
		t.Errorf("only %d states", asked)
	}
}

// untold are scenarios of which the recorded states do not have what doctor asks now: the sockets themselves, the limits of
// queues.
var untold = []string{"listener-on-tunnel", "listener-wrong-device", "qdisc-drop", "qdisc-class"}

// statesOf are the last states of the namespaces in a recording.
func statesOf(t *testing.T, r recording.Recording) (states map[uint32]*host.Snapshot) {
	t.Helper()
	in, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	states = map[uint32]*host.Snapshot{}
	for e, err := range in.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != event.State {
			continue
		}
		if s, err := host.Parse(e.Host); err == nil {
			states[e.Netns] = s
		}
	}
	return states
}

// foundIn is what doctor finds in a state.
func foundIn(state *host.Snapshot, s fault.Scenario) (all []found) {
	r := doctor.Examine(state, doctor.Options{
		VIPs: []netip.Addr{lab.VIP}, Ports: []uint16{lab.Port}, Director: lab.DirectorAddr,
		Client: netip.PrefixFrom(netip.MustParseAddr(client(s)), 32),
	})
	for _, f := range r.Findings {
		all = append(all, found{Type: "finding", Code: f.Code, Severity: string(f.Severity), Summary: f.Summary, raw: string(f.Severity) + " " + f.Code + ": " + f.Summary})
	}
	for _, c := range r.Unread() {
		all = append(all, found{Type: "report", raw: "unread " + c.Code + ": " + c.Why[0]})
	}
	return all
}

// TestExceptionsAreScenarios keeps the lists of exceptions about scenarios that there are.
func TestExceptionsAreScenarios(t *testing.T) {
	var all []string
	for _, b := range beyond {
		all = append(all, b.scenarios...)
	}
	all = append(all, later...)
	for _, a := range also {
		all = append(all, a.scenario)
	}
	for _, name := range all {
		if _, ok := fault.Named(name); !ok {
			t.Errorf("there is no scenario %s", name)
		}
	}
}
