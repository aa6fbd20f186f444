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
		slices.SortFunc(ordered, func(a, b base) int { return cmp.Compare(b.handle, a.handle) })
		return ordered, true
	}
	calls := e.calls()
	place := func(b base) int {
		return slices.IndexFunc(calls, func(c host.NfCallee) bool { return b.is(c) })
	}
	if slices.ContainsFunc(bases, func(b base) bool { return place(b) < 0 }) {
		return bases, false
	}
	slices.SortFunc(ordered, func(a, b base) int { return cmp.Compare(place(a), place(b)) })
	return ordered, true
}

// oneTable reports whether all chains are of one table and their handles tell which is the latest.
func oneTable(bases []base) bool {
	return !slices.ContainsFunc(bases, func(b base) bool {
		return b.handle == 0 || b.family != bases[0].family || b.table != bases[0].table
	})
}

// calls are the functions that the kernel runs at the packet's hook, as far as the list was read.
func (e *evaluation) calls() []host.NfCallee {
	family, device := "ip", ""
	switch {
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
