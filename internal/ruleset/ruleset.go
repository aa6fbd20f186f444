// Package ruleset evaluates the netfilter rules of a namespace for one packet: which rule, or policy, decides at a
// hook. It is pure.
//
// What the packet's headers say is compared; what is not known of it (a mark, a limit, a set of another kind)
// may match or not. A rule that may match does not end the evaluation, but is a candidate if it drops.
package ruleset

import (
	"cmp"
	"net/netip"
	"slices"

	"ipiptrace/internal/host"
)

// Packet is what is known of a packet at a hook.
type Packet struct {
	// Hook is "ingress", "prerouting", "input", "forward", "output", "postrouting" or "egress".
	Hook string
	// IIF and OIF are the devices it came by and leaves by, empty if it has none.
	IIF, OIF string
	Src, Dst netip.Addr
	Proto    uint8
	TTL      uint8
	Length   uint16
	// Fragment: it is a later fragment, without ports.
	Fragment     bool
	HasPorts     bool
	Sport, Dport uint16
	// Flags are the TCP flags, as in the header.
	Flags uint8
	// ICMPType and ICMPCode are valid with ICMP.
	ICMPType, ICMPCode uint8
	// CT is the state in connection tracking, "new", "established", "invalid", "untracked"; empty: not known.
	CT string
}

// Rule is a rule, or a chain's policy.
type Rule struct {
	// Backend is "nft", "iptables-nft" or "iptables-legacy".
	Backend, Family, Table, Chain string
	// Handle is nft's, Number the position in the chain from 1.
	Handle uint64
	Number int
	Text   string
	// Policy is set where the chain's policy decides.
	Policy string
	// Rejects: the rule answers the packet.
	Rejects bool
	// Args are the arguments of an iptables rule behind -A CHAIN.
	Args []string
	// Element is the element of a verdict map that decided, for nft delete element; with the set's name.
	Set, Element string
}

// Outcome is what the rules of a hook do with a packet.
type Outcome struct {
	// Rule decides for certain; nil if none drops the packet for certain.
	Rule *Rule
	// Candidates may drop it, in the order in which the packet meets them; Rule is not among them.
	Candidates []Rule
}

// base is a chain that a hook runs.
type base struct {
	priority int
	run      func(*evaluation) Verdict
}

// Verdict is what a chain or a rule says.
type Verdict uint8

// The verdicts. Maybe: it depends on what is not known.
const (
	Continue Verdict = iota
	Accept
	Drop
	Return
)

// evaluation is one packet's way through a hook.
type evaluation struct {
	p       Packet
	s       *host.Snapshot
	outcome Outcome
	// depth bounds jumps (NFT_JUMP_STACK_SIZE).
	depth int
	// doubt: a rule before this point may have ended the packet's way through this chain.
	doubt bool
	// nat: what is asked is who gives the packet another destination, not who drops it.
	nat bool
}

const maxDepth = 16

// legacyPriorities are those of the tables of iptables (NF_IP_PRI_*); nat has two.
var legacyPriorities = map[string]int{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}

// Evaluate runs all chains of the packet's hook, in the order of their priorities.
func Evaluate(s *host.Snapshot, p Packet) Outcome {
	return (&evaluation{p: p, s: s}).hook()
}

func (e *evaluation) hook() Outcome {
	s, p := e.s, e.p
	var bases []base
	for i := range s.Nft {
		bases = append(bases, e.nftBases(&s.Nft[i])...)
	}
	for i := range s.IPTables {
		t := &s.IPTables[i]
		if c := builtIn(t, p.Hook); c != nil && (t.Table == "nat") == e.nat {
			bases = append(bases, base{legacyPriorities[t.Table], func(e *evaluation) Verdict { return e.iptables(t, c) }})
		}
	}
	slices.SortStableFunc(bases, func(a, b base) int { return cmp.Compare(a.priority, b.priority) })
	for _, b := range bases {
		e.doubt, e.depth = false, 0
		if b.run(e) == Drop {
			return e.outcome
		}
	}
	return e.outcome
}

// drops takes that a rule, or a policy, drops the packet: for certain only if nothing before it may have ended
// its way, and it matches for certain.
func (e *evaluation) drops(r Rule, m match) Verdict {
	if m == yes && !e.doubt {
		e.outcome.Rule = &r
		return Drop
	}
	e.outcome.Candidates = append(e.outcome.Candidates, r)
	if m == yes {
		return Drop // whatever came before: nothing behind it is reached
	}
	return Continue
}

// perhaps runs what may or may not be reached: what drops there is a candidate.
func (e *evaluation) perhaps(run func() Verdict) Verdict {
	sure := e.outcome.Rule
	v := run()
	if r := e.outcome.Rule; r != sure {
		e.outcome.Rule, e.outcome.Candidates = sure, append(e.outcome.Candidates, *r)
	}
	if v != Continue {
		e.doubt = true
	}
	return Continue
}

// match is three-valued.
type match uint8

const (
	no match = iota
	may
	yes
)

func is(b bool) match {
	if b {
		return yes
	}
	return no
}

func (m match) not() match { return yes - m }

// and is the weaker of the two.
func (m match) and(n match) match { return min(m, n) }

// or is the stronger of the two.
func (m match) or(n match) match { return max(m, n) }
