package diagnose

import (
	"encoding/json"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
	"ipiptrace/tracer/event"
)

func TestTheRuleThatQueuesIsNamed(t *testing.T) {
	const queue, several = `[{"queue":{"num":7}}]`, `[{"queue":{"num":{"range":[1,3]}}}]`
	limited := `[{"limit":{"rate":1,"per":"day"}},{"queue":{"num":7}}]`
	read := func(all ...host.Queue) func(*host.Snapshot) { return func(s *host.Snapshot) { s.Queues = all } }
	unread := func(s *host.Snapshot) {
		s.Unread = append(s.Unread, host.Unread{Part: host.PartQueues, Why: "not permitted"})
	}
	for what, test := range map[string]struct {
		s         *host.Snapshot
		certainty Certainty
		says, fix string
	}{
		"nobody reads it":                 {realServer(stateful(t, "accept", queue)), Observed, "to queue 7, and no program reads it", "nft delete rule inet f input handle 3"},
		"somebody reads another":          {realServer(stateful(t, "accept", queue), read(host.Queue{Number: 6})), Observed, "to queue 7, and no program reads it", "nft delete rule inet f input handle 3"},
		"none of several is read":         {realServer(stateful(t, "accept", several)), Observed, "one of the queues 1 to 3, and no program reads it", "nft delete rule inet f input handle 3"},
		"one of several is read":          {realServer(stateful(t, "accept", several), read(host.Queue{Number: 2})), Inferred, "no program reads some of them", ""},
		"all are read":                    {realServer(stateful(t, "accept", several), read(host.Queue{Number: 1}, host.Queue{Number: 2}, host.Queue{Number: 3})), Inferred, "a rule sends the packet to NF_QUEUE", ""},
		"it is full":                      {realServer(stateful(t, "accept", queue), read(host.Queue{Number: 7, Waiting: 1024, Full: 3})), Observed, "whose program is too slow", ""},
		"the program's socket is full":    {realServer(stateful(t, "accept", queue), read(host.Queue{Number: 7, Unsent: 3})), Observed, "whose program is too slow", ""},
		"it is read by now":               {realServer(stateful(t, "accept", queue), read(host.Queue{Number: 7})), Inferred, "a rule sends the packet to NF_QUEUE", ""},
		"who reads queues was not read":   {realServer(stateful(t, "accept", queue), unread), Inferred, "to queue 7, and it is not taken from there", "nft delete rule inet f input handle 3"},
		"a recording of before":           {realServer(stateful(t, "accept", queue), func(s *host.Snapshot) { s.Queues = nil }), Inferred, "who reads queues was not read", "nft delete rule inet f input handle 3"},
		"which of two rules is not known": {realServer(stateful(t, "accept", limited, queue)), Inferred, "one of 2 rules at the hook input hands the packet", ""},
		"no such rule":                    {realServer(), Inferred, "a rule sends the packet to NF_QUEUE", ""},
		"nothing was read":                {nil, Inferred, "a rule sends the packet to NF_QUEUE", ""},
	} {
		j := dropped("nf_queue", "NOT_SPECIFIED", "tunl0", false)
		j.Drop.NfHook = "input"
		c := Explain(j, test.s).Cause
		fix := ""
		for _, command := range c.Fix {
			fix += command.String()
		}
		if c.Code != "queue-drop" || c.Certainty != test.certainty || !strings.Contains(c.Summary, test.says) || fix != test.fix {
			t.Errorf("%s: %s %s: %s; fix %q", what, c.Code, c.Certainty, c.Summary, fix)
		}
	}
}

func TestAQueueThatIsNotThereIsNamed(t *testing.T) {
	for want, q := range map[string]ruleset.Queue{
		"no queue 7": {From: 7, To: 7, Known: true}, "none of the queues 1 to 3": {From: 1, To: 3, Known: true}, "no queue": {},
	} {
		if got := noQueue(q); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWhoSaysDropBehindAQueueIsNamed(t *testing.T) {
	const queue = `[{"queue":{"num":7}}]`
	later := func(exprs string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			var r host.NftRule
			if err := json.Unmarshal([]byte(`{"handle":9,"text":"as it is","exprs":`+exprs+`}`), &r); err != nil {
				t.Fatal(err)
			}
			c := host.NftChain{Name: "late", Hook: "input", Type: "filter", Policy: "accept", Priority: 10, Rules: []host.NftRule{r}}
			s.Nft = append(s.Nft, host.NftTable{Family: "inet", Name: "g", Chains: []host.NftChain{c}})
		}
	}
	const program = "or ended with the packet in it"
	for what, test := range map[string]struct {
		s          *host.Snapshot
		says, line string
		behind     bool
	}{
		"it reads the queue":        {realServer(stateful(t, "accept", queue), func(s *host.Snapshot) { s.Queues = []host.Queue{{Number: 7, Reader: 12}} }), "the rule with handle 3 in chain input of nft table inet f handed the packet to queue 7", "queue 7 is read by 12", false},
		"it is gone":                {realServer(stateful(t, "accept", queue)), "handed the packet to queue 7", "", false},
		"a chain behind it drops":   {realServer(stateful(t, "accept", queue), later(`[{"drop":null}]`)), "or, behind it, the rule with handle 9 in chain late of nft table inet g drops it", "as it is", true},
		"another packet's":          {realServer(stateful(t, "accept", queue), later(`[{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":80}},{"drop":null}]`)), "handed the packet to queue 7", "", false},
		"the rules were not read":   {realServer(func(s *host.Snapshot) { s.Unread = []host.Unread{{Part: host.PartNft, Why: "no nft"}} }), "or a chain behind the queue's rule", "", true},
		"the state was not read":    {nil, "or a chain behind the queue's rule", "", true},
		"there is no rule any more": {realServer(), "or a chain behind the queue's rule", "", true},
	} {
		j := dropped("nf_reinject", "NOT_SPECIFIED", "tunl0", false)
		j.Steps = append(j.Steps, journey.Step{Place: event.NfHookSlow, NfHook: "input", Verdict: "stolen", Dev: "tunl0", Netns: here})
		c := Explain(j, test.s).Cause
		if c.Code != "queue-verdict" || c.Certainty != Inferred || !strings.Contains(c.Summary, test.says) || !strings.Contains(c.Summary, program) || len(c.Fix) > 0 {
			t.Errorf("%s: %s %s: %s; fix %v", what, c.Code, c.Certainty, c.Summary, c.Fix)
		}
		if strings.Contains(c.Summary, "behind") != test.behind || !strings.Contains(strings.Join(c.Evidence, "\n"), test.line) {
			t.Errorf("%s: %s; %q", what, c.Summary, c.Evidence)
		}
	}
}
