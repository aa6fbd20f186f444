package ruleset

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// A ruleset of fifty thousand rules is unpacked level by level. encoding/json would check all that is within a level, and copy
// it, at each: these walks take the text as it lies. It is valid JSON, since it was cut out of some; of anything else they
// may take any part.

// eachMember hands on the members of an object until take says no. It reports whether it is one.
func eachMember(raw json.RawMessage, take func(name string, value json.RawMessage) bool) bool {
	at := space(raw, 0)
	if at == len(raw) || raw[at] != '{' {
		return false
	}
	for at = space(raw, at+1); at < len(raw) && raw[at] == '"'; {
		end := behind(raw, at)
		name := text(raw[at:end])
		if at = space(raw, end); at == len(raw) || raw[at] != ':' {
			return false
		}
		at = space(raw, at+1)
		end = behind(raw, at)
		if !take(name, raw[at:end]) {
			return true
		}
		if at = space(raw, end); at < len(raw) && raw[at] == ',' {
			at = space(raw, at+1)
		}
	}
	return true
}

// eachOf hands on the values of a list, or the one that is no list.
func eachOf(raw json.RawMessage, take func(json.RawMessage)) {
	at := space(raw, 0)
	switch {
	case at == len(raw) || raw[at] == 'n':
		return
	case raw[at] != '[':
		take(raw)
		return
	}
	for at = space(raw, at+1); at < len(raw) && raw[at] != ']'; {
		end := behind(raw, at)
		if end == at {
			return
		}
		take(raw[at:end])
		if at = space(raw, end); at < len(raw) && raw[at] == ',' {
			at = space(raw, at+1)
		}
	}
}

// space is where what is no space goes on.
func space(raw json.RawMessage, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\n' || raw[at] == '\t' || raw[at] == '\r') {
		at++
	}
	return at
}

// behind is where the value ends that begins there.
func behind(raw json.RawMessage, at int) int {
	for depth := 0; at < len(raw); at++ {
		switch raw[at] {
		case '"':
			for at++; at < len(raw) && raw[at] != '"'; at++ {
				if raw[at] == '\\' {
					at++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return at
			}
		case ',', ':', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return at
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return min(at+1, len(raw))
		}
	}
	return len(raw)
}

// text is what a string says; of anything else its own text.
func text(raw json.RawMessage) string {
	if c := first(raw); c != '"' && c != 'n' {
		return string(raw)
	}
	if n := len(raw); n >= 2 && raw[0] == '"' && raw[n-1] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : n-1])
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// only is the one member of an object: its name and its value.
func only(raw json.RawMessage) (name string, body json.RawMessage) {
	if first(raw) == '"' {
		return text(raw), nil
	}
	several := false
	eachMember(raw, func(member string, value json.RawMessage) bool {
		several = body != nil && member != name
		name, body = member, value
		return !several
	})
	if several {
		return "", nil
	}
	return name, body
}

// pair are the two values of a list that has no others.
func pair(raw json.RawMessage) (key, value json.RawMessage, ok bool) {
	if first(raw) != '[' {
		return nil, nil, false
	}
	n := 0
	eachOf(raw, func(one json.RawMessage) {
		key, value, n = value, one, n+1
	})
	return key, value, n == 2
}

// listed are the values of a list; none of what is no list.
func listed(raw json.RawMessage) (all []json.RawMessage) {
	if first(raw) != '[' {
		return nil
	}
	eachOf(raw, func(one json.RawMessage) { all = append(all, one) })
	return all
}

// first is the byte that says what a value is, 0 for none.
func first(raw json.RawMessage) byte {
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}
