package ruleset

import (
	"encoding/json"
	"slices"

	"ipiptrace/internal/host"
)

// expression is what a statement computes: what it writes, or where it translates to.
type expression struct {
	// op is one of an operation's "|", "&", "^", "<<", ">>", or "map", "number", "left" (what is read of the packet), or
	// empty: something else, that is always there.
	op     string
	of     []expression
	number uint64
	from   left
	table  comparison
}

func expressionOf(raw json.RawMessage) (x expression) {
	if first(raw) != '{' {
		if json.Unmarshal(raw, &x.number) == nil {
			x.op = "number"
		}
		return x
	}
	switch name, body := only(raw); name {
	case "|", "&", "^", "<<", ">>":
		var list []json.RawMessage
		_ = json.Unmarshal(body, &list)
		for _, one := range list {
			x.of = append(x.of, expressionOf(one))
		}
		x.op = name
	case "map":
		var m struct{ Key, Data json.RawMessage }
		if json.Unmarshal(body, &m) == nil {
			x.table = comparison{"", leftOf(m.Key), valueOf(m.Data, false)}
		}
		x.op = name
	case "prefix", "range", "set", "elem":
	default:
		x.op, x.from = "left", leftOf(raw)
	}
	return x
}

// operate does what an operation does with two of its operands, as the kernel does with 32 bits (nft_bitwise_eval).
func operate(op string, a, b uint64) uint64 {
	switch op {
	case "|":
		return a | b
	case "&":
		return a & b
	case "^":
		return a ^ b
	case "<<":
		return a << b & 0xffffffff
	}
	return a >> b
}

// compute is the number that an expression has; there says how surely it has any: a packet without the field, or with a
// key that is in no map, ends the rule (NFT_BREAK).
func (e *evaluation) compute(t *host.NftTable, x *expression) (n uint64, known bool, there match) {
	switch x.op {
	case "number":
		return x.number, true, yes
	case "map":
		return e.mapped(t, &x.table)
	case "left":
		f := e.left(&x.from)
		switch {
		case f.none:
			return 0, false, no
		case f.known:
			return f.number, !f.text && !f.addr.IsValid() && !f.vague(), yes
		case x.from.name == "meta" && slices.Contains(alwaysThere, x.from.key) || x.from.name == "payload" && x.from.protocol == "ip":
			return 0, false, yes
		}
		return 0, false, may
	}
	known, there = x.op != "", yes
	for i := range x.of {
		one, sure, m := e.compute(t, &x.of[i])
		if known, there = known && sure, there.and(m); i > 0 {
			one = operate(x.op, n, one)
		}
		n = one
	}
	return n, known && len(x.of) > 1, there
}

// alwaysThere are keys of meta that every packet has.
var alwaysThere = []string{"mark", "priority", "length", "cpu", "random", "protocol", "nfproto", "iif", "iifname", "oif", "oifname"}

// mapped is the number that a map has for the packet.
func (e *evaluation) mapped(t *host.NftTable, c *comparison) (n uint64, known bool, there match) {
	if c.right.shape != among {
		return 0, false, may
	}
	s := e.rules.set(t, c.right.set)
	elements, ok := e.elements(s, ofAnything)
	if !ok || s.volatile {
		return 0, false, may
	}
	for i := range elements.rest {
		el := &elements.rest[i]
		m, has := there.not(), true
		if !el.any() {
			m, has = e.compare(t, &c.left, &el.key, false)
		}
		if !has {
			return 0, false, no
		}
		m = m.and(el.sure)
		if there == no && m == yes {
			known = json.Unmarshal(el.value, &n) == nil
			return n, known, yes
		}
		there = there.or(m)
	}
	return 0, false, there
}
