package diagnose

import (
	"encoding/json"
	"slices"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// TestAMarkThatRulesGiveIsFollowed from the outer header to the answer: a rule for marked packets refuses that.
func TestAMarkThatRulesGiveIsFollowed(t *testing.T) {
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	refused.Steps = []journey.Step{
		{Place: event.NetifReceiveSkb, Dev: "eth0", Netns: here, Tunnelled: true}, {Place: event.NetifReceiveSkb, Dev: "tunl0", Netns: here},
	}
	at := func(family, hook, exprs string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			r := host.NftRule{Handle: 1}
			if err := json.Unmarshal([]byte(exprs), &r.Exprs); err != nil {
				t.Fatal(err)
			}
			s.Nft = append(s.Nft, host.NftTable{Family: family, Name: "m" + hook, Chains: []host.NftChain{{Name: "c", Type: "filter", Hook: hook, Devices: nil, Rules: []host.NftRule{r}}}})
		}
	}
	const (
		mark   = `{"mangle":{"key":{"meta":{"key":"mark"}},"value":7}}`
		unmark = `{"mangle":{"key":{"meta":{"key":"mark"}},"value":0}}`
		ipip   = `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":4}}`
		others = `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":1}}`
		limit  = `{"limit":{"rate":1,"per":"day"}}`
	)
	base := []func(*host.Snapshot){rule(host.Rule{Mark: 7, Action: "blackhole"}), accepting}
	for what, test := range map[string]struct {
		more      []func(*host.Snapshot)
		code      string
		certainty Certainty
	}{
		"the outer packet is marked":      {[]func(*host.Snapshot){at("ip", "prerouting", "["+ipip+","+mark+"]")}, "no-return-route", Observed},
		"so it is where it is delivered":  {[]func(*host.Snapshot){at("inet", "input", "["+ipip+","+mark+"]")}, "no-return-route", Observed},
		"the inner packet loses it again": {[]func(*host.Snapshot){at("ip", "prerouting", "["+ipip+","+mark+"]"), at("inet", "input", "["+unmark+"]")}, unknown, NotKnown},
		"others are marked":               {[]func(*host.Snapshot){at("ip", "prerouting", "["+others+","+mark+"]")}, unknown, NotKnown},
		"it may be marked":                {[]func(*host.Snapshot){at("ip", "prerouting", "["+limit+","+mark+"]")}, unknown, NotKnown},
		"a bridge may mark it":            {[]func(*host.Snapshot){at("bridge", "prerouting", "["+mark+"]")}, unknown, NotKnown},
		"a device may mark it":            {[]func(*host.Snapshot){at("netdev", "ingress", "["+mark+"]")}, unknown, NotKnown},
		"tc may mark it":                  {[]func(*host.Snapshot){at("ip", "prerouting", "["+ipip+","+mark+"]"), func(s *host.Snapshot) { s.Filters = []host.Filter{{Link: 2}} }}, unknown, NotKnown},
		"listeners answer without a mark": {[]func(*host.Snapshot){at("ip", "prerouting", "["+ipip+","+mark+"]"), set("net/ipv4/tcp_fwmark_accept", "0")}, unknown, NotKnown},
	} {
		t.Run(what, func(t *testing.T) {
			fix := ""
			if test.code != unknown {
				fix = "ip rule del pref 10 fwmark 0x7/0xffffffff blackhole"
			}
			found(t, Explain(refused, realServer(slices.Concat(base, test.more)...)), test.code, test.certainty, fix)
		})
	}
}
