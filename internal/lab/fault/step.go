package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

func sysctl(r lab.Role, name, value string) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: %s = %s", r, strings.ReplaceAll(name, "/", "."), value),
		Do:   func(_ context.Context, l *lab.Lab) error { return l.Node(r).Sysctl(name, value) },
	}
}

func linkUp(r lab.Role, dev string) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: set %s up", r, dev),
		Do: func(_ context.Context, l *lab.Lab) error {
			return l.Node(r).Links(func(h *netlink.Handle) error { return lab.SetUp(h, dev) })
		},
	}
}

func linkDown(r lab.Role, dev string) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: set %s down", r, dev),
		Do: func(_ context.Context, l *lab.Lab) error {
			return l.Node(r).Links(func(h *netlink.Handle) error {
				link, err := h.LinkByName(dev)
				if err != nil {
					return err
				}
				return h.LinkSetDown(link)
			})
		},
	}
}

func linkGone(r lab.Role, dev string) lab.Step {
	return unless("Cannot find", run(r, "ip", "link", "del", dev))
}

// move gives a device to another node.
func move(from lab.Role, dev string, to lab.Role) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: move %s to %s", from, dev, to),
		Do: func(_ context.Context, l *lab.Lab) error {
			return l.Node(from).Links(func(h *netlink.Handle) error {
				link, err := h.LinkByName(dev)
				if err != nil {
					return err
				}
				return h.LinkSetNsFd(link, l.Node(to).FD())
			})
		},
	}
}

func giveAddr(r lab.Role, dev string, addr netip.Addr) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: add %s/32 to %s", r, addr, dev),
		Do: func(_ context.Context, l *lab.Lab) error {
			return l.Node(r).Links(func(h *netlink.Handle) error { return lab.AddAddr(h, dev, lab.HostNet(addr)) })
		},
	}
}

func removeAddr(r lab.Role, dev string, addr netip.Addr) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: remove %s/32 from %s", r, addr, dev),
		Do: func(_ context.Context, l *lab.Lab) error {
			return l.Node(r).Links(func(h *netlink.Handle) error {
				link, err := h.LinkByName(dev)
				if err != nil {
					return err
				}
				err = h.AddrDel(link, &netlink.Addr{IPNet: lab.HostNet(addr)})
				if errors.Is(err, unix.EADDRNOTAVAIL) {
					return nil
				}
				return err
			})
		},
	}
}

// withoutAddr takes an address with its prefix off a device.
func withoutAddr(r lab.Role, dev, prefix string) lab.Step {
	return unless("Address not found", unless("Cannot assign", run(r, "ip", "addr", "del", prefix, "dev", dev)))
}

// run runs a command in the namespace; without output if it ends well.
func run(r lab.Role, argv ...string) lab.Step { return runWith(r, "", argv...) }

func runWith(r lab.Role, stdin string, argv ...string) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: %s", r, strings.Join(argv, " ")),
		Do: func(ctx context.Context, l *lab.Lab) error {
			return l.Node(r).Do(func() error {
				cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
				cmd.Stdin = strings.NewReader(stdin)
				out, err := cmd.CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
				}
				return nil
			})
		},
	}
}

// unless takes an error that says so for a sign that there was nothing to do.
func unless(said string, s lab.Step) lab.Step {
	return lab.Step{What: s.What, Do: func(ctx context.Context, l *lab.Lab) error {
		if err := s.Do(ctx, l); err != nil && !strings.Contains(err.Error(), said) {
			return err
		}
		return nil
	}}
}

// clsact makes a place for tc filters at both ends of the device, without any.
func clsact(r lab.Role, dev string) lab.Step {
	add := run(r, "tc", "qdisc", "add", "dev", dev, "clsact")
	remove := noClsact(r, dev)
	return lab.Step{What: add.What, Do: func(ctx context.Context, l *lab.Lab) error {
		return errors.Join(remove.Do(ctx, l), add.Do(ctx, l))
	}}
}

func noClsact(r lab.Role, dev string) lab.Step {
	remove := run(r, "tc", "qdisc", "del", "dev", dev, "clsact")
	return unless("Invalid", unless("No such file", unless("Cannot find", remove)))
}

func routeClient() lab.Step {
	return lab.Step{What: "client: route to the VIP", Do: func(_ context.Context, l *lab.Lab) error { return l.RouteClient() }}
}

func routeRealServer() lab.Step {
	return lab.Step{What: "real-server: route to the client", Do: func(_ context.Context, l *lab.Lab) error { return l.RouteRealServer() }}
}

// resolve tells a node another one's Ethernet address for good, without ARP.
func resolve(r lab.Role, a netip.Addr) lab.Step {
	return run(r, "ip", "neigh", "replace", a.String(), "lladdr", lab.MAC(a).String(), "dev", "eth0", "nud", "permanent")
}

// unresolve is the opposite of resolve.
func unresolve(r lab.Role, a netip.Addr) lab.Step {
	return unless("No such file", run(r, "ip", "neigh", "del", a.String(), "dev", "eth0"))
}

func bindVIP() lab.Step {
	return lab.Step{What: "real-server: the VIP on tunl0", Do: func(_ context.Context, l *lab.Lab) error { return l.BindVIP() }}
}

// learn tells the switch that the Ethernet address is the node's.
func learn(r lab.Role, address string) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("switch: %s is at the %s", address, r),
		Do: func(_ context.Context, l *lab.Lab) error {
			return switchPort(l, r, func(h *netlink.Handle, port netlink.Link) error {
				a, err := net.ParseMAC(address)
				if err != nil {
					return err
				}
				return lab.KnowMAC(h, port, a)
			})
		},
	}
}

// forget is the opposite of learn.
func forget(r lab.Role, address string) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("switch: %s is nowhere", address),
		Do: func(_ context.Context, l *lab.Lab) error {
			return switchPort(l, r, func(h *netlink.Handle, port netlink.Link) error {
				a, err := net.ParseMAC(address)
				if err != nil {
					return err
				}
				err = h.NeighDel(&netlink.Neigh{LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, HardwareAddr: a})
				if errors.Is(err, unix.ENOENT) {
					return nil
				}
				return err
			})
		},
	}
}

// switchPort is for f the switch's device that leads to the node.
func switchPort(l *lab.Lab, r lab.Role, f func(*netlink.Handle, netlink.Link) error) error {
	return l.Switch.Links(func(h *netlink.Handle) error {
		port, err := h.LinkByName(string(r))
		if err != nil {
			return err
		}
		return f(h, port)
	})
}
