package diagnose

import (
	"encoding/json"
	"testing"

	"ipiptrace/internal/host"
)

// TestARuleForLaterFragmentsIsNamed: the kernel half sees no fragment but the first, which the rule lets pass.
func TestARuleForLaterFragmentsIsNamed(t *testing.T) {
	const offset = `{"match":{"op":"!=","left":{"&":[{"payload":{"protocol":"ip","field":"frag-off"}},8191]},"right":0}}`
	chain := func(family, hook, exprs string) func(*host.Snapshot) {
		r := host.NftRule{Handle: 7}
		if err := json.Unmarshal([]byte(exprs), &r.Exprs); err != nil {
			t.Fatal(err)
		}
		return func(s *host.Snapshot) {
			c := host.NftChain{Name: "c", Hook: hook, Type: "filter", Policy: "accept", Rules: []host.NftRule{r}}
			if hook == "ingress" {
				c.Devices = []string{"eth0"}
			}
			s.Nft = []host.NftTable{{Family: family, Name: "t", Chains: []host.NftChain{c}}}
		}
	}
	legacy := func(s *host.Snapshot) {
		s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "raw", Chains: []host.IPTablesChain{{Name: "PREROUTING", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: []string{"-f", "-j", "DROP"}}}}}}}
	}
	expired := dropped("ip_expire", "FRAG_REASM_TIMEOUT", "eth0", true)
	for what, test := range map[string]loss{
		"at the device":            {expired, realServer(chain("netdev", "ingress", "["+offset+`,{"drop":null}]`)), "fragment-lost", Inferred, "nft delete rule netdev t c handle 7"},
		"before routing":           {expired, realServer(legacy), "fragment-lost", Inferred, "iptables-legacy -t raw -D PREROUTING -f -j DROP"},
		"behind their putting":     {expired, realServer(chain("ip", "input", "["+offset+`,{"drop":null}]`)), "fragment-lost", Observed, ""},
		"they are let pass":        {expired, realServer(chain("ip", "prerouting", "["+offset+`,{"accept":null}]`)), "fragment-lost", Observed, ""},
		"all would be dropped now": {expired, realServer(chain("netdev", "ingress", `[{"drop":null}]`)), "fragment-lost", Observed, ""},
	} {
		t.Run(what, func(t *testing.T) { found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix) })
	}
}
