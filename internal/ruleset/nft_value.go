package ruleset

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// statement is an expression of a rule, unpacked.
type statement struct {
	text json.RawMessage
	name string
	body json.RawMessage
	// compared is what match, or vmap, has in it; nil if that can't be read.
	compared *comparison
	// joined are the matches behind it that nft may have made one of with it, see join.
	joined []*comparison
	// writes is the field that it writes; computes are what it has to compute for that, or for a translation.
	writes   *left
	computes []expression
}

// computing are the statements that compute what they write, or translate to.
var computing = []string{"mangle", "dnat", "snat", "redirect", "masquerade", "tproxy", "fwd"}

// comparison is {"op": "==", "left": …, "right": …}; a verdict map's key and data.
type comparison struct {
	op    string
	left  left
	right value
}

// unpack has one expression of a rule.
func unpack(raw json.RawMessage) *statement {
	s := &statement{text: raw}
	s.name, s.body = only(raw)
	var x struct {
		Op                                        string
		Left, Right, Key, Data, Value, Addr, Port json.RawMessage
	}
	switch {
	case slices.Contains(computing, s.name) && json.Unmarshal(s.body, &x) == nil:
		if s.name == "mangle" {
			to := leftOf(x.Key)
			s.writes = &to
		}
		for _, raw := range []json.RawMessage{x.Value, x.Addr, x.Port} {
			if raw != nil {
				s.computes = append(s.computes, expressionOf(raw))
			}
		}
	case s.name == "match":
		s.compared = comparisonOf(s.body, "left", "right")
	case s.name == "vmap":
		s.compared = comparisonOf(s.body, "key", "data")
	}
	return s
}

// comparisonOf is what a body compares under those names; nil if it is none.
func comparisonOf(body json.RawMessage, left, right string) *comparison {
	c := new(comparison)
	if !eachMember(body, func(name string, value json.RawMessage) bool {
		switch name {
		case "op":
			c.op = text(value)
		case left:
			c.left = leftOf(value)
		case right:
			c.right = valueOf(value, false)
		}
		return true
	}) {
		return nil
	}
	return c
}

// what names a statement, and what it reads of the packet.
func (s *statement) what() string {
	if s.compared == nil {
		return s.name
	}
	return strings.TrimSpace(s.name + " " + s.compared.left.what())
}

// left is what an expression reads of the packet.
type left struct {
	name                         string
	protocol, field, key, result string
	flags                        []string
	// parts are those of a concatenation; under a mask there is one, and the mask.
	parts []left
	mask  *value
}

func (l left) what() string {
	words := []string{l.name}
	for _, w := range []string{l.protocol, l.field, l.key, l.result} {
		if w != "" {
			words = append(words, w)
		}
	}
	for _, p := range l.parts {
		words = append(words, "("+p.what()+")")
	}
	return strings.Join(words, " ")
}

func leftOf(raw json.RawMessage) (l left) {
	name, body := only(raw)
	l.name = name
	switch name {
	case "concat":
		for _, p := range listed(body) {
			l.parts = append(l.parts, leftOf(p))
		}
	case "&":
		if of, mask, ok := pair(body); ok {
			m := valueOf(mask, false)
			l.parts, l.mask = []left{leftOf(of)}, &m
		}
	default:
		eachMember(body, func(name string, value json.RawMessage) bool {
			switch name {
			case "protocol":
				l.protocol = text(value)
			case "field":
				l.field = text(value)
			case "key":
				l.key = text(value)
			case "result":
				l.result = text(value)
			case "flags":
				_ = json.Unmarshal(value, &l.flags)
			}
			return true
		})
	}
	return l
}

// shape is how a value is written.
type shape uint8

const (
	// plain is a word or a number.
	plain shape = iota
	// several are any of a list, united all of it.
	several
	united
	concat
	between
	prefix
	// among is a set.
	among
	// unclear is what nobody here knows.
	unclear
)

// value is what a field is compared with.
type value struct {
	shape shape
	// isNumber: it is written as a number; reads: its word is one; isBool: it says whether there is such a field.
	isNumber, reads, isBool, exists bool
	// length is a prefix's.
	length int16
	number uint64
	word   string
	addr   netip.Addr
	// list are a list's values, a concatenation's, or the two ends of a range.
	list []value
	// set is one that is written in the rule, or the name of one: see Ruleset.set.
	set *set
}

