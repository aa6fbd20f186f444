package ruleset

import (
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// legacyPriorities are those of the tables of iptables (NF_IP_PRI_*); nat has two.
var legacyPriorities = map[string]int{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}

// iptablesBases are the chains of a table that the packet's hook runs: one, or none.
func (e *evaluation) iptablesBases(t *host.IPTables) []base {
	c := find(t, strings.ToUpper(e.p.Hook))
	if c == nil || e.p.Bridged || e.p.ARP != nil || len(c.Rules) == 0 && c.Policy != "DROP" {
		return nil
	}
	is, priority := e.madeAs(t, c)
	var policy *Rule
	if c.Policy == "DROP" {
		policy = &Rule{Backend: t.Backend, Family: "ip", Table: t.Table, Chain: c.Name, Policy: "drop"}
	}
	return []base{{identity: is, priority: priority, nat: t.Table == "nat", run: func(reach match) match {
		return e.base(reach, policy, func(reach match) match { return e.iptables(t, c, reach) })
	}}}
}

// madeAs is the chain as nftables has it, if iptables-nft made it, and its priority: that of the table security is another
// than iptables-legacy's.
func (e *evaluation) madeAs(t *host.IPTables, c *host.IPTablesChain) (is identity, priority int) {
	priority = legacyPriorities[t.Table]
	is = identity{family: "ip", table: t.Table, chain: c.Name, legacy: t.Backend == "iptables-legacy"}
	for _, table := range e.s.Nft {
		if is.legacy || !table.IPTables || table.Name != t.Table || table.Family != "ip" {
			continue
		}
		for _, chain := range table.Chains {
			if chain.Name == c.Name {
				is.handle, priority = chain.Handle, chain.Priority
			}
		}
	}
	return is, priority
}

func find(t *host.IPTables, name string) *host.IPTablesChain {
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	return nil
}

// iptables walks through a chain of iptables.
func (e *evaluation) iptables(t *host.IPTables, c *host.IPTablesChain, reach match) (through match) {
	return e.walk(len(c.Rules), reach, func(i int, reach match) (next, back match) {
		r := c.Rules[i]
		e.unsure = ""
		if n := slices.Index(r.Args, "connlimit"); n > 0 && r.Args[n-1] == "-m" {
			before, _, _ := e.arguments(r.Args[:n-1])
			reach = e.mayDropItself(ruleOf(t, c, i), "-m connlimit", reach, before)
		}
		hit, target, isGoto := e.arguments(r.Args)
		if hit == no {
			return reach, no
		}
		v := e.target(t, target, reach.and(hit), r.Args)
		if v.kind == jumps && isGoto {
			v.kind = goes
		}
		rejects, queue := v.rule.Rejects, v.rule.Queue
		v.rule = ruleOf(t, c, i)
		v.rule.Rejects, v.rule.Queue = rejects, queue
		if v.unknown {
			hit = hit.and(may)
			e.doubts(may, "-j "+target)
		}
		if v.kind != goesOn {
			e.doubt(v.rule)
		}
		return e.follow(v.verdict, reach, hit)
	})
}

// ruleOf is rule i of a chain.
func ruleOf(t *host.IPTables, c *host.IPTablesChain, i int) Rule {
	r := c.Rules[i]
	return Rule{
		Backend: t.Backend, Family: "ip", Table: t.Table, Chain: c.Name, Number: i + 1, Args: r.Args, Line: r.Saved(c.Name),
		Text: "-A " + c.Name + " " + command.Quote(r.Args), Broad: broadArgs(r.Args),
	}
}

// inKernel is the rule with the handle that nft shows of it, if iptables-nft made it: nft shows the same rules in the
// same order.
func (r Rule) inKernel(s *host.Snapshot) Rule {
	for _, table := range s.Nft {
		if r.Backend != "iptables-nft" || !table.IPTables || table.Family != "ip" || table.Name != r.Table {
			continue
		}
		for _, chain := range table.Chains {
			if chain.Name == r.Chain && r.Number >= 1 && r.Number <= len(chain.Rules) {
				r.InKernel = chain.Rules[r.Number-1].Handle
			}
		}
	}
	return r
}

// inKernel does that for the rule of an outcome, or for its only candidate: of several none is repaired.
func (o Outcome) inKernel(s *host.Snapshot) Outcome {
	switch {
	case o.Rule != nil:
		r := o.Rule.inKernel(s)
		o.Rule = &r
	case len(o.Candidates) == 1:
		o.Candidates = []Rule{o.Candidates[0].inKernel(s)}
	}
	return o
}

// targets are those that end a rule. NAT's accept the packet, and are only in tables that see a connection begin.
var targets = map[string]kind{
	"DROP": drops, "REJECT": drops, "ACCEPT": accepts, "RETURN": returns, "NFQUEUE": queues, "QUEUE": queues, "SYNPROXY": steals,
	"SNAT": accepts, "MASQUERADE": accepts, "DNAT": accepts, "REDIRECT": accepts, "NETMAP": accepts,
}

// onward are the targets behind which the next rule is asked.
var onward = []string{
	"", "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "MARK", "CONNMARK", "CT", "NOTRACK", "TCPMSS", "TCPOPTSTRIP", "CLASSIFY", "DSCP", "TOS",
	"TTL", "HL", "ECN", "SET", "CHECKSUM", "RATEEST", "SECMARK", "CONNSECMARK", "TEE", "LED", "IDLETIMER", "HMARK", "ACCOUNT",
}

// targeted is what a target does; unknown: ipiptrace does not know what it does with the packet.
type targeted struct {
	verdict
	unknown bool
}

// target is what a rule does with a packet that it matches so surely.
func (e *evaluation) target(t *host.IPTables, target string, m match, args []string) (v targeted) {
	if c := find(t, target); c != nil {
		v.kind, v.run = jumps, func(reach match) match { return e.iptables(t, c, reach) }
		return v
	}
	v.kind = targets[target]
	e.mayMark(target, m)
	switch target {
	case "REJECT":
		v.rule.Rejects = true
	case "DNAT", "REDIRECT":
		v.kind = e.translates()
	case "SNAT", "MASQUERADE":
		e.translatesSource()
	case "NETMAP":
		e.translatesSource()
		v.kind = e.translates()
	case "NFQUEUE", "QUEUE":
		v.rule.Queue = iptablesQueue(args)
	case "MARK", "CONNMARK":
		e.setMark(args, m)
	case "NOTRACK":
		e.notrack(m)
	case "CT":
		if slices.Contains(args, "--notrack") {
			e.notrack(m)
		} else if e.ct == Invalid { // a template takes the place of its connection
			e.ct |= New
		}
	default:
		e.unread(target, m)
	}
	if v.kind == goesOn && !slices.Contains(onward, target) {
		v.kind, v.unknown = drops, true
	}
	return v
}

// unread is what a target may do to the packet of which no more is known than the name.
func (e *evaluation) unread(target string, m match) {
	switch {
	case m == no:
	case target == "MARK", target == "CONNMARK":
		e.setMarkTo(0, false, m)
	case target == "NOTRACK", target == "CT":
		e.notrack(may)
		e.ct |= New
	case target == "DNAT", target == "REDIRECT", target == "NETMAP":
		e.natted = true
	case target == "SNAT", target == "MASQUERADE":
		e.translatesSource()
	case target == "TTL":
		e.change("ttl")
	case target == "TCPMSS":
		e.change("length")
	}
}

// setMark follows MARK, whose rules are saved with --set-xmark value/mask: what is in the mask goes, and the value is
// xored in (mark_tg). CONNMARK changes the mark only if it restores the connection's, which is not known.
func (e *evaluation) setMark(args []string, m match) {
	if slices.Contains(args, "CONNMARK") {
		if slices.Contains(args, "--restore-mark") {
			e.setMarkTo(0, false, m)
		}
		return
	}
	i := slices.Index(args, "--set-xmark")
	if i < 0 || i+1 >= len(args) {
		e.setMarkTo(0, false, m)
		return
	}
	value, mask, _ := strings.Cut(args[i+1], "/")
	v, err1 := strconv.ParseUint(value, 0, 32)
	all, err2 := strconv.ParseUint(mask, 0, 32)
	of := e.mark &^ uint32(all)
	e.setMarkTo(of^uint32(v), err1 == nil && err2 == nil && (e.marked || all == 1<<32-1), m)
}
