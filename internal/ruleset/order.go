package ruleset

import (
	"cmp"
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// identity tells which chain a base is: of nftables, or with backend iptables-legacy the table.
type identity struct {
	family, table, chain string
	legacy               bool
	// handle is the chain's; 0 if it does not say when the chain was made.
	handle uint64
}

// inOrder brings chains of one priority into the order in which the kernel runs them; ok is false if that is not known.
//
// Of two the one that was registered later runs first (nf_hook_entries_grow). Chains of a table are registered as they
// are made, and handles count up. Of chains of several tables only the kernel's own list tells.
func (e *evaluation) inOrder(bases []base) (ordered []base, ok bool) {
	if len(bases) < 2 {
		return bases, true
	}
	ordered = slices.Clone(bases)
	if oneTable(bases) {
		slices.SortFunc(ordered, func(a, b base) int { return cmp.Or(cmp.Compare(a.own, b.own), cmp.Compare(b.handle, a.handle)) })
		return ordered, true
	}
	calls := e.calls()
	if all, isNAT := natOrder(bases); isNAT {
		return all, true
	}
	place := func(b base) int {
		return slices.IndexFunc(calls, func(c host.NfCallee) bool { return b.is(c) })
	}
	if slices.ContainsFunc(bases, func(b base) bool { return place(b) < 0 }) {
		return bases, false
	}
	slices.SortFunc(ordered, func(a, b base) int { return cmp.Compare(place(a), place(b)) })
	return ordered, true
}

// oneTable reports whether all chains are of one table and their handles tell which is the latest. Those of NAT are
// run by what the first of them, perhaps of another table, has registered.
func oneTable(bases []base) bool {
	return !slices.ContainsFunc(bases, func(b base) bool {
		return b.handle == 0 || b.family != bases[0].family || b.table != bases[0].table || b.nat != bases[0].nat
	})
}

// natOrder is the order of chains of NAT whose own priorities all differ; ok is false of others.
func natOrder(bases []base) (ordered []base, ok bool) {
	seen := map[int]bool{}
	for _, b := range bases {
		if !b.nat || seen[b.own] {
			return nil, false
		}
		seen[b.own] = true
	}
	ordered = slices.Clone(bases)
	slices.SortFunc(ordered, func(a, b base) int { return cmp.Compare(a.own, b.own) })
	return ordered, true
}

// calls are the functions that the kernel runs at the packet's hook, as far as the list was read.
func (e *evaluation) calls() []host.NfCallee {
	family, device := "ip", ""
	switch {
	case e.p.ARP != nil:
		family = "arp"
	case e.p.Hook == "ingress", e.p.Hook == "egress":
		family, device = "netdev", e.device()
	case e.p.Bridged:
		family = "bridge"
	}
	for _, h := range e.s.Hooks {
		if h.Family == family && h.Hook == e.p.Hook && h.Device == device {
			return h.Calls
		}
	}
	return nil
}

// is reports whether it is the base that the kernel calls. The function that runs legacy iptables' tables is one for all
// (ipt_do_table), or one a table (iptable_filter_hook, before 5.16); the priority tells which.
func (b base) is(c host.NfCallee) bool {
	if b.legacy {
		return c.Priority == b.priority && (c.Function == "ipt_do_table" || strings.HasPrefix(c.Function, "iptable_"))
	}
	return c.Priority == b.priority && c.Family == b.family && c.Table == b.table && c.Chain == b.chain
}

// atOnce runs chains of which it is not known which is the first: what one of them does to the packet another may see,
// or not.
func (e *evaluation) atOnce(bases []base, reach match) (next match) {
	if len(bases) == 1 {
		return e.each(bases, reach)
	}
	before, found, behind, watch := e.effects, len(e.found), len(e.behind), e.watch
	e.watch = watcher{}
	e.each(bases, reach)
	either := e.or(before)
	e.watch = watch
	e.found, e.behind = e.found[:found], e.behind[:behind]
	if e.effects = before; !either.same(before) {
		e.doubts(may, "the order of chains")
		e.effects = either
	}
	return e.each(bases, reach)
}

// each runs chains from the same point. What they have done to the packet all of them may have, or one.
func (e *evaluation) each(bases []base, reach match) (next match) {
	next = reach
	start := e.effects
	var all []effects
	defer func() {
		for _, f := range all[:max(0, len(all)-1)] {
			e.effects = e.or(f)
		}
	}()
	before, droppers := len(e.found), 0
	for _, b := range bases {
		at, had := reach, len(e.found)
		if b.nat && e.sought != translator {
			if e.ct.single() && e.ct&(New|Related) == 0 {
				continue
			}
			at = at.and(may)
			e.doubts(at, "the connection may have been translated before")
		}
		if len(all) > 0 {
			e.effects = start
		}
		on := b.run(at)
		all = append(all, e.effects)
		if b.nat && on == at {
			on = reach
		} else if b.nat && e.sought != translator { // it may not be asked at all
			on = on.or(reach.and(may))
		}
		next = next.and(on)
		if len(e.found) > had {
			droppers++
		}
	}
	if droppers > 1 {
		for i := range e.found[before:] {
			e.found[before+i].how = may
		}
	}
	return next
}
