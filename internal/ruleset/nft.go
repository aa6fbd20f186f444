package ruleset

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// nftBases are the chains of a table that the packet's hook runs. What iptables-nft made is evaluated as iptables.
func (e *evaluation) nftBases(t *host.NftTable) (bases []base) {
	if t.Dormant || t.IPTables || t.Family != "ip" && t.Family != "inet" && t.Family != "netdev" {
		return nil
	}
	for i := range t.Chains {
		c := &t.Chains[i]
		if c.Hook != e.p.Hook || (c.Type == "nat") != e.nat {
			continue // nat chains drop nothing, and see the first packet of a connection only
		}
		if dev := e.device(c); len(c.Devices) > 0 && !slices.Contains(c.Devices, dev) {
			continue
		}
		priority := c.Priority
		if c.Hook == "ingress" {
			priority -= 1 << 16 // before all of IP's hooks
		}
		bases = append(bases, base{priority, func(e *evaluation) Verdict { return e.nftBase(t, c) }})
	}
	return bases
}

func (e *evaluation) device(c *host.NftChain) string {
	if c.Hook == "egress" {
		return e.p.OIF
	}
	return e.p.IIF
}

func (e *evaluation) nftBase(t *host.NftTable, c *host.NftChain) Verdict {
	switch v := e.nft(t, c); v {
	case Accept, Drop:
		return v
	}
	if c.Policy == "drop" {
		return e.drops(Rule{Backend: "nft", Family: t.Family, Table: t.Name, Chain: c.Name, Policy: "drop"}, yes)
	}
	return Accept
}

// nft runs a chain; Continue is its end, or a return.
func (e *evaluation) nft(t *host.NftTable, c *host.NftChain) Verdict {
	if e.depth++; e.depth > maxDepth {
		return Continue
	}
	defer func() { e.depth-- }()
	for i := range c.Rules {
		if v := e.nftRule(t, c, i); v == Return {
			return Continue
		} else if v != Continue {
			return v
		}
	}
	return Continue
}

// nftRule evaluates a rule's expressions in order.
func (e *evaluation) nftRule(t *host.NftTable, c *host.NftChain, i int) Verdict {
	r := &c.Rules[i]
	rule := Rule{Backend: "nft", Family: t.Family, Table: t.Name, Chain: c.Name, Handle: r.Handle, Number: i + 1, Text: r.Text}
	m := yes
	for _, raw := range r.Exprs {
		name, body := only(raw)
		switch name {
		case "match":
			m = m.and(e.nftMatch(t, body))
		case "drop", "reject":
			rule.Rejects = name == "reject"
			return e.drops(rule, m)
		case "accept", "return", "jump", "goto":
			return e.goes(t, name, body, m)
		case "vmap":
			return e.vmap(t, body, rule, m)
		case "queue", "synproxy", "xt":
			if name == "xt" {
				m = m.and(may)
				continue
			}
			e.doubt = true
			return Continue
		case "limit", "quota", "connlimit", "ct count", "last", "tproxy":
			m = m.and(may)
		case "dnat", "redirect":
			if e.nat {
				return e.drops(rule, m)
			}
		case "counter", "log", "mangle", "notrack", "comment", "meter", "set", "map", "snat", "masquerade",
			"ct helper", "ct timeout", "ct expectation", "flow", "secmark", "fwd", "dup", "reset":
		default:
			m = m.and(may) // an expression that nobody here knows
		}
		if m == no {
			return Continue
		}
	}
	return Continue
}

