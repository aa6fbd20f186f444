package ruleset

import (
	"testing"

	"ipiptrace/internal/host"
)

func TestMarksAreFollowed(t *testing.T) {
	const fromCT = `{"mangle":{"key":{"meta":{"key":"mark"}},"value":{"ct":{"key":"mark"}}}}`
	mark := func(n string) string { return `{"mangle":{"key":{"meta":{"key":"mark"}},"value":` + n + `}}` }
	for what, test := range map[string]struct {
		from  uint32
		rules []string
		mark  uint32
		ok    bool
	}{
		"none is given":                  {3, []string{accept}, 3, true},
		"one is":                         {0, []string{and(toVIP, mark7)}, 7, true},
		"the last one counts":            {0, []string{mark7, mark("9")}, 9, true},
		"others are given one":           {0, []string{and(onEth0, mark7)}, 0, true},
		"it may be given one":            {0, []string{and(limit, mark7)}, 0, false},
		"it may be given what it has":    {7, []string{and(limit, mark7)}, 7, true},
		"the connection's":               {0, []string{fromCT}, 0, false},
		"the connection's, of others":    {0, []string{and(onEth0, fromCT)}, 0, true},
		"the rules behind are not asked": {0, []string{accept, mark7}, 0, true},
		"in a chain":                     {0, []string{`{"jump":{"target":"other"}}`, mark7}, 0, true},
		"a chain that is not there":      {0, []string{`{"jump":{"target":"gone"}}`}, 0, false},
		"what nobody knows":              {0, []string{`{"future":null}`}, 0, false},
		"an extension":                   {0, []string{`{"xt":{"type":"target","name":"MARK"}}`}, 0, false},
		"another extension":              {0, []string{`{"xt":{"type":"target","name":"LOG"}}`}, 0, true},
		"a program may give one":         {0, []string{queue7}, 0, false},
		"a mark decides over the next":   {7, []string{and(marked, mark("1"))}, 1, true},
	} {
		p := packet("input")
		p.CT = New
		got, ok := Of(table(t, "accept", test.rules...)).Mark(test.from, p)
		if ok != test.ok || ok && got != test.mark {
			t.Errorf("%s: %d, %t; want %d, %t", what, got, ok, test.mark, test.ok)
		}
	}
}

func TestMarksOfIPTablesAreFollowed(t *testing.T) {
	for what, test := range map[string]struct {
		rules []string
		mark  uint32
		ok    bool
	}{
		"all of it":                     {[]string{"-j MARK --set-xmark 0x7/0xffffffff"}, 7, true},
		"a bit of it":                   {[]string{"-j MARK --set-xmark 0x10/0xf0"}, 0x11, true},
		"two times":                     {[]string{"-j MARK --set-xmark 0x10/0xf0", "-j MARK --set-xmark 0x0/0xf"}, 0x10, true},
		"another protocol":              {[]string{"-p udp -j MARK --set-xmark 0x7/0xffffffff"}, 1, true},
		"in what state":                 {[]string{"-m conntrack --ctstate NEW -j MARK --set-xmark 0x7/0xffffffff"}, 7, true},
		"the connection gets it":        {[]string{"-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff"}, 1, true},
		"it gets the connection's":      {[]string{"-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff"}, 0, false},
		"others get the connection's":   {[]string{"-p udp -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff"}, 1, true},
		"a hash":                        {[]string{"-j HMARK --hmark-mod 5"}, 0, false},
		"perhaps":                       {[]string{"-m limit --limit 1/day -j MARK --set-xmark 0x7/0xffffffff"}, 0, false},
		"a program may give one":        {[]string{"-j NFQUEUE --queue-num 7"}, 0, false},
		"a target that nobody knows":    {[]string{"-j TARPIT"}, 0, false},
		"the number can't be read":      {[]string{"-j MARK --set-xmark x/0xffffffff"}, 0, false},
		"a rule that asks for the mark": {[]string{"-m mark --mark 0x1 -j MARK --set-xmark 0x2/0xffffffff"}, 2, true},
	} {
		got, ok := Of(saved("ACCEPT", test.rules...)).Mark(1, tracked(New))
		if ok != test.ok || ok && got != test.mark {
			t.Errorf("%s: %#x, %t; want %#x, %t", what, got, ok, test.mark, test.ok)
		}
	}
}

// TestTheOrderOfMarksCounts: of two chains of one priority the last word is not known.
func TestTheOrderOfMarksCounts(t *testing.T) {
	s := two(t, "ip", "inet")
	s.Nft[0].Chains[0].Rules[0].Exprs = exprs(t, "["+mark7+"]")
	s.Nft[1].Chains[0].Rules[0].Exprs = nil
	p := packet("input")
	if _, ok := Of(s).Mark(0, p); ok {
		t.Error("a mark is known though nobody knows who gave the last one")
	}
	s.Hooks = calls("ip", host.NfCallee{Family: "ip", Table: "tip", Chain: "c"}, host.NfCallee{Family: "inet", Table: "tinet", Chain: "c"})
	if mark, ok := Of(s).Mark(0, p); !ok || mark != 7 {
		t.Errorf("mark %d, known: %t", mark, ok)
	}
	if r := Of(s); r.KeepsMark(0, p) || !r.KeepsMark(7, p) {
		t.Error("a mark that is given was not seen, or one that stays was")
	}
}

// TestTheMarkBeforeTheHookDecides over rules that ask for it.
func TestTheMarkBeforeTheHookDecides(t *testing.T) {
	s := table(t, "accept", and(marked, drop))
	p := packet("input")
	decision{candidates: []uint64{1}}.check(t, Of(s).Evaluate(p))
	p.Marked = true
	decision{}.check(t, Of(s).Evaluate(p))
	p.Mark = 7
	decision{handle: 1}.check(t, Of(s).Evaluate(p))
}
