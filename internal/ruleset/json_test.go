package ruleset

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzTextIsTakenAsJSONSays: the walks over JSON's text find the members and values that encoding/json finds, and of what is
// none they take anything, but come to an end.
func FuzzTextIsTakenAsJSONSays(f *testing.F) {
	for _, seed := range []string{
		`{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "12.0.0.1"}}`,
		`{"vmap":{"key":{"meta":{"key":"iifname"}},"data":{"set":[["a}]\"\\",{"drop":null}],["b",{"jump":{"target":"c"}}]]}}}`,
		"{ \"a\" :\t[ 1 , -2.5e3,true , null, \"\\u00e9\\n\" ] , \"b\" : { } }", `{"a":1,"a":2}`, `{"a":1,"b":2}`, `["x", ["y"]]`, `"@blocked"`, `"é"`, `80`, `null`, `true`,
		``, `{`, `{"a"`, `{"a":`, `{"a":}`, `[,`, `[]]`, `}`, `"\`, `["\`, `{"a":"`, `{1:2}`, `[1 2]`, `{"a" 1}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed string) {
		raw := json.RawMessage(seed)
		name, body := only(raw)
		_, _, two := pair(raw)
		all, members := listed(raw), map[string]json.RawMessage{}
		isObject := eachMember(raw, func(name string, value json.RawMessage) bool {
			members[name] = value
			return true
		})
		said := text(raw)
		if err := json.Unmarshal(raw, new(any)); err != nil || space(raw, 0) != 0 {
			return // values are cut out without the spaces before them
		}
		var object map[string]json.RawMessage
		if is := json.Unmarshal(raw, &object) == nil && object != nil; is != isObject || is && len(members) != len(object) {
			t.Fatalf("%s: members %v, want %v", raw, members, object)
		}
		for key, value := range object {
			if string(members[key]) != string(value) {
				t.Errorf("%s: %q is %s, want %s", raw, key, members[key], value)
			}
			if len(object) == 1 && (name != key || string(body) != string(value)) {
				t.Errorf("%s: only %q: %s", raw, name, body)
			}
		}
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) == nil && (len(list) != len(all) || len(all) > 0 && !reflect.DeepEqual(list, all) || two != (len(list) == 2)) {
			t.Errorf("%s: values %s, want %s", raw, all, list)
		}
		var word string
		if json.Unmarshal(raw, &word) == nil && said != word {
			t.Errorf("%s: says %q, want %q", raw, said, word)
		}
	})
}
