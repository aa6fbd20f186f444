package ruleset

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

// when is a match in the form of libnftables-json(5).
func when(op, left string, right any) string {
	text, _ := json.Marshal(right)
	return fmt.Sprintf(`{"match":{"op":%q,"left":%s,"right":%s}}`, op, left, text)
}

func ip(field string) string { return fmt.Sprintf(`{"payload":{"protocol":"ip","field":%q}}`, field) }

func tcp(field string) string { return fmt.Sprintf(`{"payload":{"protocol":"tcp","field":%q}}`, field) }

func meta(key string) string { return fmt.Sprintf(`{"meta":{"key":%q}}`, key) }

func vmap(key, data string) string { return fmt.Sprintf(`{"vmap":{"key":%s,"data":%s}}`, key, data) }

func fib(result, flags string) string {
	return fmt.Sprintf(`{"fib":{"result":%q,"flags":[%s]}}`, result, flags)
}

// list is a set in a rule.
func list(elements ...any) map[string]any { return map[string]any{"set": elements} }

var (
	ctState = `{"ct":{"key":"state"}}`
	toVIP   = when("==", ip("daddr"), "10.99.0.1")
	to80    = when("==", tcp("dport"), 80)
	onEth0  = when("==", meta("iifname"), "eth0")
	marked  = when("==", meta("mark"), 7)
	limit   = `{"limit":{"rate":5,"burst":5,"per":"second","inv":true}}`
	mark7   = `{"mangle":{"key":{"meta":{"key":"mark"}},"value":7}}`
)

const (
	drop   = `{"drop":null}`
	accept = `{"accept":null}`
)

// and is a rule of several expressions.
func and(exprs ...string) (rule string) {
	for i, e := range exprs {
		if i > 0 {
			rule += ","
		}
		rule += e
	}
	return rule
}

// table is a table whose base chain at input has the rules, with handles from 1, and a chain "other" with the last one.
func table(t *testing.T, policy string, rules ...string) *host.Snapshot {
	t.Helper()
	c := host.NftChain{Name: "input", Hook: "input", Type: "filter", Policy: policy}
	for i, r := range rules {
		c.Rules = append(c.Rules, host.NftRule{Handle: uint64(i + 1), Exprs: exprs(t, "["+r+"]")})
	}
	other := host.NftChain{Name: "other", Rules: []host.NftRule{{Handle: 90, Exprs: exprs(t, "["+and(to80, drop)+"]")}}}
	passes := host.NftChain{Name: "passes", Rules: []host.NftRule{
		{Handle: 91, Exprs: exprs(t, "["+and(marked, `{"return":null}`)+"]")}, {Handle: 92, Exprs: exprs(t, `[{"counter":null}]`)},
	}}
	sets := []host.NftSet{
		{Name: "blocked", Elem: json.RawMessage(`[{"range":["10.0.0.4","10.0.0.9"]},{"prefix":{"addr":"192.0.2.0","len":24}}]`)},
		{Name: "said", Elem: json.RawMessage(`[{"elem":{"val":"10.0.0.7","comment":"x","counter":{"packets":0,"bytes":0}}}]`)},
		{Name: "expiring", Flags: []string{"timeout"}, Elem: json.RawMessage(`[{"elem":{"val":"10.0.0.7","timeout":3600,"expires":3599}}]`)},
		{Name: "services", Elem: json.RawMessage(`[[{"concat":[{"prefix":{"addr":"10.99.0.0","len":24}},{"range":[80,90]}]},{"drop":null}],["*",{"accept":null}]]`)},
		{Name: "fallback", Elem: json.RawMessage(`[[22,{"accept":null}],["*",{"drop":null}]]`)},
		{Name: "empty"},
	}
	return &host.Snapshot{
		Nft: []host.NftTable{{Family: "ip", Name: "t", Chains: []host.NftChain{c, other, passes}, Sets: sets}},
		Links: []host.Link{
			{Index: 1, Name: "lo"}, {Index: 2, Name: "eth0"}, {Index: 3, Name: "tunl0", Tunnel: &host.Tunnel{}},
		},
		Routes: []host.Route{
			{Table: 255, Dst: netip.MustParsePrefix("10.99.0.1/32"), Type: "local", Hops: []host.Hop{{Link: 3}}},
			{Table: 254, Dst: netip.MustParsePrefix("10.0.0.0/24"), Type: "unicast", Hops: []host.Hop{{Link: 2}}},
		},
		Rules: []host.Rule{{Action: "lookup", Table: 255, Suppress: -1}, {Priority: 32766, Action: "lookup", Table: 254, Suppress: -1}},
	}
}

