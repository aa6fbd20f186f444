package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// nftIn makes a table of the lab's own in a family, in place of what is in it.
func nftIn(r lab.Role, family, chains string) lab.Step {
	body := fmt.Sprintf("table %s lab {%s\n}\n", family, strings.ReplaceAll(chains, "\t", " "))
	return runWith(r, noTable(family)+body, "nft", "-f", "-")
}

// nftCan fails where the kernel takes no such chains: nft asks it, and takes the question back (--check).
func nftCan(r lab.Role, family, chains string) lab.Step {
	return runWith(r, fmt.Sprintf("table %s probe {%s\n}\n", family, strings.ReplaceAll(chains, "\t", " ")), "nft", "--check", "-f", "-")
}

// nftGone removes it, if it is there.
func nftGone(r lab.Role, family string) lab.Step {
	return runWith(r, noTable(family), "nft", "-f", "-")
}

func noTable(family string) string {
	return fmt.Sprintf("table %s lab\ndelete table %s lab\n", family, family)
}

// forgetConnections empties the namespace's table of tracked connections: who asks for them next finds none of before.
func forgetConnections(r lab.Role) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: forget tracked connections", r),
		Do: func(_ context.Context, l *lab.Lab) error {
			return l.Node(r).Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
		},
	}
}

// forgetTunnels has the namespace's table of tracked connections lose those of IPIP: a packet of before, sent again, may have
// made one.
func forgetTunnels(r lab.Role) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: forget tracked tunnels", r),
		Do: func(_ context.Context, l *lab.Lab) error {
			var ipip netlink.ConntrackFilter
			return errors.Join(ipip.AddProtocol(unix.IPPROTO_IPIP), l.Node(r).Do(func() error {
				_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, &ipip)
				return err
			}))
		},
	}
}

// Of linux/if_link.h: where an XDP program runs, XDP_FLAGS_SKB_MODE and XDP_FLAGS_DRV_MODE.
const (
	xdpGeneric = 1 << 1
	xdpNative  = 1 << 2
)

// What dropIPIP looks at, and says.
const (
	etherType, ipProtocol, enough = 12, ethLen + 9, ethLen + 20
	xdpDrop, xdpPass              = 1, 2
)

// dropIPIP is an XDP program that drops IPIP and lets everything else pass: ARP, above all.
func dropIPIP() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // xdp_md.data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // xdp_md.data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, enough),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, etherType, asm.Half),
		asm.JNE.Imm(asm.R5, 0x0008, "pass"), // ETH_P_IP in network byte order
		asm.LoadMem(asm.R5, asm.R2, ipProtocol, asm.Byte),
		asm.JNE.Imm(asm.R5, unix.IPPROTO_IPIP, "pass"),
		asm.Mov.Imm(asm.R0, xdpDrop),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	}
}

// liftMemlock takes away the limit to which kernels before 5.11 count a program's memory.
func liftMemlock() {
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}

// pass is an XDP program that lets everything pass.
func pass() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}
}

// xdp puts a program on a device, or takes what is there away if it is nil; mode is where it runs.
func xdp(r lab.Role, dev string, mode int, program asm.Instructions) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: XDP program on %s: %v", r, dev, program != nil),
		Do: func(_ context.Context, l *lab.Lab) error {
			fd := -1 // none
			if program != nil {
				liftMemlock()
				p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
					Name: "lab_xdp", Type: ebpf.XDP, License: "Dual BSD/GPL",
					Instructions: program,
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
				return netlink.LinkSetXdpFdWithFlags(link, fd, mode)
			})
		},
	}
}
