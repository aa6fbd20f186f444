package doctor

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSourcesOfRulesAreFound(t *testing.T) {
	sets := map[string]json.RawMessage{"s": json.RawMessage(`[{"elem":{"val":"192.0.2.7","timeout":60}}]`), "none": nil}
	match := func(op, field, right string) json.RawMessage {
		return json.RawMessage(`{"match":{"op":"` + op + `","left":{"payload":{"protocol":"ip","field":"` + field + `"}},"right":` + right + `}}`)
	}
	for what, test := range map[string]struct {
		e    json.RawMessage
		want string
	}{
		"an address":             {match("==", "saddr", `"192.0.2.1"`), "192.0.2.1/32"},
		"a network":              {match("==", "saddr", `{"prefix":{"addr":"192.0.2.0","len":24}}`), "192.0.2.0/24"},
		"a range":                {match("==", "saddr", `{"range":["192.0.2.4","192.0.2.9"]}`), "192.0.2.4/32"},
		"several":                {match("==", "saddr", `{"set":[{"prefix":{"addr":"192.0.2.0","len":25}},"192.0.2.200"]}`), "192.0.2.0/25"},
		"a set with timeouts":    {match("==", "saddr", `"@s"`), "192.0.2.7/32"},
		"a set that is not read": {match("==", "saddr", `"@none"`), ""},
		"all others":             {match("!=", "saddr", `"192.0.2.1"`), ""},
		"a destination":          {match("==", "daddr", `"192.0.2.1"`), ""},
		"foreign text":           {match("==", "saddr", `{"prefix":{"addr":"saddr","len":999}}`), ""},
		"a length that is none":  {match("==", "saddr", `{"prefix":{"addr":"192.0.2.1","len":999}}`), ""},
		"no JSON":                {json.RawMessage(`"saddr`), ""},
	} {
		got, ok := sourceOfNft(test.e, sets)
		if ok != (test.want != "") || ok && got.String() != test.want {
			t.Errorf("%s: %v, %v", what, got, ok)
		}
	}
	for rule, want := range map[string]string{
		"-s 192.0.2.0/24 -p 4 -j ACCEPT":   "192.0.2.0/24",
		"-s 192.0.2.0/24 -j trusted":       "192.0.2.0/24",
		"-s 192.0.2.0/24 -j DROP":          "",
		"! -s 192.0.2.0/24 -j ACCEPT":      "",
		"-d 192.0.2.1/32 -p tcp -j ACCEPT": "",
	} {
		got, ok := sourceOfIPTables(strings.Fields(rule))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v, %v", rule, got, ok)
		}
	}
}