// decision is what a test expects: the handle of the rule that drops for certain, or policy; else the candidates' handles.
type decision struct {
	handle     uint64
	policy     bool
	candidates []uint64
}

func (d decision) check(t *testing.T, o Outcome) {
	t.Helper()
	switch {
	case d.policy && (o.Rule == nil || o.Rule.Policy != "drop"):
		t.Errorf("got %+v, want the policy", o.Rule)
	case !d.policy && d.handle == 0 && o.Rule != nil:
		t.Errorf("got %+v, want none", *o.Rule)
	case d.handle != 0 && (o.Rule == nil || o.Rule.Handle != d.handle):
		t.Errorf("got %+v, want handle %d", o.Rule, d.handle)
	}
	var handles []uint64
	for _, c := range o.Candidates {
		handles = append(handles, c.Handle)
	}
	if !slices.Equal(handles, d.candidates) {
		t.Errorf("candidates %v, want %v", handles, d.candidates)
	}
}

// sure is the rule with that handle, perhaps are candidates.
func sure(handle uint64) decision        { return decision{handle: handle} }
func perhaps(handles ...uint64) decision { return decision{candidates: handles} }

var (
	nothing   = decision{}
	thePolicy = decision{policy: true}
)

func TestNftablesDecide(t *testing.T) {
	for what, test := range map[string]struct {
		rules []string
		want  decision
	}{
		"nothing":                       {nil, nothing},
		"a rule":                        {[]string{and(toVIP, to80, drop)}, sure(1)},
		"a rule for another device":     {[]string{and(onEth0, drop)}, nothing},
		"accepted before":               {[]string{and(to80, accept), drop}, nothing},
		"a mark that is not known":      {[]string{and(marked, drop)}, perhaps(1)},
		"a mark that a rule has set":    {[]string{mark7, and(marked, drop)}, sure(2)},
		"another mark":                  {[]string{mark7, and(when("==", meta("mark"), 8), drop)}, nothing},
		"a mark under a mask":           {[]string{mark7, and(when("!=", `{"&":[{"meta":{"key":"mark"}},4]}`, 0), drop)}, sure(2)},
		"a mark of a range":             {[]string{mark7, and(when("==", meta("mark"), map[string]any{"range": []int{1, 7}}), drop)}, sure(2)},
		"which of two is not known":     {[]string{and(marked, accept), and(to80, drop)}, perhaps(2)},
		"a rule behind one that may":    {[]string{and(marked, drop), and(to80, drop)}, perhaps(1, 2)},
		"jump":                          {[]string{`{"jump":{"target":"other"}}`}, sure(90)},
		"jump, and nothing there":       {[]string{`{"jump":{"target":"passes"}}`, drop}, sure(2)},
		"it may jump":                   {[]string{and(marked, `{"jump":{"target":"other"}}`), drop}, perhaps(90, 2)},
		"it may jump, nothing there":    {[]string{and(marked, `{"jump":{"target":"passes"}}`), drop}, sure(2)},
		"goto":                          {[]string{`{"goto":{"target":"other"}}`, accept}, sure(90)},
		"goto, and nothing there":       {[]string{`{"goto":{"target":"passes"}}`, drop}, nothing},
		"it may goto":                   {[]string{and(marked, `{"goto":{"target":"passes"}}`), drop}, perhaps(2)},
		"return":                        {[]string{`{"return":null}`, drop}, nothing},
		"it may return":                 {[]string{and(marked, `{"return":null}`), drop}, perhaps(2)},
		"a limit":                       {[]string{and(to80, limit, drop)}, perhaps(1)},
		"a limit in a set":              {[]string{and(`{"set":{"op":"add","elem":`+ip("saddr")+`,"set":"@dyn","stmt":[`+limit+`]}}`, drop)}, perhaps(1)},
		"how many connections":          {[]string{and(`{"ct count":{"val":20,"inv":true}}`, drop)}, perhaps(1)},
		"and what is behind it":         {[]string{and(`{"ct count":{"val":20,"inv":true}}`, accept), drop}, perhaps(1, 2)},
		"flags":                         {[]string{and(when("==", `{"&":[`+tcp("flags")+`,[1,2,4,16]]}`, 2), drop)}, sure(1)},
		"flags by name":                 {[]string{and(when("==", `{"&":[`+tcp("flags")+`,{"|":["fin","syn"]}]}`, "syn"), drop)}, sure(1)},
		"one flag of":                   {[]string{and(when("in", tcp("flags"), []int{2, 16}), drop)}, sure(1)},
		"no flag of":                    {[]string{and(when("!", tcp("flags"), []int{2, 16}), drop)}, nothing},
		"all flags":                     {[]string{and(when("==", tcp("flags"), 18), drop)}, nothing},
		"not these flags":               {[]string{and(when("!=", tcp("flags"), 18), drop)}, sure(1)},
		"no fragment":                   {[]string{and(when("!=", `{"&":[`+ip("frag-off")+`,8191]}`, 0), drop)}, nothing},
		"an expression nobody knows":    {[]string{and(`{"warp":{"factor":9}}`, drop)}, perhaps(1)},
		"a field nobody knows":          {[]string{and(when("==", meta("skuid"), 0), drop)}, perhaps(1)},
		"another key of conntrack":      {[]string{and(when("==", `{"ct":{"key":"mark"}}`, 5), drop)}, perhaps(1)},
		"a chain nobody knows":          {[]string{`{"jump":{"target":"gone"}}`, drop}, perhaps(2)},
		"an extension that is a match":  {[]string{and(`{"xt":{"type":"match","name":"string"}}`, drop)}, perhaps(1)},
		"an extension that rejects":     {[]string{and(to80, `{"xt":{"type":"target","name":"REJECT"}}`)}, sure(1)},
		"an extension that logs":        {[]string{`{"xt":{"type":"target","name":"LOG"}}`, and(to80, drop)}, sure(2)},
		"counters and logs say nothing": {[]string{and(`{"counter":{"packets":1,"bytes":2}}`, `{"log":null}`, drop)}, sure(1)},
		"for UDP":                       {[]string{and(when("==", `{"payload":{"protocol":"udp","field":"dport"}}`, 80), drop)}, nothing},
		"not for UDP, which it isn't":   {[]string{and(when("!=", `{"payload":{"protocol":"udp","field":"dport"}}`, 53), drop)}, nothing},
		"another port than":             {[]string{and(when("!=", tcp("dport"), 22), drop)}, sure(1)},
		"protocols":                     {[]string{and(when("==", meta("l4proto"), list(6, 17)), when("==", `{"payload":{"protocol":"th","field":"dport"}}`, 80), drop)}, sure(1)},
		"the family":                    {[]string{and(when("==", meta("nfproto"), 2), when("==", meta("protocol"), 8), drop)}, sure(1)},
		"another family":                {[]string{and(when("==", meta("nfproto"), "ipv6"), drop)}, nothing},
		"by index":                      {[]string{and(when("==", meta("iif"), "lo"), accept), and(when("!=", meta("iif"), "lo"), drop)}, sure(2)},
		"by a number":                   {[]string{and(when("==", meta("iif"), 3), drop)}, sure(1)},
		"by a wildcard":                 {[]string{and(when("==", meta("iifname"), list("eth0", "tun*")), drop)}, sure(1)},
		"no device it leaves by":        {[]string{and(when("!=", meta("oifname"), "eth0"), drop)}, sure(1)},
		"broadcasts":                    {[]string{and(when("==", meta("pkttype"), 1), drop)}, nothing},
		"a local destination":           {[]string{and(when("==", fib("type", `"daddr"`), 2), drop)}, sure(1)},
		"not a local destination":       {[]string{and(when("!=", fib("type", `"daddr"`), "local"), drop)}, nothing},
		"local on this device":          {[]string{and(when("==", fib("type", `"daddr","iif"`), 2), drop)}, sure(1)},
		"no way back by this device":    {[]string{and(when("==", fib("oif", `"saddr","iif"`), false), drop)}, sure(1)},
		"a way back by this device":     {[]string{and(when("==", fib("oif", `"saddr","iif"`), true), accept), drop}, sure(2)},
		"a way back":                    {[]string{and(when("==", fib("oifname", `"saddr"`), "eth0"), drop)}, sure(1)},
	} {
		t.Run(what, func(t *testing.T) {
			test.want.check(t, Of(table(t, "accept", test.rules...)).Evaluate(packet("input")))
		})
	}
}

