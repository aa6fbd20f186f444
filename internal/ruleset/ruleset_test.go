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

func exprs(t *testing.T, text string) (all []json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return all
}

const (
	toVIP  = `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"10.99.0.1"}}`
	to80   = `{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":80}}`
	onEth0 = `{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth0"}}`
	marked = `{"match":{"op":"==","left":{"meta":{"key":"mark"}},"right":7}}`
	drop   = `{"drop":null}`
	accept = `{"accept":null}`
)

// table is a table whose base chain at input has the rules, with handles from 1, and a chain "other" with the last one.
func table(t *testing.T, policy string, rules ...string) *host.Snapshot {
	t.Helper()
	c := host.NftChain{Name: "input", Hook: "input", Type: "filter", Policy: policy}
	for i, r := range rules {
		c.Rules = append(c.Rules, host.NftRule{Handle: uint64(i + 1), Exprs: exprs(t, "["+r+"]")})
	}
	other := host.NftChain{Name: "other", Rules: []host.NftRule{{Handle: 90, Exprs: exprs(t, "["+to80+","+drop+"]")}}}
	blocked := host.NftSet{Name: "blocked", Elem: json.RawMessage(`[{"range":["10.0.0.4","10.0.0.9"]},{"prefix":{"addr":"192.0.2.0","len":24}}]`)}
	return &host.Snapshot{Nft: []host.NftTable{{Family: "ip", Name: "t", Chains: []host.NftChain{c, other}, Sets: []host.NftSet{blocked}}}}
}

func TestNftablesDecide(t *testing.T) {
	for what, test := range map[string]struct {
		policy     string
		rules      []string
		handle     uint64 // of the rule that drops; 0: none
		byPolicy   bool
		candidates int
	}{
		"nothing":                       {policy: "accept"},
		"a rule":                        {policy: "accept", rules: []string{toVIP + "," + to80 + "," + drop}, handle: 1},
		"a rule for another device":     {policy: "accept", rules: []string{onEth0 + "," + drop}},
		"accepted before":               {policy: "accept", rules: []string{to80 + "," + accept, drop}},
		"the policy":                    {policy: "drop", rules: []string{onEth0 + "," + accept}, byPolicy: true},
		"a mark that is not known":      {policy: "accept", rules: []string{marked + "," + drop}, candidates: 1},
		"which of two is not known":     {policy: "accept", rules: []string{marked + "," + accept, to80 + "," + drop}, candidates: 1},
		"a rule behind one that may":    {policy: "accept", rules: []string{marked + "," + drop, to80 + "," + drop}, handle: 2, candidates: 1},
		"jump":                          {policy: "accept", rules: []string{`{"jump":{"target":"other"}}`}, handle: 90},
		"goto":                          {policy: "accept", rules: []string{`{"goto":{"target":"other"}}`, accept}, handle: 90},
		"return":                        {policy: "accept", rules: []string{`{"return":null}`, drop}},
		"verdict map":                   {policy: "accept", rules: []string{`{"vmap":{"key":{"payload":{"protocol":"tcp","field":"dport"}},"data":{"set":[[22,{"accept":null}],[80,{"drop":null}]]}}}`}, handle: 1},
		"verdict map, other port":       {policy: "accept", rules: []string{`{"vmap":{"key":{"payload":{"protocol":"tcp","field":"dport"}},"data":{"set":[[22,{"drop":null}]]}}}`}},
		"set of ranges":                 {policy: "accept", rules: []string{`{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@blocked"}},` + drop}, handle: 1},
		"not in a set":                  {policy: "accept", rules: []string{`{"match":{"op":"!=","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@blocked"}},` + drop}},
		"concatenation":                 {policy: "accept", rules: []string{`{"match":{"op":"==","left":{"concat":[{"payload":{"protocol":"ip","field":"daddr"}},{"payload":{"protocol":"th","field":"dport"}}]},"right":{"set":[{"concat":["10.99.0.1",80]}]}}},` + drop}, handle: 1},
		"flags":                         {policy: "accept", rules: []string{`{"match":{"op":"==","left":{"&":[{"payload":{"protocol":"tcp","field":"flags"}},{"|":["fin","syn"]}]},"right":"syn"}},` + drop}, handle: 1},
		"an expression nobody knows":    {policy: "accept", rules: []string{`{"warp":{"factor":9}},` + drop}, candidates: 1},
		"counters and logs say nothing": {policy: "accept", rules: []string{`{"counter":{"packets":1,"bytes":2}},{"log":null},` + drop}, handle: 1},
		"a rule for UDP":                {policy: "accept", rules: []string{`{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":80}},` + drop}},
	} {
		t.Run(what, func(t *testing.T) {
			o := Evaluate(table(t, test.policy, test.rules...), packet("input"))
			switch {
			case test.byPolicy && (o.Rule == nil || o.Rule.Policy != "drop"):
				t.Errorf("got %+v, want the policy", o.Rule)
			case !test.byPolicy && test.handle == 0 && o.Rule != nil:
				t.Errorf("got %+v, want none", *o.Rule)
			case test.handle != 0 && (o.Rule == nil || o.Rule.Handle != test.handle):
				t.Errorf("got %+v, want handle %d", o.Rule, test.handle)
			}
			if len(o.Candidates) != test.candidates {
				t.Errorf("%d candidates, want %d: %+v", len(o.Candidates), test.candidates, o.Candidates)
			}
		})
	}
}

