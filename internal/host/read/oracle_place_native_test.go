//go:build native

package read

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// place is a network namespace with devices of a program's, through which packets come and go.
type place struct {
	taps map[string]int
	// trace is a socket that says of each packet by which hooks it has come.
	trace int
	names map[uint32]string
}

// tapNames are the devices. All are Ethernet without ARP.
var tapNames = []string{"a0", "b0", "c0", "d0"}

// tapMAC is the address of every one of them.
var tapMAC = []byte{2, 0, 0, 0, 0, 1}

// newPlace sets up the namespace of this thread.
func newPlace() (*place, error) {
	p := &place{taps: map[string]int{}, names: map[uint32]string{}}
	for _, name := range tapNames {
		fd, err := tap(name)
		if err != nil {
			return nil, err
		}
		p.taps[name] = fd
	}
	var err error
	p.trace, err = listenToTraces()
	return p, err
}

func (p *place) close() {
	for _, fd := range p.taps {
		unix.Close(fd)
	}
	unix.Close(p.trace)
}

func tap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return 0, fmt.Errorf("TUNSETIFF %s: %w", name, err)
	}
	return fd, nil
}

// carrier gives a device its carrier, or takes it.
func (p *place) carrier(name string, on int32) error {
	return unix.IoctlSetPointerInt(p.taps[name], unix.TUNSETCARRIER, int(on))
}

// groupTrace is NFNLGRP_NFTRACE, to which `nft monitor trace` listens.
const groupTrace = 9

func listenToTraces() (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupTrace - 1)})
}

// send has the kernel take a packet from a device. What it does at once is done when it returns.
func (p *place) send(dev string, packet []byte) error {
	frame := slices.Concat(tapMAC, []byte{2, 0, 0, 0, 0, 2, 8, 0}, packet)
	_, err := unix.Write(p.taps[dev], frame)
	return err
}

// left are the IPv4 packets that have left since the last call, by device.
func (p *place) left() map[string][][]byte {
	all := map[string][][]byte{}
	b := make([]byte, 4096)
	for name, fd := range p.taps {
		for {
			n, err := unix.Read(fd, b)
			if err != nil || n <= 0 {
				break
			}
			if n > 34 && binary.BigEndian.Uint16(b[12:]) == 0x0800 {
				all[name] = append(all[name], slices.Clone(b[14:n]))
			}
		}
	}
	return all
}

// seen is a packet at one of netfilter's hooks.
type seen struct {
	hook     string
	header   []byte
	ports    []byte
	iif, oif string
	mark     uint32
}

// is reports whether it is that packet.
func (e seen) is(f host.Flow) bool {
	return netip.AddrFrom4([4]byte(e.header[12:16])) == f.Src && netip.AddrFrom4([4]byte(e.header[16:20])) == f.Dst && e.header[9] == f.Proto &&
		(f.Sport == 0 || e.port(0) == f.Sport && e.port(2) == f.Dport)
}

// port is 0 without ports.
func (e seen) port(at int) uint16 {
	if len(e.ports) < 4 {
		return 0
	}
	return binary.BigEndian.Uint16(e.ports[at:])
}

// heard are the hooks that packets have come to since the last call, in order.
func (p *place) heard() (all []seen, err error) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(p.trace, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		for rest := b[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(rest))
			if length < unix.NLMSG_HDRLEN+nl.SizeofNfgenmsg || length > len(rest) {
				break
			}
			if e := p.event(rest[unix.NLMSG_HDRLEN:length]); len(e.header) >= 20 {
				all = append(all, e)
			}
			rest = rest[min((length+3)&^3, len(rest)):]
		}
	}
}

// event reads a message of type NFT_MSG_TRACE. The first of each chain that a hook runs has the packet's headers.
func (p *place) event(b []byte) (e seen) {
	attrs, _ := nl.ParseRouteAttr(b[nl.SizeofNfgenmsg:])
	for _, a := range attrs {
		switch v := a.Value; a.Attr.Type &^ unix.NLA_F_NESTED {
		case unix.NFTA_TRACE_CHAIN:
			e.hook = nl.BytesToString(v)
		case unix.NFTA_TRACE_MARK:
			e.mark = binary.BigEndian.Uint32(v)
		case unix.NFTA_TRACE_IIF:
			e.iif = p.names[binary.BigEndian.Uint32(v)]
		case unix.NFTA_TRACE_OIF:
			e.oif = p.names[binary.BigEndian.Uint32(v)]
		case unix.NFTA_TRACE_NETWORK_HEADER:
			e.header = slices.Clone(v)
		case unix.NFTA_TRACE_TRANSPORT_HEADER:
			e.ports = slices.Clone(v)
		}
	}
	return e
}

// feed runs a program with a text as its input.
func feed(text, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// counted are the namespace's counters, and the machine's of martians.
func counted() (map[string]uint64, error) {
	r := reader{files: machine, s: &host.Snapshot{}}
	err := r.counters()
	return r.s.Counters, err
}