// goes follows a verdict that does not drop.
func (e *evaluation) goes(t *host.NftTable, verdict string, body json.RawMessage, m match) Verdict {
	if m == no {
		return Continue
	}
	if verdict == "accept" || verdict == "return" {
		if m == may {
			e.doubt = true
			return Continue
		}
		return map[string]Verdict{"accept": Accept, "return": Return}[verdict]
	}
	var to struct{ Target string }
	if json.Unmarshal(body, &to) != nil {
		return Continue
	}
	next := slices.IndexFunc(t.Chains, func(c host.NftChain) bool { return c.Name == to.Target })
	if next < 0 {
		return Continue
	}
	if m == may {
		return e.perhaps(func() Verdict { return e.nft(t, &t.Chains[next]) })
	}
	v := e.nft(t, &t.Chains[next])
	if v == Continue && verdict == "goto" {
		return Return
	}
	return v
}

// vmap takes the verdict of the element that the packet's key is in.
func (e *evaluation) vmap(t *host.NftTable, body json.RawMessage, rule Rule, m match) Verdict {
	var v struct{ Key, Data json.RawMessage }
	if json.Unmarshal(body, &v) != nil {
		return Continue
	}
	elements, named := e.elements(t, v.Data)
	for _, el := range elements {
		key, verdict, ok := pair(el)
		if !ok {
			continue
		}
		hit := e.compare(t, v.Key, key).and(m)
		if hit == no {
			continue
		}
		name, arg := only(verdict)
		if name == "drop" {
			if named != "" {
				rule.Set, rule.Element = named, text(key)
			}
			return e.drops(rule, hit)
		}
		return e.goes(t, name, arg, hit)
	}
	return Continue
}

// elements are those of a set that is written in the rule, or has a name.
func (e *evaluation) elements(t *host.NftTable, data json.RawMessage) (elements []json.RawMessage, named string) {
	var name string
	if json.Unmarshal(data, &name) == nil {
		name = strings.TrimPrefix(name, "@")
		for _, s := range t.Sets {
			if s.Name == name {
				_ = json.Unmarshal(s.Elem, &elements)
			}
		}
		return elements, name
	}
	var anonymous struct{ Set json.RawMessage }
	if json.Unmarshal(data, &anonymous) == nil && json.Unmarshal(anonymous.Set, &elements) != nil {
		elements = []json.RawMessage{anonymous.Set}
	}
	return elements, ""
}

// only is the one member of an object: its name and its value.
func only(raw json.RawMessage) (name string, body json.RawMessage) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		_ = json.Unmarshal(raw, &name)
		return name, nil
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

// nftMatch is {"op": "==", "left": …, "right": …}.
func (e *evaluation) nftMatch(t *host.NftTable, body json.RawMessage) match {
	var x struct {
		Op          string
		Left, Right json.RawMessage
	}
	if json.Unmarshal(body, &x) != nil {
		return may
	}
	switch x.Op {
	case "==", "in":
		return e.compare(t, x.Left, x.Right)
	case "!=":
		return e.compare(t, x.Left, x.Right).not()
	case "<", ">", "<=", ">=":
		return e.order(x.Op, x.Left, x.Right)
	}
	return may
}

// field is what is known of the packet under a name; ok is false if it is not.
type field struct {
	known  bool
	none   bool // the packet has no such field: nothing matches
	number uint64
	name   string
	addr   netip.Addr
	// names are other ways to write the number.
	names map[string]uint64
	// bits: a single name means that its bit is set.
	bits bool
}

var tcpFlagNames = map[string]uint64{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}

// left is what an expression reads of the packet.
func (e *evaluation) left(raw json.RawMessage) field {
	name, body := only(raw)
	p := e.p
	var at struct{ Protocol, Field, Key, Name string }
	_ = json.Unmarshal(body, &at)
	switch name {
	case "payload":
		return e.payload(at.Protocol, at.Field)
	case "meta":
		switch at.Key {
		case "iifname", "iif":
			return field{known: true, none: p.IIF == "", name: p.IIF}
		case "oifname", "oif":
			return field{known: true, none: p.OIF == "", name: p.OIF}
		case "l4proto":
			return field{known: true, number: uint64(p.Proto), names: protocolNumbers}
		case "nfproto":
			return field{known: true, name: "ipv4"}
		case "protocol":
			return field{known: true, name: "ip"}
		case "length":
			return field{known: true, number: uint64(p.Length)}
		}
	case "ct":
		if at.Key == "state" && p.CT != "" {
			return field{known: true, name: p.CT}
		}
	}
	return field{}
}

