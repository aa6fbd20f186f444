package host

import (
	"fmt"
	"net/netip"
	"slices"
)

// Of rtnetlink(7): the numbers of the tables that every namespace has, and of who made a route.
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255

	byKernel = 2
)

// Types of an answer that no route has.
const (
	// NoRoute: no table that was asked has a route.
	NoRoute = "none"
	// Undecided: what was read does not say. The answer's Unread says why.
	Undecided = "undecided"
)

// refusals are the types of routes, and actions of rules, that answer with an error.
var refusals = []string{"blackhole", "unreachable", "prohibit"}

// Forbidden reports whether a route or a rule was made to refuse the packet.
func (a Answer) Forbidden() bool { return slices.Contains(refusals, a.Type) }

// Refused reports whether the lookup found no way to send or to receive the packet.
func (a Answer) Refused() bool { return a.Type == NoRoute || a.Forbidden() }

// Route looks up a packet as the kernel does (fib_lookup): rules by priority, and in each table the longest prefix that is
// alive. If a rule is not understood, or tests a field of f that is not known, the answer is known only if it is the same with
// that rule and without.
func (s *Snapshot) Route(f Flow) Answer {
	l := s.newLookup(f)
	a := l.from(0)
	if out := s.LinkNamed(f.OIF); out != nil && out.MasterKind == "vrf" {
		// Before Linux 5.18 the device was taken for its VRF.
		f.OIF = l.vrfName()
		if b := s.newLookup(f).from(0); !a.same(b) {
			a = Answer{Rule: a.Rule, Type: Undecided, Unread: fmt.Sprintf("what is bound to %s, a member of a VRF, is looked up in another way by older kernels", out.Name)}
		}
	}
	a.Unused = l.passed
	return a
}

// Output looks up a packet that is sent from here, as ip_route_output_key does. A packet that is bound to a device that is up,
// and no VRF, leaves by that one in any case: to the destination itself if no route says otherwise.
func (s *Snapshot) Output(f Flow) Answer {
	f.IIF = ""
	a := s.Route(f)
	out := s.LinkNamed(f.OIF)
	switch {
	case f.OIF == "":
	case out == nil || !out.Up:
		return Answer{Type: NoRoute, Unused: a.Unused}
	case a.Refused() && out.Type != "vrf" && out.MasterKind != "vrf":
		return Answer{Type: "unicast", Dev: out.Name, Hops: []Hop{{Link: out.Index}}}
	}
	return a
}

// Owns reports whether the kernel takes packets for the address as its own: there is a local route for it.
func (s *Snapshot) Owns(addr netip.Addr) bool { return s.Route(Flow{Dst: addr}).Type == "local" }

// AddrType is what the kernel takes an address for (inet_dev_addr_type): "local", "broadcast" or "multicast", if the table
// of local addresses says so; else "unicast". With dev only what it says of that device counts.
func (s *Snapshot) AddrType(addr netip.Addr, dev string) string {
	switch {
	case !addr.Is4():
		return "unicast"
	case addr.IsMulticast():
		return "multicast"
	case addr.As4()[0] == 0, addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "broadcast"
	}
	a, ok := s.answer(s.newLookup(Flow{Dst: addr}).best[tableLocal])
	if !ok || dev != "" && dev != a.Dev {
		return "unicast"
	}
	return a.Type
}

// AddrOn are the devices that have the address, whether or not they are up.
func (s *Snapshot) AddrOn(addr netip.Addr) (on []Link) {
	for _, a := range s.Addrs {
		if a.Prefix.Addr() != addr {
			continue
		}
		if l := s.Link(a.Link); l != nil {
			on = append(on, *l)
		}
	}
	return on
}
