package ruleset

import (
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// saved is the table filter with these rules in INPUT, each as iptables-save writes it, and two chains of its own.
func saved(policy string, rules ...string) *host.Snapshot {
	chain := func(name, policy string, rules ...string) host.IPTablesChain {
		c := host.IPTablesChain{Name: name, Policy: policy}
		for _, r := range rules {
			c.Rules = append(c.Rules, host.IPTablesRule{Args: strings.Fields(r)})
		}
		return c
	}
	return &host.Snapshot{
		IPTables: []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{
			chain("INPUT", policy, rules...),
			chain("OWN", "", "-p udp -j DROP", "-p tcp -j DROP"),
			chain("LOGS", "", "-m mark --mark 0x7 -j RETURN", "-j LOG --log-prefix x"),
		}}},
		Routes: []host.Route{{Table: 255, Dst: netip.MustParsePrefix("10.99.0.1/32"), Type: "local"}},
	}
}

// TestWhatNfTablesDroppedHasPassedIPTables: its rules still do what they do to the packet.
func TestWhatNfTablesDroppedHasPassedIPTables(t *testing.T) {
	s := saved("DROP", "-j DROP")
	s.IPTables = append(s.IPTables, host.IPTables{Backend: "iptables-legacy", Table: "mangle", Chains: []host.IPTablesChain{
		{Name: "INPUT", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: strings.Fields("-j MARK --set-xmark 0x7/0xffffffff")}}},
	}})
	s.Nft = table(t, "accept", and(limit, drop), hasMark(8), hasMark(7)).Nft
	s.Nft[0].Chains[0].Priority = 10
	p := packet("input")
	if o := Of(s).Evaluate(p); o.Rule == nil || o.Rule.Backend != "iptables-legacy" {
		t.Errorf("of all: %+v", o)
	}
	p.ByNfTables = true
	perhaps(1, 3).check(t, Of(s).Evaluate(p))
}