// valueOf unpacks a value. In a set there is no other set.
func valueOf(raw json.RawMessage, inSet bool) (v value) {
	switch first(raw) {
	case '{':
		return objectOf(raw, inSet)
	case '[', 'n':
		return value{shape: several, list: valuesOf(listed(raw), inSet)}
	}
	v.word = text(raw)
	if name, ok := strings.CutPrefix(v.word, "@"); ok {
		if inSet || name == "" {
			return value{shape: unclear}
		}
		return value{shape: among, set: &set{name: name}}
	}
	if first(raw) != '"' {
		n, err := strconv.ParseUint(v.word, 10, 64)
		v.number, v.isNumber = n, err == nil
		v.isBool, v.exists = v.word == "true" || v.word == "false", v.word == "true"
	}
	if !v.isNumber {
		n, err := strconv.ParseUint(v.word, 0, 64)
		v.number, v.reads = n, err == nil
	}
	v.addr, _ = netip.ParseAddr(v.word)
	return v
}

func valuesOf(list []json.RawMessage, inSet bool) []value {
	all := make([]value, len(list))
	for i, raw := range list {
		all[i] = valueOf(raw, inSet)
	}
	return all
}

func objectOf(raw json.RawMessage, inSet bool) value {
	name, body := only(raw)
	switch name {
	case "set":
		if !inSet {
			return value{shape: among, set: &set{text: body, known: true}}
		}
	case "range":
		from, to, ok := pair(body)
		if first, last := valueOf(from, inSet), valueOf(to, inSet); ok && !first.behind(last) {
			return value{shape: between, list: []value{first, last}}
		}
	case "concat", "|":
		if first(body) == '[' {
			return value{shape: map[string]shape{"concat": concat, "|": united}[name], list: valuesOf(listed(body), inSet)}
		}
	case "prefix":
		var p struct {
			Addr string
			Len  int
		}
		if json.Unmarshal(body, &p) != nil {
			break
		}
		if addr, err := netip.ParseAddr(p.Addr); err == nil {
			return value{shape: prefix, addr: addr, length: int16(max(-1, min(p.Len, 129)))}
		}
	}
	return value{shape: unclear}
}

// behind reports whether it cannot begin a range that ends there: nft (1.0.6) lists ip id < 50 ip ttl > 20 as ip ttl != 50-20.
func (v value) behind(end value) bool {
	if v.addr.IsValid() && end.addr.IsValid() {
		return end.addr.Less(v.addr)
	}
	return v.isNumber && end.isNumber && v.number > end.number
}

// value is a number, a name, or several of them or-ed.
func (f field) value(v *value) (n uint64, ok bool) {
	switch v.shape {
	case plain:
	case several, united:
		for i := range v.list {
			one, ok := f.value(&v.list[i])
			if !ok {
				return 0, false
			}
			n |= one
		}
		return n, len(v.list) > 0
	default:
		return 0, false
	}
	if v.isNumber {
		return v.number, true
	}
	if n, ok = f.names[strings.ToLower(v.word)]; ok {
		return n, true
	}
	return v.number, v.reads
}

// is compares with a word or a number: a name, an address, a device with a wildcard, united.
func (f field) is(v *value, in bool) match {
	n, isNumber := f.value(v)
	switch {
	case v.isBool:
		return is(v.exists == (f.number != 0))
	case f.addr.IsValid():
		if !v.addr.IsValid() {
			return may
		}
		return is(v.addr == f.addr)
	case f.text && !isNumber:
		if stem, ok := strings.CutSuffix(v.word, "*"); ok {
			return is(strings.HasPrefix(f.name, stem))
		}
		return is(v.word == f.name)
	case f.text && f.names == nil, !isNumber:
		return may
	case in && f.vague():
		return may
	case in:
		return is(f.number&n != 0)
	}
	return f.possible().span(n, n).or(is(f.also != 0 && f.also == n))
}

func (f field) above(from *value) match {
	return f.bound(from, func(c int) bool { return c >= 0 })
}

func (f field) below(to *value) match {
	return f.bound(to, func(c int) bool { return c <= 0 })
}

func (f field) bound(v *value, holds func(int) bool) match {
	if f.addr.IsValid() {
		if v.shape != plain || !v.addr.IsValid() {
			return may
		}
		return is(holds(f.addr.Compare(v.addr)))
	}
	n, ok := f.value(v)
	switch {
	case !ok || f.text:
		return may
	}
	return f.possible().compared(func(x uint64) bool { return holds(cmp.Compare(x, n)) }, n)
}

func (f field) within(v *value) match {
	if !f.addr.IsValid() {
		return may
	}
	return is(netip.PrefixFrom(v.addr, int(v.length)).Contains(f.addr))
}
