package diagnose

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// TestWhatLosesThePacketNextIsNamed puts two faults on the way of one packet, which meets them one behind the other.
func TestWhatLosesThePacketNextIsNamed(t *testing.T) {
	down := func(s *host.Snapshot) { s.Links[2].Up = false }
	blackhole := func(s *host.Snapshot) {
		withoutRoute("10.0.0.0/24")(s)
		s.Addrs = s.Addrs[1:] // no network is its client's
		s.Routes = append(s.Routes, routesTo("10.0.0.7/32", "blackhole"))
	}
	nobody := func(s *host.Snapshot) { s.Sockets = nil }
	strict := set("net/ipv4/conf/all/rp_filter", "1")
	tunnel := dropped("tunnel4_rcv", "NOT_SPECIFIED", "eth0", true)
	rpf := dropped("ip_rcv_finish_core", "IP_RPFILTER", "tunl0", false)
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	for what, test := range map[string]struct {
		v    Verdict
		next string
		fix  string
	}{
		"one fault":                    {Explain(tunnel, realServer(down)), "", "ip link set tunl0 up"},
		"a filter behind the tunnel":   {Explain(tunnel, realServer(down, strict)), "rp-filter", "ip link set tunl0 up; sysctl -w net.ipv4.conf.tunl0.rp_filter=2"},
		"a filter, and nobody listens": {Explain(tunnel, realServer(down, strict, nobody)), "rp-filter no-listener", "ip link set tunl0 up; sysctl -w net.ipv4.conf.tunl0.rp_filter=2"},
		"nobody listens":               {Explain(rpf, realServer(strict, nobody)), "no-listener", "sysctl -w net.ipv4.conf.tunl0.rp_filter=2"},
		"no route behind a blackhole":  {Explain(refused, realServer(blackhole)), "no-return-route", "ip route del blackhole 10.0.0.7/32 table main"},
	} {
		c := test.v.Cause
		var next []string
		for _, n := range c.Next {
			next = append(next, n.Code)
			if n.Summary == "" {
				t.Errorf("%s: %s has no summary", what, n.Code)
			}
		}
		if got := strings.Join(next, " "); got != test.next || typed(c) != test.fix || c.Untried {
			t.Errorf("%s: %s, then %q, untried %v, fix %q; want %q, fix %q", what, c.Code, got, c.Untried, typed(c), test.next, test.fix)
		}
	}
}

func routesTo(dst, kind string) host.Route {
	s := realServer(routed(254, dst, host.Hop{}))
	r := s.Routes[len(s.Routes)-1]
	r.Type, r.Hops = kind, nil
	return r
}

// TestEveryRepairRepairsInTheModel: what a repair does to a copy of the state takes the fault away.
func TestEveryRepairRepairsInTheModel(t *testing.T) {
	all := repairable(t)
	maps.Copy(all, losses())
	maps.Copy(all, recorded(t))
	untried := map[string]bool{}
	for what, test := range all {
		if test.s == nil {
			continue
		}
		l, st := wasLost(test.j), stateOf(test.s, ruleset.Of(test.s))
		n := l.cause(st.of(l.Subject))
		if n == nil || len(n.finding.fix.Commands()) == 0 {
			continue
		}
		if n.finding.mend == nil {
			untried[n.row.code] = true
			continue
		}
		after := st.mended(n.finding.mend)
		if answer, f := n.row.ask(l.Subject, after.of(l.Subject)); answer == Fault && f.summary == n.finding.summary && slices.Equal(f.fix.Commands(), n.finding.fix.Commands()) {
			t.Errorf("%s: after %s: %s", what, n.finding.fix.Commands(), f.summary)
		}
	}
	for code := range untried {
		if !slices.Contains(unmodelled, code) {
			t.Errorf("the repair of %s is not tried", code)
		}
	}
}

// unmodelled are the causes of which some repair is not modelled: a mark that a new rule gives.
var unmodelled = []string{"ipvs-no-service"}

// TestARepairLeavesTheStateAlone: it is tried on a copy.
func TestARepairLeavesTheStateAlone(t *testing.T) {
	for what, test := range repairable(t) {
		if test.s == nil {
			continue
		}
		before := asJSON(t, test.s)
		Explain(test.j, test.s)
		if after := asJSON(t, test.s); after != before {
			t.Errorf("%s: the state was changed", what)
		}
	}
}

func asJSON(t *testing.T, s *host.Snapshot) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
