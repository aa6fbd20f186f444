package ruleset

import (
	"encoding/json"
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
)

// packet is the client's SYN behind the tunnel.
func packet(hook string) Packet {
	p := Packet{
		Hook: hook, Src: netip.MustParseAddr("10.0.0.7"), Dst: netip.MustParseAddr("10.99.0.1"), Proto: 6, TTL: 63, Length: 60,
		HasPorts: true, Sport: 30000, Dport: 80, Flags: 2,
	}
	if hook == "output" {
		p.Src, p.Dst, p.Sport, p.Dport, p.OIF = p.Dst, p.Src, 80, 30000, "eth0"
	} else {
		p.IIF = "tunl0"
	}
	return p
}

// tracked is the same packet in a state of connection tracking.
func tracked(state CT) Packet {
	p := packet("input")
	p.CT = state
	return p
}

func exprs(t *testing.T, text string) (all []json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return all
}

func TestTheFixOpensNothingElse(t *testing.T) {
	in, out := packet("input"), packet("output")
	tunnelled := Packet{Hook: "input", Src: netip.MustParseAddr("10.0.0.2"), Dst: netip.MustParseAddr("10.0.0.11"), Proto: 4}
	for want, fix := range map[string][]string{
		"nft delete rule ip lab input handle 4":                                        Fix(Rule{Backend: "nft", Family: "ip", Table: "lab", Chain: "input", Handle: 4}, in),
		"nft insert rule inet f input ip daddr 10.99.0.1 tcp dport 80 accept":          Fix(Rule{Backend: "nft", Family: "inet", Table: "f", Chain: "input", Policy: "drop"}, in),
		"nft insert rule inet f input ip saddr 10.0.0.2 ip protocol 4 accept":          Fix(Rule{Backend: "nft", Family: "inet", Table: "f", Chain: "input", Policy: "drop"}, tunnelled),
		"iptables-nft -t filter -I OUTPUT -s 10.99.0.1 -p tcp --sport 80 -j ACCEPT":    Fix(Rule{Backend: "iptables-nft", Table: "filter", Chain: "OUTPUT", Policy: "drop"}, out),
		`iptables-legacy -t raw -D X -m comment --comment 'it'\''s; rm -rf /' -j DROP`: Fix(Rule{Backend: "iptables-legacy", Table: "raw", Chain: "X", Args: []string{"-m", "comment", "--comment", "it's; rm -rf /", "-j", "DROP"}}, in),
		"nft delete rule ip '$(reboot)' 'a b' handle 1":                                Fix(Rule{Backend: "nft", Family: "ip", Table: "$(reboot)", Chain: "a b", Handle: 1}, in),
		"nft delete element ip t ports '{ 80 }'":                                       Fix(Rule{Backend: "nft", Family: "ip", Table: "t", Set: "ports", Element: "80"}, in),
	} {
		if len(fix) != 1 || fix[0] != want {
			t.Errorf("got %q\nwant %q", fix, want)
		}
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add(`[` + toVIP + `,` + drop + `]`)
	f.Add(`[{"vmap":{"key":{"meta":{"key":"mark"}},"data":"@m"}}]`)
	f.Add(`[{"match":{"op":"in","left":{"&":[1,2]},"right":{"range":[1]}}},{"jump":{"target":"input"}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		var rules []json.RawMessage
		if json.Unmarshal([]byte(text), &rules) != nil {
			return
		}
		c := host.NftChain{Name: "input", Hook: "input", Policy: "drop", Rules: []host.NftRule{{Handle: 1, Exprs: rules}}}
		s := &host.Snapshot{Nft: []host.NftTable{{Family: "ip", Name: "t", Chains: []host.NftChain{c}}}}
		Evaluate(s, packet("input"))
	})
}
