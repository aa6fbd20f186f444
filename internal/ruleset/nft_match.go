package ruleset

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/host"
)

// nftMatch is {"op": "==", "left": …, "right": …}. A packet that has no such field does not match, whatever op says.
func (e *evaluation) nftMatch(t *host.NftTable, body json.RawMessage) match {
	var x struct {
		Op          string
		Left, Right json.RawMessage
	}
	if json.Unmarshal(body, &x) != nil {
		return may
	}
	m, there := may, true
	switch x.Op {
	case "==", "!=", "in", "!":
		m, there = e.compare(t, x.Left, x.Right, x.Op == "in" || x.Op == "!")
	case "<", ">", "<=", ">=":
		m, there = e.order(x.Op, x.Left, x.Right)
	}
	switch {
	case !there:
		return no
	case x.Op == "!=", x.Op == "!":
		return m.not()
	}
	return m
}

// compare is what "==" says: a value, a range, a prefix, a list or a set of them; with in, one of the bits.
// there is false if the packet has no such field.
func (e *evaluation) compare(t *host.NftTable, left, right json.RawMessage, in bool) (m match, there bool) {
	switch name, body := only(left); name {
	case "concat":
		return e.concatenation(t, body, right)
	case "&":
		return e.masked(body, right)
	}
	f := e.left(left)
	switch {
	case f.none:
		return no, false
	case !f.known:
		return may, true
	}
	return e.among(t, f, right, in), true
}

func (e *evaluation) among(t *host.NftTable, f field, right json.RawMessage, in bool) match {
	var list []json.RawMessage
	if json.Unmarshal(right, &list) == nil {
		m := no
		for _, el := range list {
			m = m.or(e.among(t, f, el, in))
		}
		return m
	}
	if name, body := only(right); strings.HasPrefix(text(right), "@") || name == "set" {
		s := e.elements(t, right)
		m := no
		for _, el := range s.elements {
			m = m.or(e.among(t, f, el.key, false).and(el.sure))
		}
		if !s.known || s.volatile {
			m = may
		}
		return m
	} else if name == "range" {
		from, to, ok := pair(body)
		if !ok {
			return may
		}
		return f.above(from).and(f.below(to))
	} else if name == "prefix" {
		return f.within(body)
	}
	return f.is(right, in)
}

// concatenation compares each part: ip daddr . tcp dport.
func (e *evaluation) concatenation(t *host.NftTable, left, right json.RawMessage) (m match, there bool) {
	var parts []json.RawMessage
	if json.Unmarshal(left, &parts) != nil {
		return may, true
	}
	s := set{known: true, elements: []element{{key: right, sure: yes}}}
	if name, _ := only(right); name == "set" || strings.HasPrefix(text(right), "@") {
		s = e.elements(t, right)
	}
	for _, p := range parts {
		if f := e.left(p); f.none {
			return no, false
		}
	}
	for _, el := range s.elements {
		name, body := only(el.key)
		var values []json.RawMessage
		if name != "concat" || json.Unmarshal(body, &values) != nil || len(values) != len(parts) {
			m = m.or(may)
			continue
		}
		one := el.sure
		for i, v := range values {
			part, _ := e.compare(t, parts[i], v, false)
			one = one.and(part)
		}
		m = m.or(one)
	}
	if !s.known || s.volatile {
		m = may
	}
	return m, true
}

// masked compares what is left of a field under a mask: tcp flags & (fin|syn) == syn, ip frag-off & 0x1fff != 0.
func (e *evaluation) masked(body, right json.RawMessage) (m match, there bool) {
	left, mask, ok := pair(body)
	if !ok {
		return may, true
	}
	f := e.left(left)
	bits, ok1 := f.value(mask)
	want, ok2 := f.value(right)
	switch {
	case f.none:
		return no, false
	case !ok1 || !ok2:
		return may, true
	case f.fragment && bits == ipOffset && want == 0:
		return is(!e.p.Fragment), true
	case !f.known:
		return may, true
	}
	return is(f.number&bits == want), true
}

// ipOffset is IP_OFFSET: the bits of an offset in ip frag-off.
const ipOffset = 0x1fff

func (e *evaluation) order(op string, left, right json.RawMessage) (m match, there bool) {
	f := e.left(left)
	switch {
	case f.none:
		return no, false
	case !f.known:
		return may, true
	}
	return f.bound(right, map[string]func(int) bool{
		"<": func(c int) bool { return c < 0 }, ">": func(c int) bool { return c > 0 },
		"<=": func(c int) bool { return c <= 0 }, ">=": func(c int) bool { return c >= 0 },
	}[op]), true
}

// is compares with a word or a number: a name, an address, a device with a wildcard, bits.
func (f field) is(right json.RawMessage, in bool) match {
	n, isNumber := f.value(right)
	word := text(right)
	var exists bool
	switch {
	case json.Unmarshal(right, &exists) == nil:
		return is(exists == (f.number != 0))
	case f.addr.IsValid():
		a, err := netip.ParseAddr(word)
		if err != nil {
			return may
		}
		return is(a == f.addr)
	case f.text && !isNumber:
		if stem, ok := strings.CutSuffix(word, "*"); ok {
			return is(strings.HasPrefix(f.name, stem))
		}
		return is(word == f.name)
	case f.text && f.names == nil, !isNumber:
		return may
	case in:
		return is(f.number&n != 0)
	}
	return is(f.number == n || f.also != 0 && f.also == n)
}

// value is a number, a name, or several of them or-ed.
func (f field) value(raw json.RawMessage) (n uint64, ok bool) {
	if json.Unmarshal(raw, &n) == nil {
		return n, true
	}
	var list []json.RawMessage
	if name, body := only(raw); name == "|" {
		raw = body
	}
	if json.Unmarshal(raw, &list) == nil {
		for _, el := range list {
			v, ok := f.value(el)
			if !ok {
				return 0, false
			}
			n |= v
		}
		return n, len(list) > 0
	}
	word := text(raw)
	if n, ok = f.names[strings.ToLower(word)]; ok {
		return n, ok
	}
	n, err := strconv.ParseUint(word, 0, 64)
	return n, err == nil
}

func (f field) above(from json.RawMessage) match {
	return f.bound(from, func(c int) bool { return c >= 0 })
}

func (f field) below(to json.RawMessage) match {
	return f.bound(to, func(c int) bool { return c <= 0 })
}

func (f field) bound(raw json.RawMessage, holds func(int) bool) match {
	if f.addr.IsValid() {
		a, err := netip.ParseAddr(text(raw))
		if err != nil {
			return may
		}
		return is(holds(f.addr.Compare(a)))
	}
	n, ok := f.value(raw)
	switch {
	case !ok || f.text:
		return may
	case f.number < n:
		return is(holds(-1))
	case f.number > n:
		return is(holds(1))
	}
	return is(holds(0))
}

func (f field) within(prefix json.RawMessage) match {
	var p struct {
		Addr string
		Len  int
	}
	if json.Unmarshal(prefix, &p) != nil || !f.addr.IsValid() {
		return may
	}
	a, err := netip.ParseAddr(p.Addr)
	if err != nil {
		return may
	}
	return is(netip.PrefixFrom(a, p.Len).Contains(f.addr))
}

// has reports whether all flags are there.
func has(flags []string, all ...string) bool {
	return !slices.ContainsFunc(all, func(f string) bool { return !slices.Contains(flags, f) })
}
