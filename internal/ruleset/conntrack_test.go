package ruleset

import (
	"testing"

	"ipiptrace/internal/host"
)

// ordinary is the firewall that most machines have.
var ordinary = []string{
	and(when("in", ctState, []int{2, 4}), accept),
	and(when("in", ctState, 1), drop),
	and(when("==", meta("iif"), "lo"), accept),
	and(when("==", tcp("dport"), 22), accept),
}

func TestTheStateOfAConnectionDecides(t *testing.T) {
	states := func(text string) []string { return []string{vmap(ctState, text)} }
	both := []string{and(when("in", ctState, 8), drop), and(when("==", ctState, list(2, 1)), drop)}
	for what, test := range map[string]struct {
		rules  []string
		policy string
		ct     CT
		want   decision
	}{
		"new":                     {ordinary, "drop", New, thePolicy},
		"established":             {ordinary, "drop", Established, nothing},
		"invalid":                 {ordinary, "drop", Invalid, sure(2)},
		"untracked":               {ordinary, "drop", Untracked, thePolicy},
		"established, or invalid": {ordinary, "drop", Established | Invalid, perhaps(2)},
		"new, or invalid":         {ordinary, "drop", New | Invalid, perhaps(0, 2)},
		"nobody knows":            {ordinary, "drop", 0, perhaps(0, 2)},
		"new is dropped":          {both, "accept", New, sure(1)},
		"the other is":            {both, "accept", Established, sure(2)},
		"one or the other":        {both, "accept", New | Established, perhaps(1, 2)},
		"whichever":               {[]string{and(when("in", ctState, 1), accept), drop}, "accept", New | Established, sure(2)},
		"not established":         {[]string{and(when("!=", ctState, 2), drop)}, "accept", New, sure(1)},
		"a map":                   {states(`{"set":[[1,{"drop":null}],[2,{"accept":null}],[4,{"accept":null}]]}`), "drop", New, thePolicy},
		"a map, by name":          {states(`{"set":[["established",{"accept":null}],["invalid",{"drop":null}]]}`), "accept", Invalid, sure(1)},
		"a map, not known":        {states(`{"set":[[1,{"drop":null}],[2,{"accept":null}]]}`), "accept", Established | Invalid, perhaps(1)},
	} {
		t.Run(what, func(t *testing.T) {
			o := Of(table(t, test.policy, test.rules...)).Evaluate(tracked(test.ct))
			test.want.check(t, o)
			if !o.Tracked {
				t.Error("no rule has asked for the state")
			}
		})
	}
}

// at adds a base chain with the rules to the table, with handles from 50.
func at(t *testing.T, s *host.Snapshot, hook, kind string, priority int, rules ...string) {
	t.Helper()
	c := host.NftChain{Name: "more", Hook: hook, Type: kind, Priority: priority}
	for i, r := range rules {
		c.Rules = append(c.Rules, host.NftRule{Handle: uint64(i + 50), Exprs: exprs(t, "["+r+"]")})
	}
	s.Nft[0].Chains = append(s.Nft[0].Chains, c)
}

func TestWhatHappenedBeforeDecides(t *testing.T) {
	isNew, isUntracked, isInvalid := and(when("in", ctState, 8), drop), and(when("in", ctState, 64), drop), and(when("in", ctState, 1), drop)
	notrack := `{"notrack":null}`
	for what, test := range map[string]struct {
		rule     string
		hook     string
		kind     string
		priority int
		before   []string
		want     decision
	}{
		"tracked":                        {isNew, "prerouting", "filter", -300, nil, sure(1)},
		"not tracked":                    {isUntracked, "prerouting", "filter", -300, []string{notrack}, sure(1)},
		"not tracked, and so not new":    {isNew, "prerouting", "filter", -300, []string{notrack}, nothing},
		"perhaps not tracked":            {isUntracked, "prerouting", "filter", -300, []string{and(limit, notrack)}, perhaps(1)},
		"too late":                       {isNew, "prerouting", "filter", -150, []string{notrack}, sure(1)},
		"in raw nothing has a state":     {isNew, "prerouting", "filter", -300, []string{and(when("in", ctState, 1), notrack)}, nothing},
		"a mark from prerouting":         {and(marked, drop), "prerouting", "filter", -150, []string{mark7}, sure(1)},
		"the destination is another now": {and(to80, drop), "prerouting", "nat", -100, []string{and(to80, `{"redirect":{"port":90}}`)}, perhaps(1)},
		"another one's destination":      {and(to80, drop), "prerouting", "nat", -100, []string{and(when("==", tcp("dport"), 81), `{"dnat":{"addr":"10.1.1.1"}}`)}, sure(1)},
		"written to":                     {and(toVIP, drop), "prerouting", "filter", -150, []string{`{"mangle":{"key":` + ip("daddr") + `,"value":"10.0.0.1"}}`}, perhaps(1)},
		"it has come through prerouting": {isNew, "prerouting", "filter", -150, []string{drop}, sure(1)},
		"dropped by the chain before":    {isNew, "input", "filter", -10, []string{drop}, sure(50)},
		"accepted by the chain before":   {isNew, "input", "filter", -10, []string{accept}, sure(1)},
		"two chains of one priority":     {isNew, "input", "filter", 0, []string{drop}, perhaps(1, 50)},
		"one of two of one priority":     {isInvalid, "input", "filter", 0, []string{drop}, sure(50)},
		"only the first packet sees nat": {isInvalid, "input", "nat", 100, []string{drop}, perhaps(50)},
	} {
		t.Run(what, func(t *testing.T) {
			s := table(t, "accept", test.rule)
			at(t, s, test.hook, test.kind, test.priority, test.before...)
			test.want.check(t, Of(s).Evaluate(tracked(New)))
		})
	}
}