func (e *evaluation) payload(protocol, name string) field {
	p := e.p
	ports := func(proto uint8, port uint16) field {
		return field{known: true, none: p.Proto != proto || !p.HasPorts, number: uint64(port)}
	}
	numbers := map[string]uint8{"tcp": 6, "udp": 17}
	switch protocol + " " + name {
	case "ip saddr":
		return field{known: true, addr: p.Src}
	case "ip daddr":
		return field{known: true, addr: p.Dst}
	case "ip protocol":
		return field{known: true, number: uint64(p.Proto), names: protocolNumbers}
	case "ip ttl":
		return field{known: true, number: uint64(p.TTL)}
	case "ip length":
		return field{known: true, number: uint64(p.Length)}
	case "ip version":
		return field{known: true, number: 4}
	case "tcp sport", "udp sport":
		return ports(numbers[protocol], p.Sport)
	case "tcp dport", "udp dport":
		return ports(numbers[protocol], p.Dport)
	case "th sport":
		return field{known: true, none: !p.HasPorts, number: uint64(p.Sport)}
	case "th dport":
		return field{known: true, none: !p.HasPorts, number: uint64(p.Dport)}
	case "tcp flags":
		return field{known: true, none: p.Proto != 6 || !p.HasPorts, number: uint64(p.Flags), names: tcpFlagNames, bits: true}
	case "icmp type":
		return field{known: true, none: p.Proto != 1, number: uint64(p.ICMPType)}
	case "icmp code":
		return field{known: true, none: p.Proto != 1, number: uint64(p.ICMPCode)}
	}
	for other, number := range protocolNumbers {
		if protocol == other && uint64(p.Proto) != number {
			return field{known: true, none: true}
		}
	}
	if strings.HasSuffix(protocol, "6") || protocol == "icmpv6" {
		return field{known: true, none: true}
	}
	return field{}
}

// compare is what "==" says: a value, a range, a prefix, a list or a set of them.
func (e *evaluation) compare(t *host.NftTable, left, right json.RawMessage) match {
	if name, body := only(left); name == "concat" {
		return e.concatenation(t, body, right)
	} else if name == "&" {
		return e.masked(body, right)
	}
	f := e.left(left)
	if !f.known {
		return may
	}
	if f.none {
		return no
	}
	return e.among(t, f, right)
}

func (e *evaluation) among(t *host.NftTable, f field, right json.RawMessage) match {
	var list []json.RawMessage
	if json.Unmarshal(right, &list) == nil {
		m := no
		for _, el := range list {
			m = m.or(e.among(t, f, el))
		}
		return m
	}
	var word string
	if json.Unmarshal(right, &word) == nil {
		if strings.HasPrefix(word, "@") {
			elements, _ := e.elements(t, right)
			m := no
			for _, el := range elements {
				if key, _, ok := pair(el); ok {
					el = key
				}
				m = m.or(e.among(t, f, el))
			}
			return m
		}
		return f.is(word)
	}
	var n uint64
	if json.Unmarshal(right, &n) == nil {
		return is(n == f.number)
	}
	switch name, body := only(right); name {
	case "set":
		return e.among(t, f, body)
	case "elem":
		var el struct{ Val json.RawMessage }
		if json.Unmarshal(body, &el) != nil {
			return may
		}
		return e.among(t, f, el.Val).and(may) // with a timeout, or a counter
	case "range":
		from, to, ok := pair(body)
		if !ok {
			return may
		}
		return f.above(from).and(f.below(to))
	case "prefix":
		var p struct {
			Addr string
			Len  int
		}
		a, err := netip.Addr{}, error(nil)
		if json.Unmarshal(body, &p) == nil {
			a, err = netip.ParseAddr(p.Addr)
		}
		if err != nil || !a.IsValid() {
			return may
		}
		return is(netip.PrefixFrom(a, p.Len).Contains(f.addr))
	}
	return may
}

