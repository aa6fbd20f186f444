package read

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

func (r *reader) links() error {
	all, err := r.rt.LinkList()
	if err != nil {
		return err
	}
	kinds := map[int]string{}
	for _, l := range all {
		kinds[l.Attrs().Index] = l.Type()
	}
	for _, l := range all {
		r.s.Links = append(r.s.Links, linkOf(l, kinds))
	}
	return nil
}

func linkOf(l netlink.Link, kinds map[int]string) host.Link {
	a := l.Attrs()
	to := host.Link{
		Index: uint32(a.Index), Name: a.Name, Type: l.Type(), MTU: uint32(a.MTU), MAC: a.HardwareAddr.String(),
		Up: a.RawFlags&unix.IFF_UP != 0, Running: a.RawFlags&unix.IFF_RUNNING != 0,
		Promisc: a.Promisc > 0 || a.RawFlags&unix.IFF_PROMISC != 0, NoARP: a.RawFlags&unix.IFF_NOARP != 0,
		Master: uint32(a.MasterIndex), MasterKind: kinds[a.MasterIndex], LinkNetns: a.NetNsID >= 0 && l.Type() != "veth",
		Tunnel: tunnelOf(l),
	}
	if to.Tunnel != nil && !to.LinkNetns {
		to.Tunnel.Link = uint32(a.ParentIndex) // IFLA_LINK (ip_tunnel_get_iflink); the library leaves IFLA_IPTUN_LINK out
	}
	if a.RawFlags&unix.IFF_LOOPBACK != 0 {
		to.Type = "loopback"
	}
	if v, ok := l.(*netlink.Vrf); ok {
		to.Table = v.Table
	}
	if s := a.Statistics; s != nil {
		to.RxDropped, to.RxErrors, to.RxFrameErr, to.TxDropped = s.RxDropped, s.RxErrors, s.RxFrameErrors, s.TxDropped
	}
	if x := a.Xdp; x != nil && x.Attached {
		to.XDP = []host.XDP{{Mode: xdpModes[x.AttachMode], ID: x.ProgId}}
	}
	return to
}

// xdpModes are XDP_ATTACHED_* (linux/if_link.h).
var xdpModes = map[uint32]string{1: "driver", 2: "generic", 3: "hardware", 4: "several"}

func tunnelOf(l netlink.Link) *host.Tunnel {
	switch t := l.(type) {
	case *netlink.Iptun:
		return &host.Tunnel{
			Local: addr(t.Local), Remote: addr(t.Remote), Proto: t.Proto, Collect: t.FlowBased,
			Fallback: l.Attrs().Name == "tunl0", TTL: t.Ttl, EncapType: t.EncapType, EncapPort: t.EncapDport,
		}
	case *netlink.Sittun:
		return &host.Tunnel{
			Local: addr(t.Local), Remote: addr(t.Remote), Proto: t.Proto,
			Fallback: l.Attrs().Name == "sit0", TTL: t.Ttl, EncapType: t.EncapType, EncapPort: t.EncapDport,
		}
	case *netlink.Gretun:
		return &host.Tunnel{
			Local: addr(t.Local), Remote: addr(t.Remote), Proto: 47, Collect: t.FlowBased,
			Fallback: l.Attrs().Name == "gre0", TTL: t.Ttl, Keyed: t.IFlags&nl.GRE_KEY != 0,
		}
	case *netlink.Vti:
		return &host.Tunnel{Local: addr(t.Local), Remote: addr(t.Remote), Proto: host.ProtoIPIP, Fallback: l.Attrs().Name == "ip_vti0"}
	}
	return nil
}

// addr is an address; 0.0.0.0, which means any, is the zero Addr.
func addr(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if !ok || size == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a.Unmap(), bits)
}

func (r *reader) addrs() error {
	all, err := r.rt.AddrList(nil, unix.AF_INET)
	for _, a := range all {
		to := host.Addr{Link: uint32(a.LinkIndex), Prefix: prefix(a.IPNet), Scope: scopes[a.Scope]}
		if a.Peer != nil && !a.Peer.IP.Equal(a.IP) {
			to.Peer = prefix(a.Peer)
		}
		r.s.Addrs = append(r.s.Addrs, to)
	}
	return err
}

// scopes are rt_scope_t (rtnetlink(7)).
var scopes = map[int]string{0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}

// neighbourStates are NUD_* (linux/neighbour.h).
var neighbourStates = map[int]string{
	0x00: "none", 0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe", 0x20: "failed",
	0x40: "noarp", 0x80: "permanent",
}

// maxNeighbours bounds what is kept; the ones that are not well come first.
const maxNeighbours = 4096

func (r *reader) neighbours() error {
	all, err := r.rt.NeighList(0, unix.AF_INET)
	for _, n := range all {
		r.s.Neighbours = append(r.s.Neighbours, host.Neighbour{
			Link: uint32(n.LinkIndex), Addr: addr(n.IP), State: neighbourStates[n.State], MAC: n.HardwareAddr.String(),
		})
	}
	well := func(n host.Neighbour) int {
		if n.State == "failed" || n.State == "incomplete" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(r.s.Neighbours, func(a, b host.Neighbour) int { return cmp.Compare(well(a), well(b)) })
	r.s.Neighbours = r.s.Neighbours[:min(len(r.s.Neighbours), maxNeighbours)]
	return err
}