func TestIPTablesDecide(t *testing.T) {
	const conntrack = "-m conntrack --ctstate "
	for what, test := range map[string]struct {
		policy string
		rules  []string
		// chain and number are of the rule that drops for certain, or, with perhaps, of the only candidate; number 0 is the policy.
		chain   string
		number  int
		perhaps bool
	}{
		"nothing":                      {"ACCEPT", nil, "", 0, false},
		"a rule":                       {"ACCEPT", []string{"-d 10.99.0.1/32 -p tcp -m tcp --dport 80 -j DROP"}, "INPUT", 1, false},
		"another port":                 {"ACCEPT", []string{"-p tcp -m tcp --dport 443 -j DROP"}, "", 0, false},
		"a comment":                    {"ACCEPT", []string{"-m comment --comment -j -j DROP"}, "INPUT", 1, false},
		"negated":                      {"ACCEPT", []string{"! -i tunl0 -j DROP"}, "", 0, false},
		"not this network":             {"ACCEPT", []string{"! -s 192.0.2.0/24 -j DROP"}, "INPUT", 1, false},
		"a chain":                      {"ACCEPT", []string{"-i tunl+ -j OWN"}, "OWN", 2, false},
		"it goes to a chain":           {"ACCEPT", []string{"-g LOGS", "-j DROP"}, "", 0, false},
		"it jumps to a chain":          {"ACCEPT", []string{"-j LOGS", "-j DROP"}, "INPUT", 2, false},
		"accepted before":              {"DROP", []string{"-p tcp -m multiport --dports 22,80 -j ACCEPT"}, "", 0, false},
		"several ports":                {"ACCEPT", []string{"-p tcp -m multiport ! --dports 22,443,8000:9000 -j DROP"}, "INPUT", 1, false},
		"the policy":                   {"DROP", []string{"-p ipencap -j ACCEPT"}, "INPUT", 0, false},
		"a SYN":                        {"ACCEPT", []string{"-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j REJECT --reject-with tcp-reset"}, "INPUT", 1, false},
		"anything but a SYN":           {"ACCEPT", []string{"-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP"}, "", 0, false},
		"a range of ports":             {"ACCEPT", []string{"-p tcp -m tcp --dport 70:90 -j DROP"}, "INPUT", 1, false},
		"not known of UDP":             {"ACCEPT", []string{"-m icmp ! --icmp-type 8 -j DROP"}, "", 0, false},
		"new":                          {"ACCEPT", []string{conntrack + "NEW -j DROP"}, "INPUT", 1, false},
		"new, by its old name":         {"ACCEPT", []string{"-m state --state NEW,RELATED -j DROP"}, "INPUT", 1, false},
		"not new":                      {"ACCEPT", []string{"-m conntrack ! --ctstate NEW -j DROP"}, "", 0, false},
		"the ordinary firewall":        {"DROP", []string{conntrack + "RELATED,ESTABLISHED -j ACCEPT", conntrack + "INVALID -j DROP", "-i lo -j ACCEPT"}, "INPUT", 0, false},
		"to what DNAT was done":        {"ACCEPT", []string{conntrack + "DNAT -j DROP"}, "INPUT", 1, true},
		"of a direction":               {"ACCEPT", []string{"-m conntrack --ctdir ORIGINAL -j DROP"}, "INPUT", 1, true},
		"a limit":                      {"ACCEPT", []string{"-m limit --limit 3/min --limit-burst 3 -j DROP"}, "INPUT", 1, true},
		"a count of connections drops": {"ACCEPT", []string{"-m connlimit --connlimit-above 1 -j ACCEPT"}, "INPUT", 1, true},
		"of other packets":             {"ACCEPT", []string{"-p udp -m connlimit --connlimit-above 1 -j DROP"}, "", 0, false},
		"a limit for each":             {"ACCEPT", []string{"-m hashlimit --hashlimit-above 3/sec --hashlimit-mode srcip --hashlimit-name x -j DROP"}, "INPUT", 1, true},
		"a local address":              {"ACCEPT", []string{"-m addrtype --dst-type LOCAL -j DROP"}, "INPUT", 1, false},
		"neither of these":             {"ACCEPT", []string{"-m addrtype ! --dst-type LOCAL,BROADCAST -j DROP"}, "", 0, false},
		"local on the device":          {"ACCEPT", []string{"-m addrtype --dst-type LOCAL --limit-iface-in -j DROP"}, "INPUT", 1, true},
		"a set":                        {"ACCEPT", []string{"-m set --match-set bad src -j DROP"}, "INPUT", 1, true},
		"an extension without options": {"ACCEPT", []string{"-m socket -j DROP"}, "INPUT", 1, true},
		"a connection's mark":          {"ACCEPT", []string{"-j MARK --set-xmark 0x7/0xffffffff", "-m connmark --mark 0x1 -j DROP"}, "INPUT", 2, true},
		"a mark that is not known":     {"ACCEPT", []string{"-m mark --mark 0x7 -j DROP"}, "INPUT", 1, true},
		"a mark that a rule has set":   {"ACCEPT", []string{"-j MARK --set-xmark 0x7/0xffffffff", "-m mark ! --mark 0x1/0x1 -j DROP"}, "", 0, false},
		"the same mark":                {"ACCEPT", []string{"-j MARK --set-xmark 0x7/0xffffffff", "-m mark --mark 0x3/0x3 -j DROP"}, "INPUT", 2, false},
		"a target nobody knows":        {"ACCEPT", []string{"-p tcp -j TARPIT"}, "INPUT", 1, true},
		"a target that goes on":        {"ACCEPT", []string{"-j NFLOG --nflog-group 5", "-j DROP"}, "INPUT", 2, false},
		"a program decides":            {"ACCEPT", []string{"-j NFQUEUE --queue-num 5", "-j DROP"}, "", 0, false},
	} {
		t.Run(what, func(t *testing.T) {
			o := Of(saved(test.policy, test.rules...)).Evaluate(tracked(New))
			r := o.Rule
			if test.perhaps {
				if r != nil || len(o.Candidates) != 1 {
					t.Fatalf("got %+v, candidates %+v", r, o.Candidates)
				}
				r = &o.Candidates[0]
			} else if len(o.Candidates) > 0 {
				t.Errorf("candidates %+v", o.Candidates)
			}
			switch {
			case r == nil && test.chain != "", r != nil && (r.Chain != test.chain || r.Number != test.number || (test.number == 0) != (r.Policy != "")):
				t.Errorf("got %+v, want %s %d", r, test.chain, test.number)
			}
		})
	}
}

func TestAPacketThatAProgramGetsIsStolen(t *testing.T) {
	for rule, stolen := range map[string]bool{
		"-p tcp -j NFQUEUE --queue-num 5": true, "-m limit --limit 1/sec -j NFQUEUE --queue-num 5": true,
		"-p udp -j NFQUEUE --queue-num 5": false, "-p tcp -j ACCEPT": false,
	} {
		if o := Of(saved("ACCEPT", rule)).Evaluate(tracked(New)); o.Stolen != stolen {
			t.Errorf("%s: stolen is %v", rule, o.Stolen)
		}
	}
}

func TestRawExemptsFromTracking(t *testing.T) {
	s := saved("ACCEPT", "-m conntrack --ctstate UNTRACKED -j DROP")
	s.IPTables = append(s.IPTables, host.IPTables{Backend: "iptables-legacy", Table: "raw", Chains: []host.IPTablesChain{
		{Name: "PREROUTING", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: strings.Fields("-i tunl0 -j CT --notrack")}}},
	}})
	if o := Of(s).Evaluate(tracked(New)); o.Rule == nil || o.Rule.Number != 1 {
		t.Errorf("%+v", o)
	}
}
