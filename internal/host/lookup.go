package host

import (
	"cmp"
	"fmt"
	"slices"
)

// lookup is one question to the rules and tables (fib_rules_lookup).
type lookup struct {
	s *Snapshot
	f Flow
	// iif and oif are the names that rules may see: several where kernels differ. Before Linux 5.18 a lookup in a VRF
	// had the VRF for both (l3mdev_update_flow).
	iif, oif []string
	// vrf is the VRF in whose table the rule l3mdev looks; domain says that there is one, of which vrf may not be known.
	vrf    *Link
	domain bool
	rules  []Rule
	// best is each table's best route, unused one that would come before it. vague are the tables that have one for
	// some TOS, if the packet's is not known.
	best, unused map[uint32]*Route
	vague        []uint32
	// seen keeps the answers that begin at a rule that may apply or not.
	seen map[int]Answer
	// passed are the routes that were passed over in the tables that were asked.
	passed []Unused
}

func (s *Snapshot) newLookup(f Flow) *lookup {
	l := &lookup{s: s, f: f, rules: s.Rules, iif: []string{"lo"}, oif: []string{f.OIF}} // lo: what is sent from here
	if !slices.IsSortedFunc(l.rules, byPriority) {
		l.rules = slices.Clone(l.rules)
		slices.SortStableFunc(l.rules, byPriority)
	}
	in, out := s.LinkNamed(f.IIF), s.LinkNamed(f.OIF)
	if f.IIF != "" {
		l.iif = []string{f.IIF}
	}
	switch {
	case out != nil && out.Type == "vrf":
		l.vrf, l.domain, l.oif = out, true, []string{"", out.Name}
	case out != nil && out.MasterKind == "vrf":
		l.enter(out.Master)
		l.oif = []string{out.Name, l.vrfName()}
	case out != nil:
	case f.VRF != "":
		l.vrf, l.domain = s.LinkNamed(f.VRF), true
		l.iif = append(l.iif, f.VRF)
	case in != nil && in.Type == "vrf":
		l.vrf, l.domain = in, true
	case in != nil && in.MasterKind == "vrf":
		l.enter(in.Master)
		l.iif = append(l.iif, l.vrfName())
	}
	l.pick()
	return l
}

func (l *lookup) enter(master uint32) { l.vrf, l.domain = l.s.Link(master), true }

func (l *lookup) vrfName() string {
	if l.vrf == nil {
		return ""
	}
	return l.vrf.Name
}

// pick finds the best route of each table, and the one before it that is not used. Each route is looked at once, or found by the index.
func (l *lookup) pick() {
	l.best, l.unused = map[uint32]*Route{}, map[uint32]*Route{}
	out := l.s.LinkNamed(l.f.OIF)
	for r := range l.s.routesTo(l.f.Dst) {
		if r.TOS != 0 && l.f.Unknown&FieldTOS != 0 {
			l.vague = append(l.vague, r.Table)
		}
		if r.TOS != 0 && r.TOS != l.f.TOS&routeTOS {
			continue
		}
		best := l.best
		if !l.usable(r, out) {
			if l.f.OIF != "" {
				continue // most of those lead by another device
			}
			best = l.unused
		}
		if b := best[r.Table]; b == nil || r.before(b) {
			best[r.Table] = r
		}
	}
}

// routeTOS are the bits of a TOS that tables and rules look at (IPTOS_RT_MASK).
const routeTOS = 0x1c

// usable reports whether one of the route's hops is alive, and by the device that is asked for, if there is one. A VRF is
// no such device: its table is asked, and its members' routes are taken.
func (l *lookup) usable(r *Route, out *Link) bool {
	free := l.f.OIF == "" || out != nil && out.Type == "vrf"
	return len(r.Hops) == 0 || slices.ContainsFunc(r.Hops, func(h Hop) bool {
		return l.s.alive(h) && (free || out != nil && out.Index == h.Link)
	})
}

// alive reports whether the kernel uses a hop (fib_lookup_good_nhc). One without carrier is alive as long as no setting
// says otherwise.
func (s *Snapshot) alive(h Hop) bool {
	if !h.Dead {
		return true
	}
	if l := s.Link(h.Link); h.LinkDown && l != nil && l.Up {
		all, known := s.Sysctl("net/ipv4/conf/all/ignore_routes_with_linkdown")
		own, has := s.Sysctl("net/ipv4/conf/" + l.Name + "/ignore_routes_with_linkdown")
		return known && has && all == 0 && own == 0 // a setting that was changed after the routes were read
	}
	return false
}

// before reports whether the kernel prefers the route to the other one in one table.
func (r *Route) before(o *Route) bool {
	return cmp.Or(cmp.Compare(o.Dst.Bits(), r.Dst.Bits()), cmp.Compare(o.TOS, r.TOS), cmp.Compare(r.Priority, o.Priority)) < 0
}

// byPriority is the order in which the kernel asks rules.
func byPriority(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) }

// from asks the rules, beginning with that one.
func (l *lookup) from(i int) Answer {
	for ; i < len(l.rules); i++ {
		r := &l.rules[i]
		switch l.fits(r) {
		case no:
			continue
		case perhaps:
			return l.either(i)
		}
		if r.Action == "goto" {
			i = l.target(i) - 1
			continue
		}
		if a, ok := l.act(r); ok {
			return a
		}
	}
	return Answer{Type: NoRoute}
}

