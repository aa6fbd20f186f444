package host

import (
	"net/netip"
	"slices"
)

// Near is a socket on the right port that does not take the packet, and why.
type Near struct {
	Socket *Socket
	// Why is "address" (bound to another one), "device" (bound to another one), "vrf" (the packet comes by one, and the
	// socket is bound to none) or "ipv6" (takes no IPv4).
	Why string
}

// Serves finds the sockets that take a packet for that address and port which came in by dev, the best first
// (inet_lookup: bound to the address before any address), and those on the port that do not.
func (s *Snapshot) Serves(proto string, to netip.AddrPort, dev *Link) (serving []Socket, near []Near) {
	for i := range s.Sockets {
		sock := &s.Sockets[i]
		if sock.Proto != proto || sock.Local.Port() != to.Port() || sock.State != "listen" && sock.State != "close" {
			continue
		}
		switch local := sock.Local.Addr().Unmap(); {
		case sock.V6 && (sock.V6Only || local.Is6() && !local.IsUnspecified()):
			near = append(near, Near{sock, "ipv6"})
		case !local.IsUnspecified() && local != to.Addr():
			near = append(near, Near{sock, "address"})
		case sock.Device != 0 && !s.boundTo(sock.Device, dev):
			near = append(near, Near{sock, "device"})
		case sock.Device == 0 && s.Closed(proto, dev):
			near = append(near, Near{sock, "vrf"})
		default:
			serving = append(serving, *sock)
		}
	}
	slices.SortStableFunc(serving, func(a, b Socket) int { return score(b, to) - score(a, to) })
	return serving, near
}

// boundTo reports whether a packet by dev is for a socket that is bound to a device, or to dev's VRF.
func (s *Snapshot) boundTo(device uint32, dev *Link) bool {
	return dev != nil && (dev.Index == device || dev.MasterKind == "vrf" && dev.Master == device)
}

// Closed reports whether what comes by dev is only for sockets that are bound to its VRF (inet_sk_bound_dev_eq).
func (s *Snapshot) Closed(proto string, dev *Link) bool {
	if dev == nil || dev.MasterKind != "vrf" {
		return false
	}
	open, ok := s.Sysctl("net/ipv4/" + proto + "_l3mdev_accept")
	return ok && open == 0
}

func score(s Socket, to netip.AddrPort) (n int) {
	if s.Local.Addr().Unmap() == to.Addr() {
		n += 2
	}
	if s.Device != 0 {
		n++
	}
	return n
}
