package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// TestTheSourceCheckIsLoosenedNoFurtherThanItHasToBe: what is missing may be the way back, and other devices keep their mode.
func TestTheSourceCheckIsLoosenedNoFurtherThanItHasToBe(t *testing.T) {
	rpf, outer := dropped("ip_rcv_finish_core", "IP_RPFILTER", "tunl0", false), dropped("ip_rcv_finish_core", "IP_RPFILTER", "eth0", true)
	strict, loose := set("net/ipv4/conf/all/rp_filter", "1"), set("net/ipv4/conf/tunl0/rp_filter", "2")
	const net, delete = "10.0.0.0/24", "ip route del blackhole 10.0.0.7/32 table main"
	blackhole := func(s *host.Snapshot) { s.Routes = append(s.Routes, routesTo("10.0.0.7/32", "blackhole")) }
	alone := func(s *host.Snapshot) { withoutRoute(net)(s); s.Addrs = s.Addrs[1:] } // no network is its client's
	// The socket's mark leads its answers out, and the source check knows nothing of it.
	byMark := func(s *host.Snapshot) {
		alone(s)
		s.Sockets[0].Mark = 7
		rule(host.Rule{Mark: 7, Action: "lookup", Table: 100})(s)
		routed(100, "0.0.0.0/0", host.Hop{Link: 2, Gateway: netip.MustParseAddr("10.0.0.1")})(s)
	}
	inDefault := set("net/ipv4/conf/default/rp_filter", "0")
	many := func(s *host.Snapshot) {
		for range 9 {
			with(host.Link{Name: "veth" + string(rune('a'+len(s.Links))), Type: "veth"})(s)
		}
	}
	markedIn := func(s *host.Snapshot) {
		byMark(s)
		marking(s)
		s.Rules[len(s.Rules)-1].Mark, s.Sockets[0].Mark = 9, 9
		rule(host.Rule{Mark: 7, Action: "lookup", Table: 101})(s)
		routed(101, net, host.Hop{Link: 3})(s)
	}
	inside := rpf
	inside.Steps = []journey.Step{
		{Place: event.NetifReceiveSkb, Dev: "eth0", Netns: here, Tunnelled: true}, {Place: event.NetifReceiveSkb, Dev: "tunl0", Netns: here},
	}
	for what, test := range map[string]struct {
		loss
		next string
		says string
	}{
		"strict, and a blackhole":             {loss{rpf, realServer(strict, blackhole), "rp-filter", Observed, delete + "; sysctl -w net.ipv4.conf.tunl0.rp_filter=2"}, "rp-filter", "of the type blackhole"},
		"loose, and a blackhole":              {loss{rpf, realServer(loose, blackhole), "rp-filter", Observed, delete}, "", "of the type blackhole"},
		"loose, and no route at all":          {loss{rpf, realServer(loose, alone), "rp-filter", Observed, ""}, "", "add one, by the gateway"},
		"the answer has a way of its own":     {loss{rpf, realServer(loose, byMark), "rp-filter", Observed, "sysctl -w net.ipv4.conf.tunl0.rp_filter=0"}, "", "no way back"},
		"the same, strict on all devices":     {loss{rpf, realServer(strict, inDefault, byMark), "rp-filter", Observed, "sysctl -w net.ipv4.conf.lo.rp_filter=1; sysctl -w net.ipv4.conf.eth0.rp_filter=1; sysctl -w net.ipv4.conf.default.rp_filter=1; sysctl -w net.ipv4.conf.all.rp_filter=0"}, "", "strict"},
		"the same, and eth0 is so itself":     {loss{rpf, realServer(strict, byMark, set("net/ipv4/conf/eth0/rp_filter", "2")), "rp-filter", Observed, "sysctl -w net.ipv4.conf.lo.rp_filter=1; sysctl -w net.ipv4.conf.default.rp_filter=1; sysctl -w net.ipv4.conf.all.rp_filter=0"}, "", "strict"},
		"the same, with many devices":         {loss{rpf, realServer(strict, byMark, many), "rp-filter", Observed, ""}, "", "no command: "},
		"the packet's mark would lead back":   {loss{inside, realServer(loose, markedIn), "rp-filter", Observed, "sysctl -w net.ipv4.conf.tunl0.src_valid_mark=1"}, "", "no way back"},
		"the director's packet has no answer": {loss{outer, realServer(alone, set("net/ipv4/conf/eth0/rp_filter", "2")), "rp-filter", Observed, "sysctl -w net.ipv4.conf.eth0.rp_filter=0"}, "no-return-route", "no way back"},
	} {
		t.Run(what, func(t *testing.T) {
			v := Explain(test.j, test.s)
			found(t, v, test.code, test.certainty, test.fix)
			var next []string
			for _, n := range v.Cause.Next {
				next = append(next, n.Code)
			}
			if got := strings.Join(next, " "); got != test.next || !strings.Contains(v.Cause.Summary, test.says) || v.Cause.Untried {
				t.Errorf("then %q, untried %v: %s", got, v.Cause.Untried, v.Cause.Summary)
			}
		})
	}
}