func TestInRawEveryPacketIsInvalid(t *testing.T) {
	s := table(t, "accept")
	at(t, s, "prerouting", "filter", -300, and(when("in", ctState, 8), drop), and(when("in", ctState, 1), drop))
	p := tracked(New)
	p.Hook = "prerouting"
	sure(51).check(t, Of(s).Evaluate(p))
}

// TestWhatNobodyRedirectsHasTheDestinationItCameWith: firewalld accepts what a rule has given another destination, before
// it rejects the rest. Of a new connection it is known that no rule has, if there is none that could.
func TestWhatNobodyRedirectsHasTheDestinationItCameWith(t *testing.T) {
	const status, redirect = `{"ct":{"key":"status"}}`, `{"redirect":{"port":8080}}`
	firewalld := []string{and(when("in", status, 32), accept), drop}
	masked := when("!=", `{"&":[`+status+`,32]}`, 0)
	for what, test := range map[string]struct {
		rules []string
		ct    CT
		nat   []string
		want  decision
	}{
		"new":                          {firewalld, New, nil, sure(2)},
		"by name":                      {[]string{and(when("in", status, "dnat"), accept), drop}, New, nil, sure(2)},
		"under a mask":                 {[]string{and(masked, accept), drop}, New, nil, sure(2)},
		"not redirected":               {[]string{and(when("!", status, 32), drop)}, New, nil, sure(1)},
		"established":                  {firewalld, Established, nil, perhaps(2)},
		"nobody knows":                 {firewalld, 0, nil, perhaps(2)},
		"a rule may have":              {firewalld, New, []string{redirect}, perhaps(2)},
		"a chain of NAT, but no rule":  {firewalld, New, []string{`{"masquerade":null}`}, sure(2)},
		"another status":               {[]string{and(when("in", status, 16), accept), drop}, New, nil, perhaps(2)},
		"one of two":                   {[]string{and(when("in", status, list(16, 32)), accept), drop}, New, nil, perhaps(2)},
		"exactly that":                 {[]string{and(when("!=", status, 32), accept), drop}, New, nil, perhaps(2)},
		"whatever else the status has": {[]string{and(when("==", status, 0), accept), drop}, New, nil, perhaps(2)},
	} {
		t.Run(what, func(t *testing.T) {
			s := table(t, "accept", test.rules...)
			if test.nat != nil {
				at(t, s, "prerouting", "nat", -100, test.nat...)
			}
			test.want.check(t, Of(s).Evaluate(tracked(test.ct)))
		})
	}
	legacy := saved("ACCEPT", "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT", "-j DROP")
	if o := Of(legacy).Evaluate(tracked(New)); o.Rule == nil || o.Rule.Number != 2 {
		t.Errorf("iptables: %+v", o)
	}
	legacy.IPTables = append(legacy.IPTables, host.IPTables{Backend: "iptables-legacy", Table: "nat", Chains: []host.IPTablesChain{
		{Name: "PREROUTING", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: []string{"-j", "DNAT", "--to-destination", "10.0.0.1"}}}},
	}})
	if o := Of(legacy).Evaluate(tracked(New)); o.Rule != nil || len(o.Candidates) != 1 {
		t.Errorf("iptables, with DNAT: %+v", o)
	}
}
