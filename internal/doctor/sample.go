package doctor

import (
	"cmp"
	"net/netip"
	"slices"

	"ipiptrace/internal/host"
)

// maxSamples bounds the clients, and the directors, that are supposed where none is given.
const maxSamples = 4

// anybody is an address of the Internet, as a client behind a default route has one.
var anybody = netip.AddrFrom4([4]byte{1, 2, 3, 4})

// somebody is another one, a director of whom nothing is known.
var somebody = netip.AddrFrom4([4]byte{1, 2, 3, 5})

// clients are those that were given, as far as different routes lead to them; else the peers of connections, else one behind
// each route.
func (x service) clients() (all []netip.Addr) {
	add := func(a netip.Addr) {
		if a.IsValid() && len(all) < maxSamples && !slices.Contains(all, a) && !x.s.Owns(a) {
			all = append(all, a)
		}
	}
	if x.o.Client.IsValid() {
		return []netip.Addr{within(x.o.Client)}
	}
	for _, sock := range x.s.Sockets {
		if sock.Remote.IsValid() && sock.Local.Addr().Unmap() == x.vip {
			add(sock.Remote.Addr().Unmap())
		}
	}
	if len(all) > 0 {
		return all
	}
	for _, p := range x.networks() {
		if p.Bits() == 0 {
			add(anybody)
		} else {
			add(within(p))
		}
	}
	if len(all) == 0 {
		all = []netip.Addr{anybody}
	}
	return all
}

// networks are those to which routes of the main table lead, the largest first.
func (x service) networks() (all []netip.Prefix) {
	const main = 254
	for _, r := range x.s.Routes {
		l := leads(x.s, r)
		if r.Table == main && r.Type == "unicast" && l != nil && l.Type != "loopback" {
			all = append(all, r.Dst)
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	return slices.Compact(all)
}

func leads(s *host.Snapshot, r host.Route) *host.Link {
	if len(r.Hops) == 0 {
		return nil
	}
	return s.Link(r.Hops[0].Link)
}

// within is an address in a network that is neither its first nor its last, where it has such.
func within(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr()
	for range 77 {
		if next := a.Next(); p.Bits() < 32 && p.Contains(next.Next()) {
			a = next
		}
	}
	return a
}

// directors are the one that was given; else those that tunnels are for, else those of which connection tracking has
// packets, else samples: neighbours, and somebody.
func (x service) directors() (all []netip.Addr) {
	add := func(a netip.Addr) {
		client := x.o.Client.IsSingleIP() && x.o.Client.Addr() == a
		if a.Is4() && !a.IsUnspecified() && len(all) < maxSamples && !slices.Contains(all, a) && !client && !x.s.Owns(a) {
			all = append(all, a)
		}
	}
	switch {
	case x.role == Director:
		return []netip.Addr{{}}
	case x.o.Director.IsValid():
		return []netip.Addr{x.o.Director}
	}
	for _, l := range x.s.Links {
		if l.Tunnel != nil && l.TakesIPv4() && !l.LinkNetns {
			add(l.Tunnel.Remote)
		}
	}
	if x.s.Conntrack != nil {
		for _, c := range x.s.Conntrack.Conns {
			if c.Proto == protoIPIP {
				add(c.From.Addr())
			}
		}
	}
	if len(all) > 0 {
		return all
	}
	for _, n := range x.s.Neighbours {
		if n.State != "failed" && n.State != "incomplete" && n.State != "noarp" {
			add(n.Addr)
		}
	}
	for _, y := range x.s.Addrs {
		if l := x.s.Link(y.Link); l != nil && x.isWire(*l) && y.Prefix.Bits() < 31 && y.Prefix.Addr() != x.vip {
			add(within(y.Prefix))
		}
	}
	if len(all) == 0 {
		all = []netip.Addr{somebody}
	}
	return all
}
