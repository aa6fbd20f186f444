package diagnose

import (
	"slices"

	"ipiptrace/internal/ruleset"
)

// crossing is where a bridge passes the packet on in its outer header, and the answer back. The answer is asked about where the
// service's port is known.
func (q Supposition) crossing(first Subject, st *State) (all []point) {
	in := first
	in.Tunnelled = false
	back := in.answer()
	first.Over, first.Tracked = q.Over, ruleset.New
	all = q.crossed(first, outerSide, st)
	if back.Over, back.Tracked = q.Over, ruleset.New; q.Proto == protoTCP {
		back.Tracked = ruleset.Invalid // its request was seen in a tunnel alone
	}
	if st.exempts() {
		back.Tracked = 0
	}
	if q.Service.Port() != 0 || q.Proto == protoICMP {
		all = append(all, q.crossed(back, replySide, st)...)
	}
	return all
}

// crossed are the hooks of the family bridge that a frame passes, and those of iptables, if that is asked for frames, too.
func (q Supposition) crossed(s Subject, on side, st *State) (all []point) {
	s.Dev = ""
	for _, bridged := range []bool{true, false} {
		if !bridged && !st.bridgesAskIPTables() {
			continue
		}
		for _, hook := range []string{"prerouting", "forward", "postrouting"} {
			s.Hook, s.Bridged = hook, bridged
			all = append(all, point{supposed: supposed{s, on}, asks: filtering})
		}
	}
	return all
}

// bridgesAskIPTables reports whether iptables is asked for frames (br_netfilter). Where only single bridges do (nf_call_iptables)
// that is not read.
func (st *State) bridgesAskIPTables() bool {
	on, known := st.whole.Sysctl("net/bridge/bridge-nf-call-iptables")
	return slices.Contains(st.whole.Modules, "br_netfilter") && (on != 0 || !known) // 1 unless somebody has set it
}
