package ruleset

import (
	"testing"

	"ipiptrace/internal/host"
)

const (
	queue7  = `{"queue":{"num":7}}`
	bypass7 = `{"queue":{"num":7,"flags":"bypass"}}`
	queue13 = `{"queue":{"num":{"range":[1,3]},"flags":["bypass","fanout"]}}`
)

func TestTheRuleThatQueuesIsFound(t *testing.T) {
	for what, test := range map[string]struct {
		rules []string
		want  decision
		queue Queue
	}{
		"none does":                         {[]string{drop}, decision{}, Queue{}},
		"one does":                          {[]string{and(toVIP, queue7)}, decision{handle: 1}, Queue{From: 7, To: 7, Known: true}},
		"one does for others":               {[]string{and(onEth0, queue7)}, decision{}, Queue{}},
		"the packet is accepted before":     {[]string{and(toVIP, accept), queue7}, decision{}, Queue{}},
		"it is dropped before":              {[]string{and(toVIP, drop), queue7}, decision{}, Queue{}},
		"the first that does":               {[]string{and(to80, queue13), queue7}, decision{handle: 1}, Queue{From: 1, To: 3, Known: true, Bypass: true}},
		"one that may, and one":             {[]string{and(limit, queue7), queue7}, decision{candidates: []uint64{1, 2}}, Queue{}},
		"an expression says to which queue": {[]string{`{"queue":{"num":{"jhash":{"mod":4,"expr":{"meta":{"key":"mark"}}}}}}`}, decision{handle: 1}, Queue{}},
		"of a verdict map":                  {[]string{vmap(tcp("dport"), `{"set":[[80,{"queue":{"num":7}}]]}`)}, decision{handle: 1}, Queue{From: 7, To: 7, Known: true}},
	} {
		t.Run(what, func(t *testing.T) {
			s := table(t, "accept", test.rules...)
			s.Queues = []host.Queue{{Number: 2}, {Number: 7}}
			o := Of(s).Queues(packet("input"))
			test.want.check(t, o)
			if o.Rule != nil && *o.Rule.Queue != test.queue {
				t.Errorf("%+v, want %+v", *o.Rule.Queue, test.queue)
			}
		})
	}
}

func TestIPTablesQueuesAreRead(t *testing.T) {
	for rule, want := range map[string]Queue{
		"-p tcp -j NFQUEUE --queue-num 5":               {From: 5, To: 5, Known: true},
		"-j NFQUEUE --queue-balance 1:3 --queue-bypass": {From: 1, To: 3, Known: true, Bypass: true},
		"-j NFQUEUE --queue-balance 1":                  {From: 1, To: 1, Known: true},
		"-j NFQUEUE --queue-num x":                      {},
		"-j QUEUE":                                      {Known: true},
	} {
		s := saved("ACCEPT", "-p udp -j NFQUEUE --queue-num 9", rule)
		s.Queues = []host.Queue{{Number: 1}}
		if o := Of(s).Queues(packet("input")); o.Rule == nil || o.Rule.Number != 2 || *o.Rule.Queue != want {
			t.Errorf("%s: %+v", rule, o)
		}
	}
}

// TestWhatAProgramAcceptsMeetsTheNextChain, as does what a rule accepts whose queue nobody reads.
func TestWhatAProgramAcceptsMeetsTheNextChain(t *testing.T) {
	for what, test := range map[string]struct {
		rule   string
		queues []host.Queue
		want   decision
	}{
		"a program decides":               {queue7, []host.Queue{{Number: 7}}, decision{candidates: []uint64{8}}},
		"it may have begun since":         {queue7, nil, decision{candidates: []uint64{8}}},
		"nobody does, and it is bypassed": {bypass7, []host.Queue{}, decision{handle: 8}},
		"who does was not read":           {bypass7, nil, decision{candidates: []uint64{8}}},
		"another queue is read":           {bypass7, []host.Queue{{Number: 1}}, decision{handle: 8}},
		"one of several is read":          {queue13, []host.Queue{{Number: 1}}, decision{candidates: []uint64{8}}},
	} {
		t.Run(what, func(t *testing.T) {
			s := table(t, "accept", test.rule)
			s.Queues = test.queues
			s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "later", Chains: []host.NftChain{
				{Name: "c", Hook: "input", Priority: 10, Rules: []host.NftRule{{Handle: 8, Exprs: exprs(t, "["+drop+"]")}}},
			}})
			test.want.check(t, Of(s).Evaluate(packet("input")))
		})
	}
}
