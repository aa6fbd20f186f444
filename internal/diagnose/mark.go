package diagnose

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// unmarked reports whether no rule of netfilter or of tc on the machine gives packets a mark: then a packet that comes in has
// none.
func (st *State) unmarked() bool {
	return followed(st.whole) && !st.once("marks", st.marking)
}

// once is the answer to a question about all rules of netfilter.
func (st *State) once(question string, ask func() bool) bool {
	if st.rules == nil {
		return ask()
	}
	return st.rules.Once(question, ask)
}

// marking reports whether a rule of netfilter may give packets a mark.
func (st *State) marking() bool {
	says := func(word string) bool { return strings.Contains(word, "MARK") || strings.HasSuffix(word, "QUEUE") }
	return st.whole.AnyRule(
		func(_ host.NftTable, r host.NftRule) bool { return marks(r) },
		func(r host.IPTablesRule) bool { return slices.ContainsFunc(r.Args, says) },
	)
}

// followed reports whether all that may give packets a mark was read: rules of netfilter, and there are none of tc, whose
// filters may do anything.
func followed(s *host.Snapshot) bool {
	return s.Knows(host.PartNft) && s.Knows(host.PartIPTables) && s.Knows(host.PartFilters) && len(s.Filters) == 0
}

// marks reports whether a rule of nft may set a mark, or hand the packet to a program that may (NFQA_MARK).
func marks(r host.NftRule) bool {
	return strings.Contains(r.Text, "mark set") || slices.ContainsFunc(r.Exprs, func(e json.RawMessage) bool {
		return bytes.Contains(e, []byte("MARK")) || bytes.Contains(e, []byte(`"queue"`)) || bytes.Contains(e, []byte("mangle")) && bytes.Contains(e, []byte("mark"))
	})
}

// markPast is the mark that a request has when it has come through the hooks of netfilter up to the named one, in its own
// header and before that in the outer one: what comes out of a tunnel keeps it (skb_scrub_packet). Without a name it is the
// mark before the first hook. ok is false if it is not known.
func (st *State) markPast(s Subject, hook string) (mark uint32, ok bool) {
	if st.unmarked() {
		return 0, true
	}
	if s.Reply || !followed(st.whole) || len(st.whole.XFRM) > 0 || slices.ContainsFunc(st.whole.Nft, marksEarly) || st.detours(s.Dev) {
		return 0, false
	}
	var way []ruleset.Packet
	if s.Outer != nil && !s.Tunnelled {
		outer := s
		outer.Tunnelled, outer.Dev = true, s.Under
		if st.detours(s.Under) {
			return 0, false
		}
		way = append(way, st.atHook(outer, "input"))
	}
	if hook != "" {
		way = append(way, st.atHook(s, hook))
	}
	return st.rules.Mark(0, way...)
}

// routedMark is markPast where routing rules ask for marks; elsewhere nobody needs it.
func (st *State) routedMark(s Subject, hook string) (mark uint32, ok bool) {
	asks := func(r host.Rule) bool { return r.Mark != 0 || r.Mask != 0 }
	if !st.unmarked() && !slices.ContainsFunc(st.whole.Rules, asks) {
		return 0, false
	}
	return st.markPast(s, hook)
}

// marksEarly reports whether a rule of the table may set a mark before IP sees the packet, perhaps on another device below.
func marksEarly(t host.NftTable) bool {
	return slices.ContainsFunc(t.Chains, func(c host.NftChain) bool {
		return (t.Family == "bridge" || t.Family == "netdev" || c.Hook == "ingress") && slices.ContainsFunc(c.Rules, marks)
	})
}

// detours reports whether what comes by the device may have come through hooks before: in a VRF they are run twice, and
// what comes by lo was sent here.
func (st *State) detours(dev string) bool {
	l := st.whole.LinkNamed(dev)
	return l == nil || l.Type == "vrf" || l.Type == "loopback" || l.MasterKind != ""
}

// atHook is the packet at a hook.
func (st *State) atHook(s Subject, hook string) ruleset.Packet {
	s.Hook, s.Bridged = hook, false
	return filteredPacket(s, st.whole)
}

// remarked reports whether a rule at the hook output may give an answer, which has this mark, another one.
func (st *State) remarked(s Subject, f host.Flow) bool {
	if st.unmarked() {
		return false
	}
	if !s.Reply {
		s = s.answer()
	}
	return f.Unknown&host.FieldMark != 0 || !followed(st.whole) || !st.rules.KeepsMark(f.Mark, st.atHook(s, "output"))
}
