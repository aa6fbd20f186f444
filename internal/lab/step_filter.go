package lab

import (
	"context"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
)

// nftIn makes a table of the lab's own in a family, in place of what is in it.
func nftIn(r Role, family, chains string) Step {
	body := fmt.Sprintf("table %s lab {%s\n}\n", family, strings.ReplaceAll(chains, "\t", " "))
	return runWith(r, noTable(family)+body, "nft", "-f", "-")
}

// nftGone removes it, if it is there.
func nftGone(r Role, family string) Step { return runWith(r, noTable(family), "nft", "-f", "-") }

func noTable(family string) string {
	return fmt.Sprintf("table %s lab\ndelete table %s lab\n", family, family)
}

// xdpGeneric is XDP_FLAGS_SKB_MODE (linux/if_link.h).
const xdpGeneric = 1 << 1

// xdp puts a program on a device that drops all it sees, or takes it away.
func xdp(r Role, dev string, on bool) Step {
	return Step{
		What: fmt.Sprintf("%s: XDP program on %s: %v", r, dev, on),
		Do: func(_ context.Context, l *Lab) error {
			fd := -1
			if on {
				p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
					Name: "lab_drop", Type: ebpf.XDP, License: "Dual BSD/GPL",
					Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1 /* XDP_DROP */), asm.Return()},
				})
				if err != nil {
					return err
				}
				defer p.Close()
				fd = p.FD()
			}
			return l.Node(r).Do(func() error {
				link, err := netlink.LinkByName(dev)
				if err != nil {
					return err
				}
				return netlink.LinkSetXdpFdWithFlags(link, fd, xdpGeneric)
			})
		},
	}
}
