package ruleset

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// set are the elements that a match or a verdict map has.
type set struct {
	// name is empty if the set is written in the rule.
	name string
	// text has all elements.
	text json.RawMessage
	// known: its elements could be read. volatile: they come and go with time, or with packets.
	known, volatile bool
	// by are its elements as fields of a sort are compared with them.
	by [sorts]*elements
}

// sort is what fields are alike.
type sort uint8

const (
	// ofAnything is a name, several fields, or a number that is not known exactly.
	ofAnything sort = iota
	// ofAddress is an IPv4 address, ofNumber a number.
	ofAddress
	ofNumber
	sorts
)

func (f field) sort() sort {
	switch {
	case f.addr.Is4():
		return ofAddress
	case f.addr.IsValid(), f.text, f.also != 0, f.vague():
		return ofAnything
	}
	return ofNumber
}

// elements are a set's. What can be ordered is in spans, and looked for by halves; the rest is compared one by one, in
// the order in which it is asked.
type elements struct {
	spans []stretch
	rest  []element
}

// stretch is a range of numbers, or of addresses as numbers, both ends within.
type stretch struct{ from, to uint64 }

// element is one of them. sure is may if the element itself has a limit, or was about to expire. raw is its key as nft has it.
type element struct {
	key        value
	sure       match
	raw, value json.RawMessage
}

// any reports whether the element is for keys that are in no other.
func (el *element) any() bool { return el.key.shape == plain && el.key.word == "*" }

func elementOf(raw json.RawMessage) element {
	el := element{raw: raw}
	if key, value, ok := pair(raw); ok {
		el.raw, el.value = key, value
	}
	el.raw, el.sure = unwrapped(el.raw)
	el.key = valueOf(el.raw, true)
	return el
}

// span is the element as one; ok is false if it is none, or not for certain.
func (el *element) span(of sort) (s stretch, ok bool) {
	ends := [2]*value{&el.key, &el.key}
	v := &el.key
	switch {
	case of == ofAnything || el.sure != yes:
		return s, false
	case v.shape == prefix && of == ofAddress && v.addr.Is4() && v.length >= 0 && v.length <= 32:
		rest := uint64(1)<<(32-v.length) - 1
		from := asNumber(v.addr) &^ rest
		return stretch{from, from | rest}, true
	case v.shape == between:
		ends = [2]*value{&v.list[0], &v.list[1]}
	}
	for i, end := range ends {
		n := end.number
		switch {
		case end.shape != plain || end.isBool:
			return s, false
		case of == ofAddress && end.addr.Is4():
			n = asNumber(end.addr)
		case of == ofAddress || !end.isNumber:
			return s, false
		}
		if i == 0 {
			s.from = n
		}
		s.to = n
	}
	return s, true
}

func asNumber(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:]))
}

// unpackElements has the elements of a list, or the one that is no list.
func unpackElements(raw json.RawMessage, of sort) *elements {
	all := new(elements)
	var last []element
	eachOf(raw, func(one json.RawMessage) {
		el := elementOf(one)
		if s, ok := el.span(of); ok {
			all.spans = append(all.spans, s)
		} else if el.any() {
			last = append(last, el)
		} else {
			all.rest = append(all.rest, el)
		}
	})
	all.rest = append(all.rest, last...)
	slices.SortFunc(all.spans, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	joined := all.spans[:0]
	for _, s := range all.spans {
		switch n := len(joined); {
		case s.from > s.to:
		case n > 0 && s.from <= joined[n-1].to:
			joined[n-1].to = max(joined[n-1].to, s.to)
		default:
			joined = append(joined, s)
		}
	}
	all.spans = slices.Clip(joined)
	return all
}

// has reports whether the number is in one of the spans.
func (all *elements) has(n uint64) bool {
	i, _ := slices.BinarySearchFunc(all.spans, n, func(s stretch, n uint64) int {
		if s.to < n {
			return -1
		}
		return 1
	})
	return i < len(all.spans) && all.spans[i].from <= n
}

// inSet says whether a field is in the set.
func (e *evaluation) inSet(t *host.NftTable, f field, s *set) (m match) {
	of := f.sort()
	s = e.rules.set(t, s)
	all, ok := e.elements(s, of)
	n := f.number
	if of == ofAddress {
		n = asNumber(f.addr)
	}
	switch {
	case !ok || s.volatile:
		return may
	case all.has(n):
		return yes
	}
	for i := range all.rest {
		m = m.or(e.among(t, f, &all.rest[i].key, false).and(all.rest[i].sure))
	}
	return m
}

// maxLooked bounds the elements that are looked at one by one for one packet; what is behind that is not known. One
// that has to be unpacked each time counts for many.
const (
	maxLooked    = 1 << 20
	unpackLooked = 64
)

// elements are those of a set; ok is false if they are not known.
func (e *evaluation) elements(s *set, of sort) (all *elements, ok bool) {
	if e.looked > maxLooked || !s.known {
		return nil, false
	}
	all, kept := e.rules.elements(s, of)
	if e.looked += len(all.rest); !kept {
		e.looked += unpackLooked * (len(all.rest) + len(all.spans))
	}
	return all, true
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
