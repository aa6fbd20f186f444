package host

import (
	"cmp"
	"net/netip"
	"slices"
)

// Tunnel protocols (IFLA_IPTUN_PROTO).
const (
	ProtoAny  = 0
	ProtoIPIP = 4
)

// askedInTurn are the kinds of devices that tunnel4_rcv asks for a packet of protocol 4 (struct xfrm_tunnel.priority): the
// first that has a device for the two outer addresses takes the packet, or drops it.
var askedInTurn = []string{"vti", "ipip", "sit"}

// TakesIPIP is the device that takes a packet of protocol 4 between two outer addresses that came in by the device with the
// index in; nil if none does. Whether it wants IPv4 inside is another question: Tunnel.TakesIPv4.
func (s *Snapshot) TakesIPIP(src, dst netip.Addr, in uint32) *Link {
	for _, kind := range askedInTurn {
		if l := s.TunnelFor(kind, src, dst, in); l != nil {
			return l
		}
	}
	return nil
}

// TakesIPv4 reports whether a device that takes a packet of protocol 4 takes it out of the tunnel, too: in another mode it
// drops it (ipip_tunnel_rcv, sit_tunnel_rcv), and vti wants it to come by IPsec.
func (l Link) TakesIPv4() bool {
	return l.Tunnel != nil && l.Type != "vti" && (l.Tunnel.Proto == ProtoAny || l.Tunnel.Proto == ProtoIPIP)
}

// TunnelFor is the device of a kind ("ipip", "sit", "vti", "gre") that takes packets without a key from one outer address to the
// other that came in by the device with the index in; nil if none does (ip_tunnel_lookup; sit: ipip6_tunnel_lookup). Only
// devices that are up are asked. One that was moved here from another namespace takes packets of that one.
func (s *Snapshot) TunnelFor(kind string, src, dst netip.Addr, in uint32) *Link {
	var up []*Link
	for i := range s.Links {
		if l := &s.Links[i]; l.Type == kind && l.Tunnel != nil && l.Up && !l.LinkNetns && !l.Tunnel.Keyed {
			up = append(up, l)
		}
	}
	slices.SortStableFunc(up, func(a, b *Link) int { return cmp.Compare(b.Index, a.Index) }) // the newest is asked first
	if kind == "sit" {
		return first(up, src, dst, func(l *Link) bool {
			t := l.Tunnel
			return t.Link == 0 || t.Link == in || given(t.Local) == given(t.Remote) // the one without addresses minds no device
		})
	}
	if l := first(up, src, dst, func(l *Link) bool { return in != 0 && l.Tunnel.Link == in }); l != nil {
		return l
	}
	return first(up, src, dst, func(*Link) bool { return true })
}

// first is the best device for the two addresses: one that names both, then the remote one, then the local one, then none.
func first(all []*Link, src, dst netip.Addr, may func(*Link) bool) *Link {
	for _, ends := range []struct{ local, remote netip.Addr }{{dst, src}, {netip.Addr{}, src}, {dst, netip.Addr{}}, {}} {
		for _, l := range all {
			if given(l.Tunnel.Local) == ends.local && given(l.Tunnel.Remote) == ends.remote && may(l) {
				return l
			}
		}
	}
	return nil
}

// given is an address of a tunnel; 0.0.0.0 is none.
func given(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
