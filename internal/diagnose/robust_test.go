package diagnose

import (
	"fmt"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// TestThereIsAlwaysAVerdict asks about every place with journeys and states of which a part is missing.
func TestThereIsAlwaysAVerdict(t *testing.T) {
	places := []string{
		"", "ip_rcv_core", "ip_rcv_finish_core", "ip_error", "ip_forward", "ip_local_deliver_finish", "tunnel4_rcv", "ipip_tunnel_rcv",
		"nft_do_chain", "nf_hook_slow", "nf_queue", "tcp_v4_rcv", "tcp_v4_do_rcv", "__udp4_lib_rcv", "udp_queue_rcv_one_skb",
		"tcp_conn_request", "neigh_invalidate", "__dev_queue_xmit", "ip_tunnel_xmit", "ip_vs_tunnel_xmit", "__ip_queue_xmit",
		"do_xdp_generic", "__netif_receive_skb_core", "enqueue_to_backlog", "ip_expire", "sk_filter_trim_cap",
	}
	journeys := map[string]func(*journey.Journey){
		"whole":      func(*journey.Journey) {},
		"no outer":   func(j *journey.Journey) { j.Outer = nil },
		"no steps":   func(j *journey.Journey) { j.Steps = nil },
		"no packet":  func(j *journey.Journey) { j.Packet = event.Packet{} },
		"no drop":    func(j *journey.Journey) { j.Drop, j.Fate = nil, journey.Vanished },
		"no device":  func(j *journey.Journey) { j.Drop.Dev, j.Steps = "", nil },
		"a reply":    func(j *journey.Journey) { j.Direction = journey.Reply },
		"reply lost": func(j *journey.Journey) { j.Fate, j.Drop, j.ReplyLost = journey.Delivered, nil, true },
		"rejected":   func(j *journey.Journey) { *j = rejected(*j, journey.ByICMP, 3, 1) },
		"in a hook":  func(j *journey.Journey) { j.Drop.NfHook = "input" },
		"by ip_vs":   func(j *journey.Journey) { j.Drop.NfHook, j.Drop.Decider = "input", "ip_vs_in" },
	}
	states := map[string]*host.Snapshot{
		"none": nil, "empty": {}, "whole": realServer(), "no links": realServer(func(s *host.Snapshot) { s.Links = nil }),
		"no tunnel":  realServer(func(s *host.Snapshot) { s.Links = s.Links[:2] }),
		"tunl0 down": realServer(func(s *host.Snapshot) { s.Links[2].Up = false }),
		"no routes":  realServer(func(s *host.Snapshot) { s.Routes = nil }), "a director": realServer(func(s *host.Snapshot) {
			s.IPVS = &host.IPVS{Services: []host.Service{{Proto: 6}}}
		}),
	}
	for _, place := range places {
		for _, reason := range []string{"", "NOT_SPECIFIED", "IP_RPFILTER", "NO_SOCKET", "NETFILTER_DROP", "SOCKET_FILTER"} {
			for what, change := range journeys {
				for state, s := range states {
					j := dropped(place, reason, "tunl0", true)
					change(&j)
					name := fmt.Sprintf("%s in %q, %s, state %s", reason, place, what, state)
					v := explained(t, name, j, s)
					if v.Cause == nil || v.Cause.Code == "" || v.Cause.Summary == "" {
						t.Errorf("%s: %+v", name, v.Cause)
					}
				}
			}
		}
	}
}

func explained(t *testing.T, name string, j journey.Journey, s *host.Snapshot) Verdict {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: %v", name, p)
		}
	}()
	return Explain(j, s)
}
