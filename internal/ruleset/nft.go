package ruleset

import (
	"encoding/json"
	"slices"

	"ipiptrace/internal/host"
)

// nftBases are the chains of a table that the packet's hook runs. What iptables-nft made is evaluated as iptables.
func (e *evaluation) nftBases(t *host.NftTable) (bases []base) {
	if t.Dormant || t.IPTables || !slices.Contains(e.p.families(), t.Family) {
		return nil
	}
	for i := range t.Chains {
		c := &t.Chains[i]
		if c.Hook != e.p.Hook || len(c.Devices) > 0 && !slices.Contains(c.Devices, e.device()) {
			continue
		}
		var policy *Rule
		switch {
		case c.Policy == "drop":
			policy = &Rule{Backend: "nft", Family: t.Family, Table: t.Name, Chain: c.Name, Policy: "drop", Owned: t.Owned}
		case len(c.Rules) == 0: // whichever place it has
			continue
		}
		is := identity{family: t.Family, table: t.Name, chain: c.Name}
		if len(c.Devices) == 0 { // devices may have been added since
			is.handle = c.Handle
		}
		bases = append(bases, base{identity: is, priority: c.Priority, nat: c.Type == "nat", run: func(reach match) match {
			return e.base(reach, policy, func(reach match) match { return e.nft(t, c, reach) })
		}})
	}
	return bases
}

// families are those of tables whose chains the packet's hook runs. Chains of inet have an ingress, too.
func (p Packet) families() []string {
	switch {
	case p.ARP != nil:
		return []string{"arp"}
	case p.Hook == "ingress", p.Hook == "egress":
		return []string{"netdev", "inet"}
	case p.Bridged:
		return []string{"bridge"}
	}
	return []string{"ip", "inet"}
}

func (e *evaluation) device() string {
	if e.p.Hook == "egress" {
		return e.p.OIF
	}
	return e.p.IIF
}

// nft walks through a chain.
func (e *evaluation) nft(t *host.NftTable, c *host.NftChain, reach match) (through match) {
	return e.walk(len(c.Rules), reach, func(i int, reach match) (next, back match) { return e.nftRule(t, c, i, reach) })
}

// nftRule evaluates a rule's expressions in order.
func (e *evaluation) nftRule(t *host.NftTable, c *host.NftChain, i int, reach match) (next, back match) {
	r := &c.Rules[i]
	rule := func() Rule { return nftRuleOf(t, c, i) }
	hit := yes
	e.unsure = ""
	for _, s := range e.rules.statementsOf(r) {
		name, body := s.name, s.body
		number, known := uint64(0), false
		hit = hit.and(e.implied(s))
		for k := range s.computes {
			var there match
			number, known, there = e.compute(t, &s.computes[k])
			hit = hit.and(there)
		}
		switch {
		case hit == no:
		case name == "match":
			hit = hit.and(e.nftMatches(t, s))
		case name == "vmap":
			return e.vmap(t, s.compared, rule(), reach, hit)
		case verdicts[name] != goesOn:
			e.doubt(rule())
			return e.follow(e.nftVerdict(t, name, body, rule()), reach, hit)
		case name == "xt":
			v, m := xt(body, rule())
			e.xtMarks(body, reach.and(hit))
			e.unread(v.target, reach.and(hit))
			if v.kind != goesOn {
				e.doubts(m, "xt")
				e.doubt(rule())
				return e.follow(v, reach, hit.and(m))
			}
			hit = hit.and(m)
		case name == "ct count":
			reach = e.mayDropItself(rule(), name, reach, hit)
			hit = hit.and(may)
		case slices.Contains(uncertain, name):
			hit = hit.and(may)
		case name == "set", name == "map", name == "meter":
			hit = hit.and(meters(body))
		case name == "mangle":
			e.mangle(s, uint32(number), known, reach.and(hit))
		case name == "notrack":
			e.notrack(reach.and(hit))
		case slices.Contains(silent, name):
		default: // an expression that nobody here knows
			e.marked = e.marked && reach.and(hit) == no
			reach = e.mayDropItself(rule(), name, reach, hit)
			hit = hit.and(may)
		}
		if hit == no {
			return reach, no
		}
		if hit == may {
			e.doubts(hit, s.what())
		}
	}
	return reach, no
}

// mayDropItself takes a part of a rule that may drop the packet whatever the rule's verdict is: one that nobody here knows, or
// a count of connections, which drops a packet that it can't count (hotdrop of connlimit_mt, nft_connlimit_do_eval). Late 6.1
// does that in the table raw to packets of a connection that it tracks already.
func (e *evaluation) mayDropItself(rule Rule, what string, reach, hit match) (rest match) {
	if reach.and(hit) == no {
		return reach
	}
	e.doubts(may, what)
	e.doubt(rule)
	e.follow(verdict{kind: drops, rule: rule}, reach, may)
	return reach.and(may)
}

// implied is what a statement asks of the packet that nft does not list: it leaves out a match that it would add by
// itself to the statement (payload_dependency_kill).
func (e *evaluation) implied(s *statement) match {
	if s.writes != nil && (s.writes.name == "payload" || s.writes.name == "tcp option") {
		return is(!e.left(s.writes).none)
	}
	if s.name != "reject" && s.name != "tproxy" && !slices.Contains(translating, s.name) {
		return yes
	}
	var x struct{ Type, Family string }
	_ = json.Unmarshal(s.body, &x)
	return is((x.Type != "tcp reset" || e.p.Proto == 6) && x.Type != "icmpv6" && x.Family != "ip6")
}

