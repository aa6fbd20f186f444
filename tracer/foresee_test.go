package tracer

import (
	"testing"

	"ipiptrace/tracer/event"
)

// having is a kernel with these functions.
type having map[string]bool

func (h having) has(name, _ string) bool { return h[name] }

func TestWhatCouldBeWatchedIsToldWithoutAttaching(t *testing.T) {
	kernel := with{"kfree_skb": true, "tcp_probe": true, "inet_sock_set_state": true, "sk_data_ready": true}
	rows := map[event.Place]event.Probe{}
	for _, r := range foresee(plan(probes, kernel, "auto", false), having{"ip_rcv_core": true, "tcp_v4_rcv": true}) {
		rows[r.Place] = r
	}
	for _, test := range []struct {
		place     event.Place
		mechanism string
		why       string
	}{
		{event.KfreeSkb, tracepoint, ""},
		{event.IPRcv, fentry, ""},
		{event.UDPQueueRcv, tracepoint, ""},
		{event.ConsumeSkb, "", "this kernel has no such tracepoint"},
		{event.NfHookSlow, "", "no function nf_hook_slow is found"},
	} {
		if r := rows[test.place]; r.Mechanism != test.mechanism || r.Why != test.why {
			t.Errorf("%s: %+v", test.place, r)
		}
	}
	if _, there := rows[event.TCPProbe]; there {
		t.Error("a place is asked for that another one makes needless")
	}
	if w := rows[event.IPVSIn]; w.Attached() || w.Why == "" {
		t.Errorf("%+v", w)
	}
}
