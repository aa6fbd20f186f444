package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Step is one change to a lab that is already built. Repeated it changes nothing more.
type Step struct {
	// What says what changes, for people.
	What string
	Do   func(context.Context, *Lab) error
}

func sysctl(r Role, name, value string) Step {
	return Step{
		What: fmt.Sprintf("%s: %s = %s", r, strings.ReplaceAll(name, "/", "."), value),
		Do:   func(_ context.Context, l *Lab) error { return l.Node(r).Sysctl(name, value) },
	}
}

func linkUp(r Role, dev string) Step {
	return Step{
		What: fmt.Sprintf("%s: set %s up", r, dev),
		Do: func(_ context.Context, l *Lab) error {
			return l.Node(r).links(func(h *netlink.Handle) error { return setUp(h, dev) })
		},
	}
}

func linkDown(r Role, dev string) Step {
	return Step{
		What: fmt.Sprintf("%s: set %s down", r, dev),
		Do: func(_ context.Context, l *Lab) error {
			return l.Node(r).links(func(h *netlink.Handle) error {
				link, err := h.LinkByName(dev)
				if err != nil {
					return err
				}
				return h.LinkSetDown(link)
			})
		},
	}
}

func giveAddr(r Role, dev string, addr netip.Addr) Step {
	return Step{
		What: fmt.Sprintf("%s: add %s/32 to %s", r, addr, dev),
		Do: func(_ context.Context, l *Lab) error {
			return l.Node(r).links(func(h *netlink.Handle) error { return addAddr(h, dev, host(addr)) })
		},
	}
}

func removeAddr(r Role, dev string, addr netip.Addr) Step {
	return Step{
		What: fmt.Sprintf("%s: remove %s/32 from %s", r, addr, dev),
		Do: func(_ context.Context, l *Lab) error {
			return l.Node(r).links(func(h *netlink.Handle) error {
				link, err := h.LinkByName(dev)
				if err != nil {
					return err
				}
				err = h.AddrDel(link, &netlink.Addr{IPNet: host(addr)})
				if errors.Is(err, unix.EADDRNOTAVAIL) {
					return nil
				}
				return err
			})
		},
	}
}

// run runs a command in the namespace; without output if it ends well.
func run(r Role, argv ...string) Step { return runWith(r, "", argv...) }

func runWith(r Role, stdin string, argv ...string) Step {
	return Step{
		What: fmt.Sprintf("%s: %s", r, strings.Join(argv, " ")),
		Do: func(ctx context.Context, l *Lab) error {
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

// nft makes a ruleset in a table of the lab's own, "ip lab", in place of what is in it.
func nft(r Role, ruleset string) Step {
	return runWith(r, noLabTable+strings.ReplaceAll(ruleset, "\t", " "), "nft", "-f", "-")
}

// nftDelete removes the lab's table, if it is there.
func nftDelete(r Role) Step { return runWith(r, noLabTable, "nft", "-f", "-") }

const noLabTable = "table ip lab\ndelete table ip lab\n"

func stopListening() Step {
	return Step{
		What: "real-server: stop listening",
		Do:   func(_ context.Context, l *Lab) error { return l.service.stop() },
	}
}

func listen() Step {
	return Step{
		What: "real-server: listen",
		Do:   func(_ context.Context, l *Lab) error { return l.service.listen() },
	}
}