// translating are the statements of NAT.
var translating = []string{"dnat", "snat", "redirect", "masquerade"}

// nftRuleOf is rule i of a chain.
func nftRuleOf(t *host.NftTable, c *host.NftChain, i int) Rule {
	r := &c.Rules[i]
	return Rule{Backend: "nft", Family: t.Family, Table: t.Name, Chain: c.Name, Handle: r.Handle, Number: i + 1, Text: r.Text, Broad: broad(r.Exprs), Owned: t.Owned}
}

// verdicts are the statements that end a rule.
var verdicts = map[string]kind{
	"accept": accepts, "drop": drops, "reject": drops, "return": returns, "jump": jumps, "goto": goes,
	"queue": queues, "synproxy": steals, "fwd": steals,
	"snat": accepts, "dnat": accepts, "masquerade": accepts, "redirect": accepts,
}

// uncertain are statements and matches that depend on earlier packets, or on what was not read.
var uncertain = []string{"limit", "quota", "connlimit", "tproxy"}

// silent are statements that do not change the packet's way.
var silent = []string{
	"counter", "log", "comment", "last", "ct helper", "ct timeout", "ct expectation", "flow", "secmark", "dup", "reset", "continue",
}

// nftVerdict is what a statement says.
func (e *evaluation) nftVerdict(t *host.NftTable, name string, body json.RawMessage, rule Rule) verdict {
	v := verdict{kind: verdicts[name], rule: rule}
	switch name {
	case "reject":
		v.rule.Rejects = true
	case "dnat", "redirect":
		v.kind = e.translates()
	case "snat", "masquerade":
		e.translatesSource()
	case "queue":
		v.rule.Queue = nftQueue(body)
	case "jump", "goto":
		v.run = func(reach match) match {
			var to struct{ Target string }
			_ = json.Unmarshal(body, &to)
			next := slices.IndexFunc(t.Chains, func(c host.NftChain) bool { return c.Name == to.Target })
			if next < 0 {
				e.exits++
				e.marked = false
				return reach.and(may)
			}
			return e.nft(t, &t.Chains[next], reach)
		}
	}
	return v
}

// xt is an extension of iptables in a rule that iptables-nft does not show: only its name can be read.
func xt(body json.RawMessage, rule Rule) (v verdict, m match) {
	var x struct{ Type, Name string }
	_ = json.Unmarshal(body, &x)
	if x.Type == "match" {
		return v, may
	}
	if v.target = x.Name; slices.Contains(onward, x.Name) {
		return v, yes
	}
	rule.Rejects = x.Name == "REJECT"
	v.kind, v.rule = drops, rule
	if x.Name == "REJECT" || x.Name == "DROP" {
		return v, yes
	}
	return v, may
}

// meters is the verdict of a statement that adds to a set: a limit in it, or a full set, may end the rule.
func meters(body json.RawMessage) match {
	var s struct {
		Op   string
		Stmt json.RawMessage
	}
	if json.Unmarshal(body, &s) == nil && (s.Op == "delete" || s.Op == "update" && s.Stmt == nil) {
		return yes
	}
	return may
}

// vmap takes the verdict of the element that the packet's key is in.
func (e *evaluation) vmap(t *host.NftTable, c *comparison, rule Rule, reach, hit match) (next, back match) {
	if c == nil || c.right.shape != among {
		e.marked = e.marked && reach.and(hit) == no
		e.doubts(may, "vmap")
		e.doubt(rule)
		return e.follow(verdict{kind: drops, rule: rule}, reach, hit.and(may))
	}
	exits := e.exits
	s := e.rules.set(t, c.right.set)
	elements, ok := e.elements(s, ofAnything)
	if !ok {
		e.marked = e.marked && reach.and(hit) == no
		e.doubts(may, "vmap")
		e.doubt(rule)
		e.follow(verdict{kind: drops, rule: rule}, reach, hit.and(may))
		return reach.and(may), no
	}
	taken := no
	for i := range elements.rest {
		el := &elements.rest[i]
		m, there := taken.not(), true
		if !el.any() {
			m, there = e.compare(t, &c.left, &el.key, false)
		}
		m = m.and(el.sure).and(hit)
		switch {
		case !there:
			return reach, no
		case m == no:
			continue
		case taken != no || s.volatile:
			m = may
		}
		taken = taken.or(m)
		e.doubts(m, "vmap")
		e.doubt(rule)
		on, b := e.follow(e.element(t, el, s.name, rule), reach, m)
		if back = back.or(b); m == yes {
			return on, back
		}
	}
	if e.exits == exits && back == no {
		return reach, no
	}
	return reach.and(may), back
}

// element is the verdict of a verdict map's element.
func (e *evaluation) element(t *host.NftTable, el *element, set string, rule Rule) verdict {
	if set != "" {
		rule.Set, rule.Element = set, written(el.raw)
	}
	name, body := only(el.value)
	return e.nftVerdict(t, name, body, rule)
}
