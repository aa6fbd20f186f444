package host

import (
	"net/netip"
	"slices"
)

// fit says whether a rule applies to a packet.
type fit int8

const (
	no fit = iota
	perhaps
	yes
)

func fitIf(is bool) fit {
	if is {
		return yes
	}
	return no
}

// fits compares a rule with the packet (fib_rule_match, fib4_rule_match).
func (l *lookup) fits(r *Rule) fit {
	f := l.f
	fits := min(
		fitIf(in(r.From, f.Src)), fitIf(in(r.To, f.Dst)), device(r.IIF, l.iif), device(r.OIF, l.oif),
		l.known(FieldMark, (r.Mark^f.Mark)&r.mask() == 0, r.mask() != 0),
		l.known(FieldTOS, r.TOS == f.TOS&routeTOS, r.TOS != 0),
		l.known(FieldTOS, (r.DSCP^f.TOS>>2)&r.DSCPMask == 0, r.DSCPMask != 0),
		l.known(FieldUID, r.UIDFirst <= f.UID && f.UID < r.UIDEnd, r.UIDEnd != 0),
		fitIf(r.IPProto == 0 || r.IPProto == f.Proto),
		l.known(FieldPorts, port(r.Sport, r.SportMask, f.Sport), r.Sport != [2]uint16{}),
		l.known(FieldPorts, port(r.Dport, r.DportMask, f.Dport), r.Dport != [2]uint16{}),
		fitIf(!r.L3mdev || l.domain), l.keyed(r),
	)
	unread := func() {
		if fits == yes && r.Unread != "" {
			fits = perhaps
		}
	}
	unread() // it may be a selector,
	if r.Invert {
		fits = yes - fits
	}
	unread() // or what the rule does
	return fits
}

// known reports whether a field is as the rule wants it, if the rule tests it.
func (l *lookup) known(f Field, as, asked bool) fit {
	switch {
	case !asked:
		return yes
	case l.f.Unknown&f != 0:
		return perhaps
	}
	return fitIf(as)
}

// doubt says why a rule may apply or not.
func (l *lookup) doubt(r *Rule) string {
	switch unknown := l.f.Unknown; {
	case r.Unread != "":
		return r.Unread
	case unknown&FieldMark != 0 && r.mask() != 0:
		return "the packet's mark is not known"
	case unknown&FieldUID != 0 && r.UIDEnd != 0:
		return "the socket's owner is not known"
	case unknown&FieldTOS != 0 && (r.TOS != 0 || r.DSCPMask != 0):
		return "the packet's TOS is not known"
	case unknown&FieldPorts != 0 && (r.Sport != [2]uint16{} || r.Dport != [2]uint16{}):
		return "the packet's ports are not known"
	case r.TunID != 0:
		return "the key of the packet's tunnel is not known"
	}
	return "kernels differ in the device that it sees in a VRF"
}

// in reports whether an address is in a prefix; a prefix of length 0 has all.
func in(p netip.Prefix, a netip.Addr) bool {
	return !p.IsValid() || p.Bits() == 0 || a.IsValid() && p.Contains(a)
}

// device compares a rule's device with those that it may see.
func device(want string, sees []string) fit {
	differs := func(name string) bool { return name != want }
	switch {
	case want == "" || !slices.ContainsFunc(sees, differs):
		return yes
	case slices.Contains(sees, want):
		return perhaps
	}
	return no
}

// port compares a port as fib_rule_port_match does.
func port(want [2]uint16, mask, port uint16) bool {
	if mask != 0 {
		return (want[0]^port)&mask == 0
	}
	return want[0] <= port && port <= want[1]
}

// keyed compares the key of the tunnel by which a packet came. Only "external" devices report a key, and IPIP has none.
func (l *lookup) keyed(r *Rule) fit {
	if r.TunID == 0 {
		return yes
	}
	in := l.s.LinkNamed(l.f.IIF)
	if in != nil && in.Tunnel != nil && in.Tunnel.Collect && in.Type != "ipip" {
		return perhaps
	}
	return no
}

// mask is which bits of a mark a rule compares; all, if it has a mark and says no mask.
func (r *Rule) mask() uint32 {
	if r.Mask == 0 && r.Mark != 0 {
		return ^uint32(0)
	}
	return r.Mask
}