func TestIPTablesDecide(t *testing.T) {
	for what, test := range map[string]struct {
		policy   string
		rules    [][]string
		number   int
		chain    string
		byPolicy bool
	}{
		"nothing":          {policy: "ACCEPT"},
		"a rule":           {policy: "ACCEPT", rules: [][]string{{"-d", "10.99.0.1/32", "-p", "tcp", "-m", "tcp", "--dport", "80", "-j", "DROP"}}, number: 1, chain: "INPUT"},
		"another port":     {policy: "ACCEPT", rules: [][]string{{"-p", "tcp", "-m", "tcp", "--dport", "443", "-j", "DROP"}}},
		"a comment":        {policy: "ACCEPT", rules: [][]string{{"-m", "comment", "--comment", "not -j ACCEPT", "-j", "DROP"}}, number: 1, chain: "INPUT"},
		"negated":          {policy: "ACCEPT", rules: [][]string{{"!", "-i", "tunl0", "-j", "DROP"}}},
		"a chain":          {policy: "ACCEPT", rules: [][]string{{"-i", "tunl+", "-j", "OWN"}}, number: 2, chain: "OWN"},
		"accepted before":  {policy: "DROP", rules: [][]string{{"-m", "multiport", "-p", "tcp", "--dports", "22,80", "-j", "ACCEPT"}}},
		"the policy":       {policy: "DROP", rules: [][]string{{"-p", "ipencap", "-j", "ACCEPT"}}, byPolicy: true},
		"state not known":  {policy: "ACCEPT", rules: [][]string{{"-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"}}},
		"a SYN":            {policy: "ACCEPT", rules: [][]string{{"-p", "tcp", "--syn", "-j", "REJECT"}}, number: 1, chain: "INPUT"},
		"a range of ports": {policy: "ACCEPT", rules: [][]string{{"-p", "tcp", "--dport", "70:90", "-j", "DROP"}}, number: 1, chain: "INPUT"},
	} {
		t.Run(what, func(t *testing.T) {
			input := host.IPTablesChain{Name: "INPUT", Policy: test.policy}
			for _, r := range test.rules {
				input.Rules = append(input.Rules, host.IPTablesRule{Args: r})
			}
			own := host.IPTablesChain{Name: "OWN", Rules: []host.IPTablesRule{
				{Args: []string{"-p", "udp", "-j", "DROP"}}, {Args: []string{"-p", "tcp", "-j", "DROP"}},
			}}
			s := &host.Snapshot{IPTables: []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{input, own}}}}
			o := Evaluate(s, packet("input"))
			switch {
			case test.byPolicy && (o.Rule == nil || o.Rule.Policy != "drop"):
				t.Errorf("got %+v, want the policy", o.Rule)
			case !test.byPolicy && test.number == 0 && o.Rule != nil:
				t.Errorf("got %+v, want none", *o.Rule)
			case test.number != 0 && (o.Rule == nil || o.Rule.Number != test.number || o.Rule.Chain != test.chain):
				t.Errorf("got %+v, want %s %d", o.Rule, test.chain, test.number)
			}
		})
	}
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
