package ruleset

import (
	"encoding/json"
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
)

// TestRulesOfARPAreAsked has rules as nft lists them: of the operation by its name, or, with numbers, by the bytes of the packet.
func TestRulesOfARPAreAsked(t *testing.T) {
	match := func(op, field, value string) string {
		return `{"match":{"op":"` + op + `","left":{"payload":{"protocol":"arp","field":"` + field + `"}},"right":` + value + `}}`
	}
	sender, target := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.11")
	question := Packet{Hook: "input", IIF: "eth0", ARP: &ARP{Sender: sender, Target: target}}
	answer := Packet{Hook: "input", IIF: "eth0", ARP: &ARP{Answer: true, Sender: sender, Target: target}}
	asker := Packet{Hook: "input", IIF: "eth0", ARP: &ARP{Target: target}}
	for what, test := range map[string]struct {
		p     Packet
		exprs []string
		want  fate
	}{
		"an answer":              {answer, []string{match("==", "operation", `"reply"`)}, isDropped},
		"an answer, in numbers":  {answer, []string{match("==", "operation", `512`)}, isDropped},
		"no question":            {question, []string{match("==", "operation", `512`)}, comesIn},
		"one of a set":           {question, []string{match("==", "operation", `{"set":["request","reply"]}`)}, isDropped},
		"Ethernet and IPv4":      {question, []string{match("==", "htype", "1"), match("==", "ptype", `"ip"`), match("==", "hlen", "6"), match("==", "plen", "4")}, isDropped},
		"for an address":         {question, []string{match("==", "daddr ip", `"10.0.0.11"`)}, isDropped},
		"for another":            {question, []string{match("!=", "daddr ip", `{"prefix":{"addr":"10.0.0.0","len":24}}`)}, comesIn},
		"of a sender":            {question, []string{match("==", "saddr ip", `"10.0.0.1"`)}, isDropped},
		"of one who is unknown":  {asker, []string{match("==", "saddr ip", `"10.0.0.1"`)}, uncertainly},
		"of an Ethernet address": {question, []string{match("==", "saddr ether", `"02:00:00:00:00:01"`)}, uncertainly},
		"on a device":            {question, []string{`{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth0"}}`}, isDropped},
		"on another":             {question, []string{`{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth1"}}`}, comesIn},
		"by what it has not":     {question, []string{`{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":6}}`}, uncertainly},
	} {
		rule := host.NftRule{Handle: 2}
		for _, e := range append(test.exprs, `{"drop":null}`) {
			rule.Exprs = append(rule.Exprs, json.RawMessage(e))
		}
		chains := []host.NftChain{{Name: "input", Hook: "input", Policy: "accept", Rules: []host.NftRule{rule}}}
		s := &host.Snapshot{Nft: []host.NftTable{{Family: "arp", Name: "t", Chains: chains}, {Family: "ip", Name: "t", Chains: []host.NftChain{{Name: "input", Hook: "input", Policy: "drop"}}}}}
		o := Of(s).Evaluate(test.p)
		got := comesIn
		if o.Rule != nil {
			got = isDropped
		} else if len(o.Candidates) > 0 {
			got = uncertainly
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", what, got, test.want)
		}
	}
}

// fate is what becomes of a packet.
type fate string

const (
	comesIn     fate = "passes"
	uncertainly fate = "may be dropped"
	isDropped   fate = "dropped"
)