func TestSetsDecide(t *testing.T) {
	saddr := func(op string, right any) string { return and(when(op, ip("saddr"), right), drop) }
	pair := `{"concat":[` + ip("daddr") + `,` + tcp("dport") + `]}`
	for what, test := range map[string]struct {
		rules []string
		want  decision
	}{
		"ranges":                       {[]string{saddr("==", "@blocked")}, sure(1)},
		"not in a set":                 {[]string{saddr("!=", "@blocked")}, nothing},
		"with a comment and a counter": {[]string{saddr("==", "@said")}, sure(1)},
		"an element that expires":      {[]string{saddr("==", "@expiring")}, perhaps(1)},
		"not in a set that changes":    {[]string{saddr("!=", "@expiring")}, perhaps(1)},
		"an empty set":                 {[]string{saddr("==", "@empty")}, nothing},
		"a set that rules fill":        {[]string{`{"set":{"op":"update","elem":` + ip("saddr") + `,"set":"@empty"}}`, saddr("==", "@empty")}, perhaps(2)},
		"a set that is not there":      {[]string{saddr("!=", "@gone")}, perhaps(1)},
		"a set in the rule":            {[]string{saddr("==", list("10.0.0.1", map[string]any{"range": []string{"10.0.0.5", "10.0.0.9"}}))}, sure(1)},
		"a prefix":                     {[]string{saddr("==", map[string]any{"prefix": map[string]any{"addr": "10.0.0.0", "len": 8}})}, sure(1)},
		"concatenation":                {[]string{and(when("==", pair, list(map[string]any{"concat": []any{"10.99.0.1", 80}})), drop)}, sure(1)},
		"another concatenation":        {[]string{and(when("==", pair, list(map[string]any{"concat": []any{"10.99.0.1", 81}})), drop)}, nothing},
		"verdict map":                  {[]string{vmap(tcp("dport"), `{"set":[[22,{"accept":null}],[80,{"drop":null}]]}`)}, sure(1)},
		"verdict map, a range":         {[]string{vmap(tcp("dport"), `{"set":[[22,{"jump":{"target":"other"}}],[{"range":[80,90]},{"drop":null}]]}`)}, sure(1)},
		"verdict map, other port":      {[]string{vmap(tcp("dport"), `{"set":[[22,{"drop":null}]]}`)}, nothing},
		"verdict map, behind it":       {[]string{vmap(tcp("dport"), `{"set":[[22,{"accept":null}]]}`), drop}, sure(2)},
		"verdict map, unknown key":     {[]string{vmap(meta("mark"), `{"set":[[1,{"accept":null}],[2,{"drop":null}],[3,{"jump":{"target":"other"}}]]}`)}, perhaps(1, 90)},
		"named map of concatenations":  {[]string{vmap(pair, `"@services"`)}, sure(1)},
		"what is in no other element":  {[]string{vmap(tcp("dport"), `"@fallback"`)}, sure(1)},
		"a map that is not there":      {[]string{vmap(tcp("dport"), `"@gone"`), accept}, perhaps(1)},
	} {
		t.Run(what, func(t *testing.T) {
			test.want.check(t, Of(table(t, "accept", test.rules...)).Evaluate(packet("input")))
		})
	}
	o := Of(table(t, "accept", vmap(pair, `"@services"`))).Evaluate(packet("input"))
	if o.Rule == nil || o.Rule.Set != "services" || o.Rule.Element != "10.99.0.0/24 . 80-90" {
		t.Errorf("the element is %+v", o.Rule)
	}
}
