package ruleset

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/command"
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
	for want, fix := range map[string]command.Fix{
		"nft delete rule ip lab input handle 4":                                      Fix(Rule{Backend: "nft", Family: "ip", Table: "lab", Chain: "input", Handle: 4}, in),
		"nft insert rule inet f input ip daddr 10.99.0.1 tcp dport 80 accept":        Fix(Rule{Backend: "nft", Family: "inet", Table: "f", Chain: "input", Policy: "drop"}, in),
		"nft insert rule inet f input ip saddr 10.0.0.2 ip protocol 4 accept":        Fix(Rule{Backend: "nft", Family: "inet", Table: "f", Chain: "input", Policy: "drop"}, tunnelled),
		"iptables-nft -t filter -I OUTPUT -s 10.99.0.1 -p tcp --sport 80 -j ACCEPT":  Fix(Rule{Backend: "iptables-nft", Table: "filter", Chain: "OUTPUT", Policy: "drop"}, out),
		`iptables-legacy -t raw -D X -m comment --comment 'it'\''s; a $(b)' -j DROP`: Fix(Rule{Backend: "iptables-legacy", Table: "raw", Chain: "X", Args: []string{"-m", "comment", "--comment", "it's; a $(b)", "-j", "DROP"}}, in),
		"nft delete element ip t ports '{ 80 }'":                                     Fix(Rule{Backend: "nft", Family: "ip", Table: "t", Set: "ports", Element: "80"}, in),
	} {
		if c := fix.Commands(); len(c) != 1 || c[0].String() != want {
			t.Errorf("got %q (%s)\nwant %q", c, fix.Refused(), want)
		}
	}
}

// TestOnlyWhatIPTablesFindsAgainIsDeletedByItsText: what it finds is what TestNativeDeletions has seen.
func TestOnlyWhatIPTablesFindsAgainIsDeletedByItsText(t *testing.T) {
	rule := Rule{Table: "filter", Chain: "INPUT", Number: 3, Line: "-A INPUT x", InKernel: 9}
	for args, byText := range map[string]bool{
		"-j DROP":                                                            true,
		"-p tcp -m tcp --dport 80 -j DROP":                                   true,
		"-m limit --limit 5/sec -j REJECT":                                   true,
		"-m conntrack --ctstate NEW -j DROP":                                 true,
		"-m recent --name a --set -j DROP":                                   false,
		"-m connlimit --connlimit-above 2 -j DROP":                           false,
		"-p tcp -m tcp --dport 80 -m hashlimit --hashlimit-name a b -j DROP": false,
		"-m one-of-tomorrow -j DROP":                                         false,
		"-j TARPIT":                                                          false,
	} {
		for backend, other := range map[string]string{
			"iptables-nft":    "nft delete rule ip filter INPUT handle 9",
			"iptables-legacy": "iptables-legacy -t filter -S INPUT 3 | grep -qxFe '-A INPUT x' && iptables-legacy -t filter -D INPUT 3",
		} {
			rule.Backend, rule.Args = backend, strings.Fields(args)
			want := other
			if byText {
				want = backend + " -t filter -D INPUT " + args
			}
			fix := Fix(rule, packet("input"))
			if c := fix.Commands(); len(c) != 1 || c[0].String() != want {
				t.Errorf("%s %s: %q (%s), want %q", backend, args, c, fix.Refused(), want)
			}
		}
	}
}

func TestARuleThatCannotBeNamedHasNoFix(t *testing.T) {
	nft := Rule{Backend: "nft", Family: "ip", Table: "t", Chain: "c", Handle: 1}
	old := Rule{Backend: "iptables-legacy", Table: "filter", Chain: "INPUT", Args: []string{"-j", "DROP"}}
	zoned, noPorts := packet("input"), packet("input")
	zoned.Dst, noPorts.Proto = netip.MustParseAddr("fe80::1%;touch /tmp/x"), 132
	for what, test := range map[string]struct {
		r      Rule
		change func(*Rule)
		p      Packet
		says   string
	}{
		"a chain of words":         {nft, func(r *Rule) { r.Chain = "c handle 2; add table ip x" }, packet("input"), "the name of the chain is no plain identifier"},
		"a chain that is a word":   {nft, func(r *Rule) { r.Chain = "drop" }, packet("input"), "nft's own language"},
		"a table with a new line":  {nft, func(r *Rule) { r.Table = "t\nc" }, packet("input"), "the name of the table"},
		"another family":           {nft, func(r *Rule) { r.Family = "-f" }, packet("input"), "the family of the table"},
		"another element":          {nft, func(r *Rule) { r.Set, r.Element = "s", "80 }; add table ip x {" }, packet("input"), "the element of the set"},
		"another program":          {old, func(r *Rule) { r.Backend = "touch" }, packet("input"), "the program of the rule"},
		"another table":            {old, func(r *Rule) { r.Table = "--modprobe=/tmp/x" }, packet("input"), "the table"},
		"a program for modules":    {old, func(r *Rule) { r.Args = []string{"--modprobe=/tmp/x", "-j", "DROP"} }, packet("input"), "iptables would misread"},
		"an address with a zone":   {nft, func(r *Rule) { r.Policy = "drop" }, zoned, "none of IPv4"},
		"ports without their name": {nft, func(r *Rule) { r.Policy = "drop" }, noPorts, "not known"},
	} {
		t.Run(what, func(t *testing.T) {
			test.change(&test.r)
			fix := Fix(test.r, test.p)
			if len(fix.Commands()) > 0 || !strings.Contains(fix.Refused(), test.says) {
				t.Errorf("%q, %q; want none, since %s", fix.Commands(), fix.Refused(), test.says)
			}
		})
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
		Of(s).Evaluate(packet("input"))
	})
}
