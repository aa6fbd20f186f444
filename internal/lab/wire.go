package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MTU is that of the lab's network; tunnelMTU is what the outer header leaves of it to the inner packet.
const (
	MTU       = 1500
	tunnelMTU = MTU - 20
)

// patience is TCP's least retransmission timeout in ms, instead of 200: an emulated guest is slow, and
// a packet that was not lost must not be sent twice.
const patience = 1000

// MAC is the Ethernet address of the node with that address: 02:00 and the four bytes.
func MAC(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return append(net.HardwareAddr{2, 0}, b[:]...)
}

func HostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// network is the address in its /24.
func network(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: netip.PrefixFrom(a, 24).Masked().Addr().AsSlice(), Mask: net.CIDRMask(24, 32)}
}

// wire puts the three nodes on one bridge, in 10.0.0.0/24.
func (l *Lab) wire() error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	err := l.Switch.Links(func(h *netlink.Handle) error {
		if err := h.LinkAdd(bridge); err != nil {
			return fmt.Errorf("make bridge: %w", linkModule("bridge", err))
		}
		return h.LinkSetUp(bridge)
	})
	if err != nil {
		return err
	}
	for _, n := range []struct {
		node *Node
		addr netip.Addr
	}{{l.Client, ClientAddr}, {l.Director, DirectorAddr}, {l.RealServer, RealServerAddr}} {
		if err := n.node.plug(l.Switch, n.addr); err != nil {
			return fmt.Errorf("%s: %w", n.node.Role, err)
		}
	}
	return nil
}

// plug gives the node eth0 with the address, and its other end to the switch.
func (n *Node) plug(sw *Node, addr netip.Addr) error {
	port := string(n.Role)
	err := n.Links(func(h *netlink.Handle) error {
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: MTU, HardwareAddr: MAC(addr)},
			PeerName:  port, PeerNamespace: netlink.NsFd(int(sw.handle)),
		}
		if err := h.LinkAdd(veth); err != nil {
			return fmt.Errorf("make veth: %w", linkModule("veth", err))
		}
		for _, name := range []string{"lo", "eth0"} {
			if err := SetUp(h, name); err != nil {
				return err
			}
		}
		return AddAddr(h, "eth0", &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)})
	})
	if err != nil {
		return err
	}
	return sw.Links(func(h *netlink.Handle) error {
		peer, err := h.LinkByName(port)
		if err != nil {
			return err
		}
		bridge, err := h.LinkByName("br0")
		if err != nil {
			return err
		}
		if err := h.LinkSetMaster(peer, bridge); err != nil {
			return err
		}
		if err := h.LinkSetUp(peer); err != nil {
			return err
		}
		return KnowMAC(h, peer, MAC(addr))
	})
}

// KnowMAC tells the bridge where the address is. Otherwise it would flood the first frame of a node that
// has not sent any, and the others would see, and drop, what is not for them.
func KnowMAC(h *netlink.Handle, port netlink.Link, a net.HardwareAddr) error {
	err := h.NeighSet(&netlink.Neigh{
		LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE,
		State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER, HardwareAddr: a,
	})
	if err != nil {
		return fmt.Errorf("add %s to the bridge: %w", a, err)
	}
	return nil
}

// RouteClient sends the client's packets for the VIP to the director, small enough to be tunnelled:
// what an administrator does with advmss.
func (l *Lab) RouteClient() error {
	return l.Client.Links(func(h *netlink.Handle) error {
		return h.RouteReplace(&netlink.Route{Dst: HostNet(VIP), Gw: DirectorAddr.AsSlice(), MTU: tunnelMTU, RtoMin: patience})
	})
}

// RouteRealServer only makes the connected route patient.
func (l *Lab) RouteRealServer() error {
	return l.RealServer.Links(func(h *netlink.Handle) error {
		eth0, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		return h.RouteReplace(&netlink.Route{
			LinkIndex: eth0.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_KERNEL,
			Dst: network(RealServerAddr), Src: RealServerAddr.AsSlice(), RtoMin: patience,
		})
	})
}

// direct makes the VIP local on the director and has IPVS tunnel both services to the real server.
func (l *Lab) direct() error {
	err := l.Director.Links(func(h *netlink.Handle) error { return AddAddr(h, "lo", HostNet(VIP)) })
	if err != nil {
		return err
	}
	return l.EachService(AddService)
}

// BindVIP puts the VIP on the real server's tunl0 and keeps it out of ARP.
func (l *Lab) BindVIP() error {
	for _, s := range [][2]string{{"arp_ignore", "1"}, {"arp_announce", "2"}} {
		if err := l.RealServer.Sysctl("net/ipv4/conf/all/"+s[0], s[1]); err != nil {
			return err
		}
	}
	return l.RealServer.Links(func(h *netlink.Handle) error {
		// A new namespace has a tunl0 of its own, unless net.core.fb_tunnels_only_for_init_net says otherwise.
		if _, err := h.LinkByName("tunl0"); err != nil {
			if err := h.LinkAdd(&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "tunl0"}}); err != nil {
				return fmt.Errorf("make tunl0: %w", err)
			}
		}
		if err := SetUp(h, "tunl0"); err != nil {
			return err
		}
		return AddAddr(h, "tunl0", HostNet(VIP))
	})
}

func SetUp(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// AddAddr is there to be called again: an address that is there already is replaced.
func AddAddr(h *netlink.Handle, name string, addr *net.IPNet) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := h.AddrReplace(link, &netlink.Addr{IPNet: addr}); err != nil {
		return fmt.Errorf("add %s to %s: %w", addr, name, err)
	}
	return nil
}
