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
	// NoSource: the packet's source is no address of this host, from which alone its socket may send.
	NoSource = "no source"
	// Undecided: what was read does not say. The answer's Unread says why.
	Undecided = "undecided"
)

// refusals are the types of routes, and actions of rules, that answer with an error.
var refusals = []string{"blackhole", "unreachable", "prohibit"}

// Forbidden reports whether a route or a rule was made to refuse the packet.
func (a Answer) Forbidden() bool { return slices.Contains(refusals, a.Type) }

// Refused reports whether the lookup found no way to send or to receive the packet.
func (a Answer) Refused() bool { return a.Type == NoRoute || a.Type == NoSource || a.Forbidden() }

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
	if a := s.sends(f); a.Type != "" {
		return a
	}
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

// sends says that a socket may not send from the packet's source, or that this is not known: from an address of this host, or
// one for which the table of local addresses has a route, it may (__ip_dev_find). A route elsewhere has this host take packets
// for an address, and send none from it.
func (s *Snapshot) sends(f Flow) Answer {
	unknown := f.Unknown&FieldFromHere != 0
	if !f.FromHere && !unknown || !f.Src.IsValid() || len(s.AddrOn(f.Src)) > 0 {
		return Answer{}
	}
	own := s.newLookup(Flow{Dst: f.Src}).best
	switch local, main := own[tableLocal], own[tableMain]; {
	case local != nil && local.Type == "local":
		return Answer{}
	case unknown:
		return Answer{Type: Undecided, Unread: fmt.Sprintf("whether the socket may send from %s, which is no address of this host (IP_TRANSPARENT)", f.Src)}
	case main != nil && main.Type == "local" && !s.customRules():
		return Answer{Type: Undecided, Unread: "tables local and main are one as long as there never was another rule"}
	}
	return Answer{Type: NoSource}
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
	case addr.IsUnspecified(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
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
