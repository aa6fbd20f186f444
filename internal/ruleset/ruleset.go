// Package ruleset finds which rule of netfilter, or which chain's policy, decides over a packet: nftables, iptables-nft
// and iptables-legacy, in the order in which the kernel runs their chains at a hook. It is pure.
//
// What the packet's headers say is compared; what is not known of it (a mark, a limit, a set of another kind)
// may match or not. A rule that may be reached and may match does not end the evaluation, but is a candidate if it drops.
package ruleset

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// Packet is what is known of a packet at a hook.
type Packet struct {
	// Hook is "ingress", "prerouting", "input", "forward", "output", "postrouting" or "egress".
	Hook string
	// Bridged: a bridge has the frame, and it is a hook of the family bridge.
	Bridged bool
	// ARP: it is no packet of IP, but this question or answer of ARP; then no more of it counts than its devices.
	ARP *ARP
	// Over is the bridge that passes it on, from one of its ports to another, which are not known; empty if it is none.
	Over string
	// IIF and OIF are the devices it came by and leaves by, empty if it has none.
	IIF, OIF string
	// Src and Dst are invalid where they are not known.
	Src, Dst netip.Addr
	Proto    uint8
	TTL      uint8
	// Length is the IP packet's, 0 if it is not known.
	Length uint16
	// Fragment: it is a later fragment, without ports.
	Fragment     bool
	HasPorts     bool
	Sport, Dport uint16
	// Flags are the TCP flags, as in the header.
	Flags uint8
	// ICMPType and ICMPCode are valid with ICMP.
	ICMPType, ICMPCode uint8
	// ByNfTables: the kernel was seen dropping it in a chain of nf_tables, so that those of iptables-legacy let it pass.
	ByNfTables bool
	// Mark is what it has before the first of the hooks that lead to Hook, if Marked.
	Mark   uint32
	Marked bool
	// Answer: the service has sent it, to its client.
	Answer bool
	// Invented: nobody has sent it, and its TTL and its length are an example. AnyPort: so is the port of its client.
	Invented, AnyPort bool
	// CT are the states that it may have in connection tracking, where nothing exempts it; 0: not known.
	CT CT
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
	// Broad: it drops whatever comes to it, as a policy does.
	Broad bool
	// Owned: its table belongs to a process, and only that may change it.
	Owned bool
	// Unread: no more than its place was read.
	Unread bool
	// Args are the arguments of an iptables rule behind -A CHAIN, Line is the whole as iptables-save writes it.
	Args []string
	Line string
	// InKernel is the handle that nft shows of a rule of iptables-nft, 0 if it is not known.
	InKernel uint64
	// Element is the element of a verdict map that decided, for nft delete element; with the set's name.
	Set, Element string
	// Queue is where the rule hands the packet to; nil if it is none that does. See [Ruleset.Queues].
	Queue *Queue
}

// Same reports whether it is the same rule, or policy.
func (r Rule) Same(o Rule) bool {
	return r.Backend == o.Backend && r.Family == o.Family && r.Table == o.Table && r.Chain == o.Chain && r.Handle == o.Handle &&
		r.Number == o.Number && r.Policy == o.Policy && r.Element == o.Element
}

// Outcome is what the rules of a hook do with a packet.
type Outcome struct {
	// Rule decides for certain; nil if it is not certain which one drops the packet, or whether any does.
	Rule *Rule
	// Candidates may drop it, in the order in which the packet meets them; none with Rule.
	Candidates []Rule
	// Certain: one of them drops it, whichever it is.
	Certain bool
	// Unread are parts of what the hook runs that were not read: Candidates are of the rest, and none is certain.
	Unread []host.Part
	// Tracked: a rule was asked that looks at the packet's state in connection tracking.
	Tracked bool
	// Stolen: a rule hands the packet, or may, to a program (NF_QUEUE) or to another part of the kernel.
	Stolen bool
	// Doubts are the rules of which it could not be told whether they apply, if that leaves the outcome open; at most 8.
	Doubts []Doubt
	// Behind drop it after that, if the program lets it pass: only [Ruleset.Queues] says it.
	Behind []Rule
	// Against: the kernel used the Candidates, although by their text they should not drop the packet. Gone: the rule that it
	// used is not in the ruleset. See [Outcome.Confirm].
	Against, Gone bool
	// Outlined: of the rule that the kernel was seen using, the only one of the Candidates, no more than its place is known.
	Outlined bool
}

