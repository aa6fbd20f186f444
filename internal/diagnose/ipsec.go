package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// xfrmState finds the IPsec policy that counts for the packet: of those whose selectors it fits, the one with the smallest
// priority (xfrm_policy_lookup_bytype). If that one lets it pass, no other is asked.
func xfrmState(s Subject, st *State) *finding {
	dir, sparing := "in", "disable_policy"
	if s.Reply || s.Tunnelled && s.Leaving {
		dir, sparing = "out", "disable_xfrm"
	}
	if st.Either(s.Dev, sparing) {
		return nil
	}
	fitting := slices.DeleteFunc(slices.Clone(st.XFRM), func(p host.Policy) bool { return p.Dir != dir || !selects(p, s) })
	slices.SortStableFunc(fitting, func(a, b host.Policy) int { return cmp.Compare(a.Priority, b.Priority) })
	unsure := false
	for _, p := range fitting {
		equal := slices.ContainsFunc(fitting, func(x host.Policy) bool { return x.Priority == p.Priority && bars(x) != bars(p) })
		unsure = unsure || equal || p.Beyond != ""
		switch {
		case bars(p) && s.Supposed && dir == "in" && !st.whole.Knows(host.PartSysctls):
			return &finding{undecided: "sysctls: whether the device asks IPsec's policies (disable_policy)"}
		case bars(p) && s.Supposed && dir == "out" && p.Action != "block":
			return &finding{undecided: fmt.Sprintf("xfrm: whether there is a state for the policy with index %d, by which the packet is to be encrypted", p.Index)}
		case bars(p):
			return policyFinding(p, unsure)
		case !unsure:
			return nil
		}
	}
	return nil
}

// bars reports whether a policy lets no packet pass as it is.
func bars(p host.Policy) bool { return p.Action == "block" || p.Templates > 0 && !p.Optional }

// selects compares a policy's selector with the packet (__xfrm4_selector_match). ICMP's type and code are where others have
// ports; what has neither has 0.
func selects(p host.Policy, s Subject) bool {
	proto, sport, dport := s.Packet.Inner.Protocol, s.Now.SrcPort, s.Now.DstPort
	switch {
	case s.Tunnelled:
		proto = s.outerProto()
		sport, dport = s.outerPorts()
	case proto == protoICMP:
		sport, dport = uint16(s.Packet.ICMPType), uint16(s.Packet.ICMPCode)
	}
	return p.Src.Contains(s.src()) && p.Dst.Contains(s.dst()) && (p.Proto == 0 || p.Proto == proto) &&
		(p.Sport == 0 || p.Sport == sport) && (p.Dport == 0 || p.Dport == dport)
}

// policyFinding is what is said of a policy that refuses the packet. One that asks for IPsec refuses it only if it does not come,
// or can't go, by that: the state does not say which.
func policyFinding(p host.Policy, unsure bool) *finding {
	f := &finding{
		summary:    fmt.Sprintf("the IPsec policy for %s → %s (%s) refuses the packet", p.Src, p.Dst, p.Dir),
		evidence:   []evidence{by(host.PartXFRM, "ip xfrm policy: src %s dst %s dir %s action %s priority %d", p.Src, p.Dst, p.Dir, p.Action, p.Priority)},
		consistent: unsure, doubtful: unsure,
	}
	if p.Beyond != "" {
		f.evidence = append(f.evidence, by(host.PartXFRM, "ip xfrm policy: %s, which is not compared with the packet", p.Beyond))
	}
	if p.Action == "block" {
		f.fix = command.Of("ip xfrm policy delete dir % index %", command.OneOf("the direction", p.Dir, "in", "out"), command.Number(p.Index))
		f.mend = func(st *State) {
			st.whole.XFRM = slices.DeleteFunc(slices.Clone(st.whole.XFRM), func(x host.Policy) bool { return x == p })
		}
		return f
	}
	// To remove it would be to do without IPsec.
	does := "the packet has not come by it"
	if p.Dir == "out" {
		does = "no security association may be there for it"
	}
	f.summary = fmt.Sprintf("the IPsec policy for %s → %s (%s) asks for IPsec, and %s: look at ip xfrm state, or allow the packet by a policy with a smaller priority number", p.Src, p.Dst, p.Dir, does)
	f.consistent, f.doubtful = true, true
	return f
}
