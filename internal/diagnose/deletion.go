package diagnose

import (
	"cmp"
	"net/netip"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// ip deletes the first route, rule or address that is as the command says; whatever the command leaves out may be anything.
// So a command is made only if what it takes is what is blamed, and nobody else's.

// deleteRule is the command that deletes a rule, and what it does; it names none if the kernel would take another one.
// Rules that are the same go together.
func (st *State) deleteRule(r host.Rule) (fix command.Fix, mend func(*State)) {
	first := slices.IndexFunc(st.Rules, func(x host.Rule) bool { return asRuleSays(r, x) })
	switch {
	case r.L3mdev:
		return command.None("the rule is that of every VRF"), nil
	case r.Action == "lookup" && (r.Priority == 0 || r.Priority >= 32766):
		return command.None("the rule is one that every machine needs"), nil
	case first >= 0 && st.Rules[first] != r:
		return command.None("ip rule del would take another rule of the same preference, which comes first"), nil
	}
	var mends []func(*State)
	for _, x := range st.Rules {
		if x == r {
			fix = fix.Then("ip rule del pref % %", command.Number(r.Priority), ruleWords(r))
			mends = append(mends, dropRule(r))
		}
	}
	return fix, together(mends...)
}

// asRuleSays reports whether `ip rule del` with the words of a rule may take another one (rule_find, fib4_rule_compare): what
// the words leave out is not compared, and neither is "not".
func asRuleSays(r, x host.Rule) bool {
	mask := func(r host.Rule) uint32 {
		if r.Mark == 0 && r.Mask == 0 {
			return 0
		}
		return cmp.Or(r.Mask, ^uint32(0))
	}
	names := func(p netip.Prefix) bool { return p.IsValid() && p.Bits() > 0 }
	return x.Priority == r.Priority &&
		(r.Action == "lookup" || x.Action == r.Action) && (r.Table == 0 || x.Table == r.Table) && (!r.L3mdev || x.L3mdev) &&
		(!names(r.From) || x.From == r.From) && (!names(r.To) || x.To == r.To) &&
		(r.IIF == "" || x.IIF == r.IIF) && (r.OIF == "" || x.OIF == r.OIF) &&
		(r.Mark == 0 || x.Mark == r.Mark) && (mask(r) == 0 || mask(x) == mask(r)) &&
		(r.TOS == 0 || x.TOS == r.TOS) && (r.IPProto == 0 || x.IPProto == r.IPProto) &&
		(r.Sport == [2]uint16{} || x.Sport == r.Sport) && (r.Dport == [2]uint16{} || x.Dport == r.Dport) &&
		(r.UIDEnd == 0 || x.UIDFirst == r.UIDFirst && x.UIDEnd == r.UIDEnd)
}

// deleteRoute is the command that deletes a route, and what it does. It says no more than it has to; it names none if the
// kernel would take another route all the same.
func (st *State) deleteRoute(r host.Route) (command.Fix, func(*State)) {
	for _, full := range []bool{false, true} {
		takes := func(x host.Route) bool { return asRouteSays(r, x, full) }
		var taken *host.Route
		for i := range st.Routes { // in the order of their metrics
			if x := &st.Routes[i]; takes(*x) && (taken == nil || x.Priority < taken.Priority) {
				taken = x
			}
		}
		if taken == nil || sameRoute(*taken, r) {
			return st.routeDeleted(r, full), dropRoute(r)
		}
	}
	return command.None("ip route del would take another route for the same network, which comes first"), nil
}

// asRouteSays reports whether `ip route del` with the words of a route may take another one (fib_table_delete, fib_nh_match);
// full: with its next hop, and its type in any case.
func asRouteSays(r, x host.Route, full bool) bool {
	if r.Nexthop != 0 { // its type, as it is shown, is the object's, and is not compared
		return x.Nexthop == r.Nexthop && x.Table == r.Table && x.Dst == r.Dst && x.TOS == r.TOS && (r.Priority == 0 || x.Priority == r.Priority)
	}
	return x.Table == r.Table && x.Dst == r.Dst && x.TOS == r.TOS && (r.Priority == 0 || x.Priority == r.Priority) &&
		(!full && r.Type == "unicast" || x.Type == r.Type) &&
		(!full || len(r.Hops) == 0 || len(x.Hops) > 0 && x.Hops[0].Link == r.Hops[0].Link && (!r.Hops[0].Gateway.IsValid() || x.Hops[0].Gateway == r.Hops[0].Gateway))
}

// routeDeleted are the words.
func (st *State) routeDeleted(r host.Route, full bool) command.Fix {
	kind, metric, tos, hop := command.Say(""), command.Say(""), command.Say(""), command.Say("")
	switch {
	case r.Nexthop != 0: // ip route del compares neither type nor hop of such a route (fib_nh_match)
		hop, full = command.Say("nhid").And(command.Number(r.Nexthop)), false
	case full || r.Type != "unicast":
		kind = command.OneOf("the type of the route", r.Type, "unicast", "local", "broadcast", "blackhole", "unreachable", "prohibit", "throw", "nat", "multicast")
	}
	if r.Priority != 0 {
		metric = command.Say("metric").And(command.Number(r.Priority))
	}
	if r.TOS != 0 { // without it ip deletes the route that has none
		tos = command.Say("tos").And(command.Number(r.TOS))
	}
	if full && len(r.Hops) > 0 {
		if r.Hops[0].Gateway.IsValid() {
			hop = command.Say("via").And(command.Address(r.Hops[0].Gateway))
		}
		if l := st.Link(r.Hops[0].Link); l != nil {
			hop = hop.And(command.Say("dev"), command.Device(l.Name))
		}
	}
	return command.Of("ip route del % % % % table % %", kind, command.Prefix(r.Dst), tos, hop, tableName(r.Table), metric)
}

// sameRoute reports whether two are one route.
func sameRoute(a, b host.Route) bool {
	return a.Table == b.Table && a.Dst == b.Dst && a.TOS == b.TOS && a.Priority == b.Priority && a.Type == b.Type && slices.Equal(a.Hops, b.Hops)
}

// closes reports whether a route refuses whatever has no route of its own, as the default of a VRF or of a table of policy
// routing does: without it packets would go on to other tables, which somebody does not want.
func closes(r host.Route) bool { return r.Dst.Bits() == 0 && r.Type != "unicast" }

// deleteAddress is the command that takes an address from a device, and what it does. The kernel takes later ones of the same
// network with it (inet_del_ifa), unless promote_secondaries is set: they are given back.
func (st *State) deleteAddress(p netip.Prefix, l host.Link) (command.Fix, func(*State)) {
	dev := command.Device(l.Name)
	fix := command.Of("ip addr del % dev %", command.Prefix(p), dev)
	all, mends := st.sharing(l, p), []func(*State){takeAddress(p, l.Index)}
	for _, later := range all[slices.Index(all, p)+1:] {
		fix, mends = fix.Then("ip addr replace % dev %", command.Prefix(later), dev), append(mends, givePrefix(later, l.Name))
	}
	return fix, together(mends...)
}

// unharmed is the finding without its repair, where that would cut this host off: by a device by which others come, it would
// lose an address of its own, the network of one, or its default route.
func (f finding) unharmed(st *State) finding {
	if st == nil || f.mend == nil || len(f.fix.Commands()) == 0 || !st.cutsOff(f.mend) {
		return f
	}
	f.fix, f.mend = command.None("it would take an address of this host, or the way to its network, away"), nil
	return f
}

// cutsOff reports whether a repair takes from this host what others reach it by.
func (st *State) cutsOff(mend func(*State)) bool {
	after := st.mended(mend).whole
	if sameSlice(after.Addrs, st.whole.Addrs) && sameSlice(after.Routes, st.whole.Routes) {
		return false
	}
	leads := func(s *host.Snapshot, to netip.Prefix) func(host.Route) bool {
		return func(r host.Route) bool {
			wire := func(h host.Hop) bool { l := s.Link(h.Link); return l != nil && !swallows(*l) }
			return r.Type == "unicast" && r.Table != tableLocal && r.Dst == to && slices.ContainsFunc(r.Hops, wire)
		}
	}
	lost := func(to netip.Prefix) bool {
		return slices.ContainsFunc(st.whole.Routes, leads(st.whole, to)) && !slices.ContainsFunc(after.Routes, leads(after, to))
	}
	for _, x := range st.whole.Addrs {
		if l := st.whole.Link(x.Link); l != nil && !swallows(*l) && (!after.Owns(x.Prefix.Addr()) || lost(x.Prefix.Masked())) {
			return true
		}
	}
	return lost(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
}

// sharing are the addresses of a device that share a network, in the kernel's order.
func (st *State) sharing(l host.Link, p netip.Prefix) (all []netip.Prefix) {
	for _, x := range st.AddrsOf(l.Index) {
		if x.Prefix == p || x.Prefix.Masked() == p.Masked() {
			all = append(all, x.Prefix)
		}
	}
	return all
}