// Evaluate runs all chains of the packet's hook, in the order of their priorities. It first runs those of the hooks before
// it: they may have changed the packet.
//
// Of several states in connection tracking each is tried: rules that ask for one after the other exclude each other.
func (r *Ruleset) Evaluate(p Packet) Outcome {
	return r.outcome(p, dropper)
}

// outcome is that of who is sought.
func (r *Ruleset) outcome(p Packet, who sought) Outcome {
	o := r.asRead(p, who)
	if o.Unread = r.unread(p); len(o.Unread) > 0 {
		if o.Certain = false; o.Rule != nil {
			o.Rule, o.Candidates = nil, []Rule{*o.Rule}
		}
	}
	return o.inKernel(r.host)
}

// unread are the parts of what the packet's hook runs that were not read.
func (r *Ruleset) unread(p Packet) (parts []host.Part) {
	if !r.host.Knows(host.PartNft) {
		parts = append(parts, host.PartNft)
	}
	switch ebtables := func(m string) bool { return strings.HasPrefix(m, "ebtable_") }; {
	case p.ARP != nil && slices.Contains(r.host.Modules, "arptable_filter"):
		parts = append(parts, host.PartARPTables)
	case p.ARP != nil:
	case p.Bridged && slices.ContainsFunc(r.host.Modules, ebtables):
		parts = append(parts, host.PartEBTables)
	case !p.Bridged && !p.ByNfTables && p.Hook != "ingress" && p.Hook != "egress" && !r.host.Knows(host.PartIPTables):
		parts = append(parts, host.PartIPTables)
	}
	return parts
}

// asRead is the outcome as far as the rules were read.
func (r *Ruleset) asRead(p Packet, who sought) Outcome {
	whole := r.evaluate(p, p.CT.known(), who)
	if p.CT.single() || !whole.Tracked {
		return together([]Outcome{whole})
	}
	var all []Outcome
	for _, state := range p.CT.each() {
		all = append(all, r.evaluate(p, state, who))
	}
	return together(all)
}

// evaluate is the outcome for a packet that is in one of the states.
func (r *Ruleset) evaluate(p Packet, state CT, who sought) Outcome {
	e := &evaluation{p: p, s: r.host, rules: r, tracked: state, sought: who}
	e.run()
	return e.outcome()
}

// together joins outcomes: a rule is certain only if all agree on it, otherwise each one's is a candidate.
func together(all []Outcome) (o Outcome) {
	sure, certain := true, true
	for _, one := range all {
		o.Tracked, o.Stolen = o.Tracked || one.Tracked, o.Stolen || one.Stolen
		o.Doubts = append(o.Doubts, one.Doubts...)
		sure, certain = sure && one.Rule != nil && one.Rule.Same(*all[0].Rule), certain && (one.Rule != nil || one.Certain)
		found := one.Candidates
		if one.Rule != nil {
			found = []Rule{*one.Rule}
		}
		o.Candidates, o.Behind = joined(o.Candidates, found), joined(o.Behind, one.Behind)
	}
	if o.Doubts = distinct(o.Doubts); sure {
		o.Rule, o.Candidates, o.Doubts = all[0].Rule, nil, nil
	}
	o.Certain = certain && !sure
	return o
}

// joined are rules without repetition.
func joined(all, more []Rule) []Rule {
	for _, r := range more {
		if !slices.ContainsFunc(all, r.Same) {
			all = append(all, r)
		}
	}
	return all
}