// is compares with a word: a name, an address, a device with a wildcard.
func (f field) is(word string) match {
	if f.addr.IsValid() {
		a, err := netip.ParseAddr(word)
		if err != nil {
			return may
		}
		return is(a == f.addr)
	}
	if n, ok := f.names[strings.ToLower(word)]; ok {
		if f.bits {
			return is(f.number&n != 0)
		}
		return is(n == f.number)
	}
	if f.name != "" {
		if stem, ok := strings.CutSuffix(word, "*"); ok {
			return is(strings.HasPrefix(f.name, stem))
		}
		return is(word == f.name)
	}
	return may
}

func (f field) above(from json.RawMessage) match {
	return f.bound(from, func(c int) bool { return c >= 0 })
}
func (f field) below(to json.RawMessage) match {
	return f.bound(to, func(c int) bool { return c <= 0 })
}

func (f field) bound(raw json.RawMessage, holds func(int) bool) match {
	if f.addr.IsValid() {
		var word string
		if json.Unmarshal(raw, &word) != nil {
			return may
		}
		a, err := netip.ParseAddr(word)
		if err != nil {
			return may
		}
		return is(holds(f.addr.Compare(a)))
	}
	var n uint64
	if json.Unmarshal(raw, &n) != nil {
		return may
	}
	switch {
	case f.number < n:
		return is(holds(-1))
	case f.number > n:
		return is(holds(1))
	}
	return is(holds(0))
}

// concatenation compares each part: ip daddr . tcp dport.
func (e *evaluation) concatenation(t *host.NftTable, left, right json.RawMessage) match {
	var parts []json.RawMessage
	if json.Unmarshal(left, &parts) != nil {
		return may
	}
	var candidates []json.RawMessage
	if name, body := only(right); name == "set" {
		_ = json.Unmarshal(body, &candidates)
	} else if strings.HasPrefix(text(right), "@") {
		candidates, _ = e.elements(t, right)
	} else {
		candidates = []json.RawMessage{right}
	}
	m := no
	for _, c := range candidates {
		name, body := only(c)
		var values []json.RawMessage
		if name != "concat" || json.Unmarshal(body, &values) != nil || len(values) != len(parts) {
			m = m.or(may)
			continue
		}
		one := yes
		for i, v := range values {
			one = one.and(e.compare(t, parts[i], v))
		}
		m = m.or(one)
	}
	return m
}

// masked compares what is left of a field under a mask: tcp flags & (fin|syn) == syn, ip frag-off & 0x1fff != 0.
func (e *evaluation) masked(body, right json.RawMessage) match {
	left, mask, ok := pair(body)
	if !ok {
		return may
	}
	f := e.left(left)
	bits, ok1 := f.value(mask)
	want, ok2 := f.value(right)
	if name, at := only(left); name == "payload" && strings.Contains(string(at), `"frag-off"`) {
		return is(e.p.Fragment == (want != 0)).and(may)
	}
	switch {
	case f.known && f.none:
		return no
	case !f.known || !ok1 || !ok2:
		return may
	}
	return is(f.number&bits == want)
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
	v, ok := f.names[strings.ToLower(text(raw))]
	return v, ok
}

func (e *evaluation) order(op string, left, right json.RawMessage) match {
	f := e.left(left)
	if !f.known {
		return may
	}
	if f.none {
		return no
	}
	return f.bound(right, map[string]func(int) bool{
		"<": func(c int) bool { return c < 0 }, ">": func(c int) bool { return c > 0 },
		"<=": func(c int) bool { return c <= 0 }, ">=": func(c int) bool { return c >= 0 },
	}[op])
}
