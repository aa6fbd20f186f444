package ruleset

import (
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// hooked is a chain that a hook runs; its rules have handles from 1 on, counted over all chains.
type hooked struct {
	hook, kind string
	priority   int
	policy     string
	rules      []string
}

// way are chains, each in a table of its own.
func way(t *testing.T, chains ...hooked) *host.Snapshot {
	t.Helper()
	s := table(t, "accept")
	s.Nft = nil
	n := uint64(0)
	for i, c := range chains {
		chain := host.NftChain{Name: "c", Handle: 1, Hook: c.hook, Type: c.kind, Priority: c.priority, Policy: c.policy}
		if c.hook == "ingress" {
			chain.Devices = []string{"tunl0"}
		}
		for _, r := range c.rules {
			n++
			chain.Rules = append(chain.Rules, host.NftRule{Handle: n, Exprs: exprs(t, "["+r+"]")})
		}
		s.Nft = append(s.Nft, host.NftTable{Family: "inet", Name: string(rune('a' + i)), Chains: []host.NftChain{chain}})
	}
	return s
}

func mark(value string) string {
	return `{"mangle":{"key":{"meta":{"key":"mark"}},"value":` + value + `}}`
}

// hasMark drops what has it.
func hasMark(n int) string { return and(when("==", meta("mark"), n), drop) }

const map7 = `{"map":{"key":{"payload":{"protocol":"tcp","field":"dport"}},"data":{"set":[[80,7],[22,9]]}}}`

func TestAMarkIsComputed(t *testing.T) {
	for what, test := range map[string]struct {
		rules []string
		want  decision
	}{
		"bits set":                    {[]string{mark7, mark(`{"|":[{"meta":{"key":"mark"}},8]}`), hasMark(15)}, sure(3)},
		"bits kept, and then set":     {[]string{mark7, mark(`{"|":[{"&":[{"meta":{"key":"mark"}},3]},16]}`), hasMark(19)}, sure(3)},
		"three at once":               {[]string{mark(`{"|":[1,2,4]}`), hasMark(7)}, sure(2)},
		"shifted":                     {[]string{mark(`{"<<":[3,4]}`), hasMark(48)}, sure(2)},
		"of one that is not known":    {[]string{mark(`{"|":[{"meta":{"key":"mark"}},8]}`), hasMark(15)}, perhaps(2)},
		"by a map":                    {[]string{mark(map7), hasMark(7)}, sure(2)},
		"a map without the key":       {[]string{and(mark(`{"map":{"key":`+tcp("dport")+`,"data":{"set":[[22,7]]}}}`), drop)}, nothing},
		"perhaps the same":            {[]string{mark7, and(limit, mark("7")), hasMark(7)}, sure(3)},
		"perhaps another":             {[]string{mark7, and(limit, mark("8")), hasMark(7)}, perhaps(3)},
		"from a connection":           {[]string{mark(`{"ct":{"key":"mark"}}`), hasMark(7)}, perhaps(2)},
		"a field that it has not got": {[]string{and(`{"mangle":{"key":{"payload":{"protocol":"ip6","field":"hoplimit"}},"value":4}}`, drop)}, nothing},
		"a map to translate by":       {[]string{and(`{"dnat":{"addr":{"map":{"key":` + tcp("dport") + `,"data":{"set":[[22,"10.0.0.1"]]}}}}}`), drop}, sure(2)},
	} {
		t.Run(what, func(t *testing.T) {
			test.want.check(t, Of(table(t, "accept", test.rules...)).Evaluate(packet("input")))
		})
	}
}

// TestWithoutAConnectionItHasNoFields: nft_ct_get_eval ends the rule for all but the state.
func TestWithoutAConnectionItHasNoFields(t *testing.T) {
	rule := and(when("!=", `{"ct":{"key":"mark"}}`, 5), drop)
	p := packet("input")
	for ct, want := range map[CT]decision{Invalid: nothing, Untracked: nothing, New: perhaps(1)} {
		p.CT = ct
		want.check(t, Of(table(t, "accept", rule)).Evaluate(p))
	}
	p.CT = Invalid
	nothing.check(t, Of(table(t, "accept", and(mark(`{"ct":{"key":"mark"}}`), drop))).Evaluate(p))
}

// TestWhatNftLeavesOutIsAskedAllTheSame: it lists no match that it adds to a statement by itself.
func TestWhatNftLeavesOutIsAskedAllTheSame(t *testing.T) {
	reset := `{"reject":{"type":"tcp reset"}}`
	p := packet("input")
	sure(1).check(t, Of(table(t, "accept", reset)).Evaluate(p))
	p.Proto, p.HasPorts = 4, false
	nothing.check(t, Of(table(t, "accept", reset)).Evaluate(p))
	nothing.check(t, Of(table(t, "accept", `{"reject":{"type":"icmpv6","expr":"port-unreachable"}}`)).Evaluate(p))
	sure(1).check(t, Of(table(t, "accept", `{"reject":{"type":"icmpx","expr":"port-unreachable"}}`)).Evaluate(p))
	sure(2).check(t, Of(table(t, "accept", `{"dnat":{"family":"ip6","addr":"fd00::1"}}`, drop)).Evaluate(p))
}

// TestNeighboursMayBeOneComparison: nft makes one of both, and that matches what differs in either.
func TestNeighboursMayBeOneComparison(t *testing.T) {
	for what, test := range map[string]struct {
		rule string
		want decision
	}{
		"both differ":              {and(when("!=", tcp("sport"), 1), when("!=", tcp("dport"), 2), drop), sure(1)},
		"one does":                 {and(when("!=", tcp("sport"), 1), when("!=", tcp("dport"), 80), drop), perhaps(1)},
		"neither does":             {and(when("!=", tcp("sport"), 30000), when("!=", tcp("dport"), 80), drop), nothing},
		"with something between":   {and(when("!=", tcp("sport"), 1), `{"counter":null}`, when("!=", tcp("dport"), 80), drop), nothing},
		"of a list":                {and(when("!=", tcp("sport"), 1), when("!=", tcp("dport"), list(80, 81)), drop), nothing},
		"addresses are eight byte": {and(when("!=", ip("saddr"), "192.0.2.1"), when("!=", ip("daddr"), "10.99.0.1"), drop), nothing},
	} {
		t.Run(what, func(t *testing.T) {
			test.want.check(t, Of(table(t, "accept", test.rule)).Evaluate(packet("input")))
		})
	}
}

// TestARangeThatEndsBeforeItBeginsIsUnread: nft lists two comparisons of two fields as one range of the second.
func TestARangeThatEndsBeforeItBeginsIsUnread(t *testing.T) {
	for _, op := range []string{"==", "!="} {
		for _, ends := range []any{[]int{90, 20}, []string{"10.0.0.9", "10.0.0.1"}} {
			field := ip("ttl")
			if _, isNumber := ends.([]int); !isNumber {
				field = ip("saddr")
			}
			rule := and(when(op, field, map[string]any{"range": ends}), drop)
			perhaps(1).check(t, Of(table(t, "accept", rule)).Evaluate(packet("input")))
		}
	}
}

func TestOnItsWayAPacketChanges(t *testing.T) {
	ttl := func(n int) string { return and(when("==", ip("ttl"), n), mark7) }
	dnat := and(to80, `{"dnat":{"addr":"10.99.0.1"}}`)
	early := func(rules ...string) hooked { return hooked{"prerouting", "filter", -150, "", rules} }
	for what, test := range map[string]struct {
		chains []hooked
		want   decision
	}{
		"its time to live":                  {[]hooked{early(ttl(65)), {"forward", "filter", 0, "", []string{hasMark(7)}}}, sure(2)},
		"not the one that it has now":       {[]hooked{early(ttl(64), mark("1")), {"forward", "filter", 0, "", []string{hasMark(7)}}}, nothing},
		"one that a rule has set":           {[]hooked{early(mark("1"), ttl(64), `{"mangle":{"key":`+ip("ttl")+`,"value":64}}`), {"forward", "filter", 0, "", []string{hasMark(7)}}}, perhaps(4)},
		"its destination":                   {[]hooked{early(mark("1"), and(toVIP, mark7)), {"prerouting", "nat", -100, "", []string{dnat}}, {"forward", "filter", 0, "", []string{hasMark(7)}}}, perhaps(4)},
		"its source, in NAT":                {[]hooked{{"forward", "filter", 0, "", []string{accept}}, {"postrouting", "nat", 100, "", []string{`{"masquerade":null}`}}, {"postrouting", "filter", 150, "", []string{and(when("==", ip("saddr"), "10.0.0.7"), drop)}}}, perhaps(3)},
		"a mark from ingress":               {[]hooked{{"ingress", "filter", 0, "", []string{mark7}}, {"prerouting", "filter", 0, "", []string{hasMark(7)}}}, sure(2)},
		"perhaps, by a chain at once":       {[]hooked{{"forward", "filter", 0, "", []string{mark7}}, {"forward", "filter", 0, "", []string{hasMark(7)}}}, perhaps(2)},
		"NAT is at a priority of its own":   {[]hooked{{"prerouting", "nat", 50, "", []string{and(to80, `{"redirect":{"port":90}}`)}}, {"prerouting", "filter", 0, "", []string{and(to80, drop)}}}, perhaps(2)},
		"NAT may not be asked":              {[]hooked{{"prerouting", "nat", -100, "", []string{drop}}, {"prerouting", "filter", 0, "", []string{drop}}}, perhaps(1, 2)},
		"NAT is not asked before the first": {[]hooked{{"prerouting", "nat", -180, "", []string{`{"redirect":{"port":90}}`}}, {"prerouting", "filter", -150, "", []string{and(to80, drop)}}}, sure(2)},
	} {
		t.Run(what, func(t *testing.T) {
			p := tracked(New)
			p.TTL, p.OIF, p.Hook = 64, "eth0", test.chains[len(test.chains)-1].hook
			if p.Hook == "prerouting" {
				p.OIF = ""
			}
			test.want.check(t, Of(way(t, test.chains...)).Evaluate(p))
		})
	}
}

func TestAMarkThatItComesWith(t *testing.T) {
	p := packet("input")
	p.Mark, p.Marked = 7, true
	sure(1).check(t, Of(table(t, "accept", hasMark(7))).Evaluate(p))
	nothing.check(t, Of(table(t, "accept", hasMark(8))).Evaluate(p))
}

// TestTargetsThatNftShowsByNameAlone: what they do is not known then.
func TestTargetsThatNftShowsByNameAlone(t *testing.T) {
	target := func(name string) string { return `{"xt":{"type":"target","name":"` + name + `"}}` }
	perhaps(3).check(t, Of(table(t, "accept", mark("1"), target("MARK"), hasMark(7))).Evaluate(packet("input")))
	perhaps(2).check(t, Of(table(t, "accept", target("TTL"), and(when("==", ip("ttl"), 1), drop))).Evaluate(packet("input")))
}

func TestTargetsOfIPTablesChangeThePacket(t *testing.T) {
	for what, test := range map[string]struct {
		rules   []string
		number  int
		perhaps bool
	}{
		"some bits of a mark":           {[]string{"-j MARK --set-xmark 0x4/0xffffffff", "-j MARK --set-xmark 0x3/0x3", "-m mark --mark 0x7 -j DROP"}, 3, false},
		"bits of one that is not known": {[]string{"-j MARK --set-xmark 0x3/0x3", "-m mark --mark 0x7 -j DROP"}, 2, true},
		"a mark that is saved":          {[]string{"-j MARK --set-xmark 0x7/0xffffffff", "-j CONNMARK --save-mark", "-m mark --mark 0x7 -j DROP"}, 3, false},
		"a mark that is restored":       {[]string{"-j MARK --set-xmark 0x7/0xffffffff", "-j CONNMARK --restore-mark", "-m mark --mark 0x7 -j DROP"}, 3, true},
		"the time to live":              {[]string{"-j TTL --ttl-set 64", "-m ttl --ttl-eq 64 -j DROP"}, 2, true},
		"a time to live that is less":   {[]string{"-m ttl --ttl-lt 64 -j DROP"}, 1, false},
		"one that is not more":          {[]string{"-m ttl --ttl-gt 63 -j DROP"}, 0, false},
		"a netmask that is no prefix":   {[]string{"-d 10.0.0.1/255.0.0.255 -j DROP"}, 1, false},
		"another one":                   {[]string{"-d 10.0.0.2/255.0.0.255 -j DROP"}, 0, false},
	} {
		t.Run(what, func(t *testing.T) {
			o := Of(saved("ACCEPT", test.rules...)).Evaluate(tracked(New))
			r := o.Rule
			if len(o.Candidates) == 1 && test.perhaps {
				r = &o.Candidates[0]
			} else if len(o.Candidates) > 0 || test.perhaps {
				t.Fatalf("%+v", o)
			}
			if r == nil && test.number != 0 || r != nil && r.Number != test.number {
				t.Errorf("got %+v, want %d", r, test.number)
			}
		})
	}
}

// TestSecurityOfIPTablesNftIsLater: at 150, where iptables-legacy has it at 50; NAT of input is in between.
func TestSecurityOfIPTablesNftIsLater(t *testing.T) {
	s := way(t, hooked{"input", "filter", 100, "", []string{drop}})
	s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "security", IPTables: true, Chains: []host.NftChain{{Name: "INPUT", Hook: "input", Priority: 150}}})
	s.IPTables = []host.IPTables{{Backend: "iptables-nft", Table: "security", Chains: []host.IPTablesChain{
		{Name: "INPUT", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: strings.Fields("-j DROP")}}},
	}}}
	sure(1).check(t, Of(s).Evaluate(packet("input")))
}