// target is the next rule after one that applies but does not answer: the target of a goto, or the rule behind it.
func (l *lookup) target(i int) int {
	if l.rules[i].Action == "goto" {
		next, _ := slices.BinarySearchFunc(l.rules, l.rules[i].Goto, func(x Rule, priority uint32) int { return cmp.Compare(x.Priority, priority) })
		if next < len(l.rules) && l.rules[next].Priority == l.rules[i].Goto {
			return max(next, i+1)
		}
	}
	return i + 1 // the kernel passes over a goto without target
}

// either is the answer if a rule may apply or not: the answer that both ways give, or none. It is found once for each rule,
// however many ways lead to it.
func (l *lookup) either(i int) Answer {
	if a, ok := l.seen[i]; ok {
		return a
	}
	r := &l.rules[i]
	a := l.from(i + 1)
	with, ok := l.act(r)
	if !ok {
		with = a
		if next := l.target(i); next != i+1 {
			with = l.from(next)
		}
	}
	switch {
	case with.same(a):
	case with.Type == Undecided:
		a = with
	case a.Type != Undecided:
		a = Answer{Rule: r, Type: Undecided, Unread: fmt.Sprintf("rule %d: %s", r.Priority, l.doubt(r))}
	}
	if l.seen == nil {
		l.seen = map[int]Answer{}
	}
	l.seen[i] = a
	return a
}

// same reports whether two answers mean the same for a packet. Of two refusals only one is to be blamed.
func (a Answer) same(b Answer) bool {
	if a.Type != b.Type || a.Type == Undecided || a.Forbidden() && (a.Route != b.Route || a.Route == nil && a.Rule != b.Rule) {
		return false
	}
	return a.Dev == b.Dev && a.Gateway == b.Gateway && slices.Equal(a.Hops, b.Hops)
}

// act is what a rule that applies answers; ok is false if the next one is asked (fib4_rule_action, fib4_rule_suppress).
func (l *lookup) act(r *Rule) (a Answer, ok bool) {
	switch {
	case r.Action == "":
		return Answer{Rule: r, Type: Undecided, Unread: fmt.Sprintf("rule %d: %s", r.Priority, r.Unread)}, true
	case r.Action == "nop" || r.Action == "goto":
		return a, false
	case r.Action != "lookup":
		return Answer{Rule: r, Type: r.Action}, true
	}
	table := r.Table
	if r.L3mdev {
		if l.vrf == nil || l.vrf.Table == 0 {
			return Answer{Rule: r, Type: Undecided, Unread: fmt.Sprintf("rule %d: the VRF's table is not known", r.Priority)}, true
		}
		table = l.vrf.Table
	}
	best := l.best[table]
	if u := l.unused[table]; u != nil && (best == nil || u.before(best)) {
		l.passOver(u)
	}
	if slices.Contains(l.vague, table) {
		return Answer{Rule: r, Type: Undecided, Unread: fmt.Sprintf("table %d: the packet's TOS is not known", table)}, true
	}
	if l.merged(table) {
		return Answer{Rule: r, Type: Undecided, Unread: "tables local and main are one as long as there never was another rule, and another route of theirs counts then"}, true
	}
	a, ok = l.s.answer(best)
	if ok && !a.Forbidden() && best.Dst.Bits() <= r.Suppress {
		return Answer{}, false
	}
	a.Rule = r
	return a, ok
}

// merged reports whether it matters that the tables local and main are one until somebody makes another rule
// (fib_trie_table): the state does not say whether somebody did. A throw in one table local would also end the lookup.
func (l *lookup) merged(table uint32) bool {
	local, main := l.best[tableLocal], l.best[tableMain]
	return table == tableLocal && local != nil && main != nil && (main.Dst.Bits() > local.Dst.Bits() || local.Type == "throw") && !l.s.customRules()
}

// passOver remembers a route that would have won, and that the kernel does not use.
func (l *lookup) passOver(r *Route) {
	if slices.ContainsFunc(l.passed, func(u Unused) bool { return u.Route == r }) {
		return
	}
	u := Unused{Route: r}
	for _, h := range r.Hops {
		if link := l.s.Link(h.Link); link != nil {
			u.Dev, u.NoCarrier = link.Name, link.Up && h.LinkDown
			break
		}
	}
	l.passed = append(l.passed, u)
}

// answer is the answer of a table with that best route; ok is false if it has no route, or a throw: then the next rule is
// asked.
func (s *Snapshot) answer(best *Route) (a Answer, ok bool) {
	if best == nil || best.Type == "throw" {
		return a, false
	}
	a = Answer{Route: best, Type: best.Type, Table: best.Table, Hops: best.Hops}
	for _, h := range best.Hops {
		if s.alive(h) {
			a.Gateway = h.Gateway
			if l := s.Link(h.Link); l != nil {
				a.Dev = l.Name
			}
			break
		}
	}
	if best.Type == "unicast" && len(best.Hops) == 0 {
		a.Type, a.Unread = Undecided, fmt.Sprintf("the next hop of the route to %s", best.Dst)
	}
	return a, true
}
