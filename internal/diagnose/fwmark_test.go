package diagnose

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

// TestAServiceOfAMarkTakesWhatHasIt: IPVS asks for the service of the packet's mark first, then for that of its address.
func TestAServiceOfAMarkTakesWhatHasIt(t *testing.T) {
	byIPVS := dropped("nf_hook_slow", "NETFILTER_DROP", "eth0", false)
	byIPVS.Outer, byIPVS.Drop.Decider, byIPVS.Drop.NfHook = nil, "ip_vs_in", "input"
	local := rejected(dropped("tcp_v4_rcv", "NO_SOCKET", "eth0", false), journey.ByRST, 0, 0)
	local.Outer = nil
	at := func(weight int32) []host.Destination {
		return []host.Destination{{Addr: netip.MustParseAddrPort("10.0.0.12:80"), Method: "tunnel", Weight: weight}}
	}
	marked := func(weight int32, beside ...host.Service) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.IPVS.Services = append([]host.Service{{Mark: 7, Destinations: at(weight)}}, beside...)
			s.Routes[1].Hops[0].Link = 1
		}
	}
	mark := func(value string, exprs ...string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			r := host.NftRule{Handle: 2}
			for _, e := range append(exprs, `{"mangle":{"key":{"meta":{"key":"mark"}},"value":`+value+`}}`) {
				r.Exprs = append(r.Exprs, json.RawMessage(e))
			}
			s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "m", Chains: []host.NftChain{{Name: "pre", Type: "filter", Hook: "prerouting", Rules: []host.NftRule{r}}}})
		}
	}
	state := func(changes ...func(*host.Snapshot)) *host.Snapshot {
		return balancer(func(s *host.Snapshot) {
			for _, change := range changes {
				change(s)
			}
		})
	}
	const limit = `{"limit":{"rate":1,"per":"day"}}`
	addressed := host.Service{Proto: protoTCP, Addr: netip.AddrPortFrom(vip, 80), Destinations: at(1)}
	const weigh, give = "ipvsadm -e -f 7 -r 10.0.0.12:80 -i -w 1", "nft add table ip ipvs; nft add chain ip ipvs prerouting '{ type filter hook prerouting priority mangle; }'; nft add rule ip ipvs prerouting ip daddr 10.99.0.1 tcp dport 80 meta mark set 7"
	for what, test := range map[string]struct {
		loss
		says string
	}{
		"its real server is at rest":            {loss{byIPVS, state(marked(0), mark("7")), "ipvs-no-destination", Observed, weigh}, "FWM 7"},
		"one for the address is behind it":      {loss{byIPVS, state(marked(0, addressed), mark("7")), "ipvs-no-destination", Observed, weigh}, "FWM 7"},
		"it may have the mark, and was dropped": {loss{byIPVS, state(marked(0), mark("7", limit)), "ipvs-no-destination", Observed, weigh}, "FWM 7"},
		"nothing gives the mark":                {loss{local, state(marked(1)), "ipvs-no-service", Observed, give}, "does not have that mark"},
		"a rule gives another mark":             {loss{local, state(marked(1), mark("9")), "ipvs-no-service", Observed, ""}, "the mark 9"},
	} {
		t.Run(what, func(t *testing.T) {
			v := Explain(test.j, test.s)
			found(t, v, test.code, test.certainty, test.fix)
			if !strings.Contains(v.Cause.Summary, test.says) {
				t.Error(v.Cause.Summary)
			}
		})
	}
	for what, test := range map[string]struct {
		s    *host.Snapshot
		code string
	}{
		"sound":                        {state(marked(1), mark("7")), ""},
		"at rest":                      {state(marked(0), mark("7")), "ipvs-no-destination"},
		"at rest, and before another":  {state(marked(0, addressed), mark("7")), "ipvs-no-destination"},
		"at rest, for others' packets": {state(marked(0, addressed)), ""},
		"nothing gives the mark":       {state(marked(1)), "ipvs-no-service"},
		"something may give it":        {state(marked(1), mark("7", limit)), ""},
	} {
		findings, _ := examined1(plainRequest(), test.s)
		i := slices.IndexFunc(findings, func(f Finding) bool { return f.Severity != Noted })
		if i < 0 && test.code != "" || i >= 0 && findings[i].Code != test.code {
			t.Errorf("%s: doctor says %q, want %q", what, saidOf(findings), test.code)
		}
	}
}
