package ruleset

import (
	"slices"

	"ipiptrace/internal/host"
)

// nftMatches says whether a packet matches a statement. Of several comparisons that may be one each must hold, or one.
func (e *evaluation) nftMatches(t *host.NftTable, s *statement) match {
	m := e.nftMatch(t, s.compared)
	one := m
	for _, c := range s.joined {
		next := e.nftMatch(t, c)
		m, one = m.and(next), one.or(next)
	}
	if m != one {
		return may
	}
	return m
}

// nftMatch says whether a packet matches. One that has no such field does not, whatever op says.
func (e *evaluation) nftMatch(t *host.NftTable, c *comparison) match {
	if c == nil {
		return may
	}
	m, there := may, true
	switch c.op {
	case "==", "!=", "in", "!":
		m, there = e.compare(t, &c.left, &c.right, c.op == "in" || c.op == "!")
	case "<", ">", "<=", ">=":
		m, there = e.order(c.op, &c.left, &c.right)
	}
	switch {
	case !there:
		return no
	case c.op == "!=", c.op == "!":
		return m.not()
	}
	return m
}

// compare is what "==" says: a value, a range, a prefix, a list or a set of them; with in, one of the bits.
// there is false if the packet has no such field.
func (e *evaluation) compare(t *host.NftTable, l *left, v *value, in bool) (m match, there bool) {
	switch l.name {
	case "concat":
		return e.concatenation(t, l, v)
	case "&":
		return e.masked(l, v)
	}
	f := e.left(l)
	switch {
	case f.none:
		return no, false
	case !f.known:
		if bits, ok := f.value(v); ok && in && bits != 0 && bits&^f.clear == 0 {
			return no, true
		}
		return may, true
	}
	return e.among(t, f, v, in), true
}

func (e *evaluation) among(t *host.NftTable, f field, v *value, in bool) (m match) {
	switch v.shape {
	case several:
		for i := range v.list {
			m = m.or(e.among(t, f, &v.list[i], in))
		}
		return m
	case among:
		return e.inSet(t, f, v.set)
	case between:
		return f.above(&v.list[0]).and(f.below(&v.list[1]))
	case prefix:
		return f.within(v)
	case unclear, concat:
		return may
	}
	return f.is(v, in)
}

// concatenation compares each part: ip daddr . tcp dport.
func (e *evaluation) concatenation(t *host.NftTable, l *left, v *value) (m match, there bool) {
	if len(l.parts) == 0 {
		return may, true
	}
	for i := range l.parts {
		if f := e.left(&l.parts[i]); f.none {
			return no, false
		}
	}
	if v.shape != among {
		return e.parts(t, l, v), true
	}
	s := e.rules.set(t, v.set)
	elements, ok := e.elements(s, ofAnything)
	if !ok || s.volatile {
		return may, true
	}
	for i := range elements.rest {
		el := &elements.rest[i]
		m = m.or(e.parts(t, l, &el.key).and(el.sure))
	}
	return m, true
}

// parts compares with one concatenation.
func (e *evaluation) parts(t *host.NftTable, l *left, v *value) match {
	if v.shape != concat || len(v.list) != len(l.parts) {
		return may
	}
	m := yes
	for i := range v.list {
		if part, _ := e.compare(t, &l.parts[i], &v.list[i], false); part < m {
			m = part
		}
	}
	return m
}

// masked compares what is left of a field under a mask: tcp flags & (fin|syn) == syn, ip frag-off & 0x1fff != 0.
func (e *evaluation) masked(l *left, right *value) (m match, there bool) {
	if len(l.parts) == 0 {
		return may, true
	}
	f := e.left(&l.parts[0])
	if f.known && f.addr.Is4() && l.mask.addr.Is4() && right.addr.Is4() {
		return is(asNumber(f.addr)&asNumber(l.mask.addr) == asNumber(right.addr)), true
	}
	bits, ok1 := f.value(l.mask)
	want, ok2 := f.value(right)
	switch {
	case f.none:
		return no, false
	case !ok1 || !ok2:
		return may, true
	case !f.known && bits&^f.clear == 0:
		return is(want == 0), true
	case f.fragment && bits == ipOffset && want == 0:
		return is(!e.p.Fragment), true
	case !f.known || f.vague():
		return may, true
	}
	return is(f.number&bits == want), true
}

// ipOffset is IP_OFFSET: the bits of an offset in ip frag-off.
const ipOffset = 0x1fff

func (e *evaluation) order(op string, l *left, right *value) (m match, there bool) {
	f := e.left(l)
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

// has reports whether all flags are there.
func has(flags []string, all ...string) bool {
	return !slices.ContainsFunc(all, func(f string) bool { return !slices.Contains(flags, f) })
}
