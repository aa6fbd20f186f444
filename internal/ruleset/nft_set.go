package ruleset

import (
	"encoding/json"
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// set are the elements that a match or a verdict map has.
type set struct {
	// name is empty if the set is written in the rule.
	name     string
	elements []element
	// known: its elements could be read. volatile: they come and go with time, or with packets.
	known, volatile bool
}

// element is one of them. sure is may if the element itself has a limit, or was about to expire.
type element struct {
	key, value json.RawMessage
	sure       match
}

// any reports whether it is there for what is in no other element.
func (el element) any() bool { return string(el.key) == `"*"` }

// inOrder has that element last.
func (s set) inOrder() []element {
	all := slices.Clone(s.elements)
	slices.SortStableFunc(all, func(a, b element) int {
		switch {
		case a.any() == b.any():
			return 0
		case a.any():
			return 1
		}
		return -1
	})
	return all
}

// elements are those of a set that is written in the rule, or has a name.
func (e *evaluation) elements(t *host.NftTable, data json.RawMessage) (s set) {
	var list []json.RawMessage
	var anonymous struct{ Set json.RawMessage }
	if json.Unmarshal(data, &s.name) == nil {
		s.name = strings.TrimPrefix(s.name, "@")
		i := slices.IndexFunc(t.Sets, func(x host.NftSet) bool { return x.Name == s.name })
		if i < 0 {
			return s
		}
		s.volatile = slices.Contains(t.Sets[i].Flags, "timeout") || slices.Contains(t.Sets[i].Flags, "dynamic") || e.written(t, s.name)
		s.known = t.Sets[i].Elem == nil || json.Unmarshal(t.Sets[i].Elem, &list) == nil
	} else if json.Unmarshal(data, &anonymous) == nil && anonymous.Set != nil {
		s.known = true
		if json.Unmarshal(anonymous.Set, &list) != nil {
			list = []json.RawMessage{anonymous.Set}
		}
	}
	for _, raw := range list {
		el := element{key: raw, sure: yes}
		if key, value, ok := pair(raw); ok {
			el.key, el.value = key, value
		}
		el.key, el.sure = unwrapped(el.key)
		if s.volatile {
			el.sure = may
		}
		s.elements = append(s.elements, el)
	}
	return s
}

// unwrapped is the key of {"elem": {"val": …, "comment": …}}: what else than words and counters is in it may hold it up.
func unwrapped(key json.RawMessage) (json.RawMessage, match) {
	name, body := only(key)
	if name != "elem" {
		return key, yes
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || members["val"] == nil {
		return key, may
	}
	sure := yes
	for member := range members {
		if !slices.Contains([]string{"val", "comment", "counter", "last"}, member) {
			sure = may
		}
	}
	return members["val"], sure
}

// written reports whether a rule of the table adds to the set, or takes from it.
func (e *evaluation) written(t *host.NftTable, set string) bool {
	if e.writes == nil {
		e.writes = map[*host.NftTable][]string{}
	}
	names, done := e.writes[t]
	if !done {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, raw := range r.Exprs {
					names = append(names, writes(raw)...)
				}
			}
		}
		e.writes[t] = names
	}
	return slices.Contains(names, set)
}

func writes(raw json.RawMessage) []string {
	name, body := only(raw)
	if name != "set" && name != "map" && name != "meter" {
		return nil
	}
	var to struct {
		Set, Name string
		Map       json.RawMessage
	}
	_ = json.Unmarshal(body, &to)
	return []string{strings.TrimPrefix(to.Set, "@"), to.Name, strings.TrimPrefix(text(to.Map), "@")}
}

// only is the one member of an object: its name and its value.
func only(raw json.RawMessage) (name string, body json.RawMessage) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		_ = json.Unmarshal(raw, &name)
		return name, nil
	}
	if len(object) != 1 {
		return "", nil
	}
	for name, body = range object {
		return name, body
	}
	return "", nil
}

func pair(raw json.RawMessage) (key, value json.RawMessage, ok bool) {
	var two []json.RawMessage
	if json.Unmarshal(raw, &two) != nil || len(two) != 2 {
		return nil, nil, false
	}
	return two[0], two[1], true
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// written is a key as nft takes it: 80-90, 10.0.0.0/8, 10.99.0.1 . 80.
func written(key json.RawMessage) string {
	name, body := only(key)
	switch name {
	case "range":
		if from, to, ok := pair(body); ok {
			return written(from) + "-" + written(to)
		}
	case "prefix":
		var p struct {
			Addr json.RawMessage
			Len  json.Number
		}
		if json.Unmarshal(body, &p) == nil {
			return text(p.Addr) + "/" + p.Len.String()
		}
	case "concat":
		var parts []json.RawMessage
		if json.Unmarshal(body, &parts) == nil {
			words := make([]string, len(parts))
			for i, p := range parts {
				words[i] = written(p)
			}
			return strings.Join(words, " . ")
		}
	}
	return text(key)
}
