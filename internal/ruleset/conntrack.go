package ruleset

import (
	"math/bits"
	"strings"
)

// CT are states in connection tracking, as bits: those of nftables (NF_CT_STATE_BIT).
type CT uint8

// The states. Invalid is also what rules see of a packet that connection tracking has not seen yet.
const (
	Invalid     CT = 1
	Established CT = 2
	Related     CT = 4
	New         CT = 8
	Untracked   CT = 64
)

const anyCT = Invalid | Established | Related | New | Untracked

var ctNames = map[string]uint64{
	"invalid": uint64(Invalid), "established": uint64(Established), "related": uint64(Related), "new": uint64(New), "untracked": uint64(Untracked),
}

// known is the set, or all states where none is known.
func (c CT) known() CT {
	if c == 0 {
		return anyCT
	}
	return c
}

// each are the states of a set.
func (c CT) each() (all []CT) {
	for _, one := range []CT{New, Established, Related, Invalid, Untracked} {
		if c.known()&one != 0 {
			all = append(all, one)
		}
	}
	return all
}

func (c CT) single() bool { return bits.OnesCount8(uint8(c)) == 1 }

// String names the states as rules do.
func (c CT) String() string {
	var names []string
	for _, one := range c.each() {
		for name, bit := range ctNames {
			if bit == uint64(one) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, " or ")
}

// priorityConntrack is NF_IP_PRI_CONNTRACK: there the packet's connection is looked up.
const priorityConntrack = -200

// beginTracking: before its connection is looked up a packet has none, and rules take that for invalid. On lo it
// has kept the one that it left with.
func (e *evaluation) beginTracking() {
	if e.p.Bridged { // whether bridges track connections is not read (nf_conntrack_bridge)
		e.ct = anyCT
		return
	}
	switch e.p.Hook {
	case "ingress", "output":
		e.ct, e.untracked = Invalid, no
	case "prerouting": // behind ingress
		switch {
		case e.p.IIF == "lo":
			e.ct = anyCT
		case e.ct == 0:
			e.ct = Invalid
		}
	}
}

// track brings the packet to a priority.
func (e *evaluation) track(priority int) {
	switch {
	case e.p.Bridged, e.p.Hook != "prerouting" && e.p.Hook != "output", priority < priorityConntrack:
	case priority == priorityConntrack:
		e.ct = anyCT
	case e.untracked == yes:
		e.ct = Untracked
	case e.untracked == may:
		e.ct = e.tracked | Untracked
	default:
		e.ct = e.tracked
	}
}

// notrack exempts the packet from connection tracking, unless it is tracked already.
func (e *evaluation) notrack(m match) {
	if m == no || e.ct&Invalid == 0 {
		return
	}
	if !e.ct.single() {
		m = may
	}
	e.untracked = e.untracked.or(m)
	if m == yes {
		e.ct = Untracked
	} else {
		e.ct |= Untracked
	}
}