// evaluation is one packet's way through its hooks.
type evaluation struct {
	p     Packet
	s     *host.Snapshot
	rules *Ruleset
	// tracked is the packet's state in connection tracking; asked: a rule has looked at it.
	tracked CT
	asked   bool
	// remarked: a rule has given it a mark for certain.
	remarked bool
	effects

	sought sought
	// through: the packet is known to have come through this hook, so nothing in it has dropped it.
	through bool
	found   []found
	// behind drop the packet after one was found that queues it.
	behind []Rule
	// stolen: a rule of the packet's own hook hands it to somebody else.
	stolen bool
	// remains is how surely the packet is still there behind the hook that was run last.
	remains match
	// exits counts the ways out of a chain that may have been taken, stopped those of them that lead to no other chain.
	exits, stopped int
	accepted       match
	// types are those of addresses that rules have asked for.
	types map[addressOn]string
	// depth bounds jumps (NFT_JUMP_STACK_SIZE), steps the rules, looked the elements of sets.
	depth, steps, looked int
	watch                watcher
	// unsure is what of the rule that is being compared could not be told first, empty if nothing; doubted are such rules.
	unsure  string
	doubted []Doubt
}

// sought is the rule that is looked for: the one that drops the packet, gives it another destination, or hands it to a
// program.
type sought uint8

const (
	dropper sought = iota
	translator
	queuer
)

const (
	maxDepth = 16
	maxSteps = 1 << 18
)

// found is a rule that drops the packet, and how surely.
type found struct {
	rule Rule
	how  match
}

func (e *evaluation) outcome() Outcome {
	o := Outcome{Tracked: e.asked, Stolen: e.stolen, Behind: e.behind, Doubts: e.doubted}
	if len(e.found) == 1 && e.found[0].how == yes {
		o.Rule = &e.found[0].rule
		return o
	}
	for _, f := range e.found {
		o.Candidates = append(o.Candidates, f.rule)
	}
	o.Certain = len(e.found) > 0 && e.remains == no && !e.stolen
	return o
}

// base is a chain that a hook runs. run says how surely the packet goes on to the next one.
type base struct {
	identity
	priority int
	// nat: only a connection's first packet sees it. The chains of NAT are run by one function, in the order of priorities
	// of their own (nf_nat_inet_fn).
	nat bool
	own int
	run func(reach match) match
}

// hook runs all chains of e.p.Hook.
func (e *evaluation) hook() {
	bases := e.bases()
	reach := yes
	e.beginTracking()
	for len(bases) > 0 && reach != no {
		n := 1
		for n < len(bases) && bases[n].priority == bases[0].priority {
			n++
		}
		e.track(bases[0].priority)
		ordered, ok := e.inOrder(bases[:n])
		if !ok {
			reach = e.atOnce(ordered, reach)
		}
		for i := 0; ok && i < n; i++ {
			reach = e.atOnce(ordered[i:i+1], reach)
		}
		bases = bases[n:]
	}
	e.remains = reach
	e.track(1 << 30)
}

func (e *evaluation) bases() (bases []base) {
	for i := range e.s.Nft {
		bases = append(bases, e.nftBases(&e.s.Nft[i])...)
	}
	for i := range e.s.IPTables {
		bases = append(bases, e.iptablesBases(&e.s.IPTables[i])...)
	}
	if e.sought == translator {
		bases = slices.DeleteFunc(bases, func(b base) bool { return !b.nat })
	}
	for i := range bases {
		if bases[i].legacy && e.p.ByNfTables {
			bases[i].run = e.passing(bases[i].run)
		}
		bases[i] = bases[i].asRun(e.p.Hook)
	}
	slices.SortStableFunc(bases, func(a, b base) int { return cmp.Compare(a.priority, b.priority) })
	return bases
}

// passing is a chain that is known to have let the packet pass: what it does to the packet is done.
func (e *evaluation) passing(run func(match) match) func(match) match {
	return func(reach match) match {
		n := len(e.found)
		run(reach)
		e.found = e.found[:n]
		return reach
	}
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