// TestAPacketWithoutPortsHasNoneAfterATranslation: which port it has now is not known, but GRE has none at all.
func TestAPacketWithoutPortsHasNoneAfterATranslation(t *testing.T) {
	other := `{"concat":[` + ip("protocol") + `,` + tcp("sport") + `]}`
	rule := and(when("!=", other, list(map[string]any{"concat": []any{"tcp", 22}})), drop)
	s := way(t, hooked{hook: "postrouting", kind: "nat", rules: []string{"{\"masquerade\":null}"}}, hooked{hook: "egress", kind: "filter", rules: []string{rule}})
	s.Nft[1].Family, s.Nft[1].Chains[0].Devices = "netdev", []string{"eth0"}
	p := packet("egress")
	p.OIF, p.CT = "eth0", New
	perhaps(2).check(t, Of(s).Evaluate(p))
	p.Proto, p.HasPorts = 47, false
	nothing.check(t, Of(s).Evaluate(p))
}

// TestAtItsEgressAPacketComesFromNoDevice: nf_hook_egress tells the chains only of the device that it leaves by.
func TestAtItsEgressAPacketComesFromNoDevice(t *testing.T) {
	p := packet("egress")
	p.IIF, p.OIF = "tunl0", "eth0"
	for _, test := range []struct {
		op, key, dev string
		want         decision
	}{
		{"==", "iifname", "tunl0", nothing}, {"!=", "iifname", "tunl0", sure(1)},
		{"==", "iif", "tunl0", nothing}, {"!=", "iif", "tunl0", sure(1)},
		{"==", "oifname", "eth0", sure(1)},
	} {
		s := way(t, hooked{hook: "egress", kind: "filter", rules: []string{and(when(test.op, meta(test.key), test.dev), drop)}})
		s.Nft[0].Family, s.Nft[0].Chains[0].Devices = "netdev", []string{"eth0"}
		test.want.check(t, Of(s).Evaluate(p))
	}
}
