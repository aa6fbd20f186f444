//go:build native

package ruleset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// place is where packets are played: a namespace with two devices of a program's, through which packets come and go.
type place struct {
	in, out *os.File
	// raw sends what has its IP header already.
	raw, trace int
	devices    map[uint32]string
	// egress: the kernel has the hook (Linux 5.16), and nft a word for it.
	egress bool
}

// newPlace sets up the namespace of this process. What it sends from or takes for itself is 10.1.0.1 and 10.99.0.1.
func newPlace() (*place, error) {
	p := &place{devices: map[uint32]string{}}
	var err error
	if p.in, err = tun("in0"); err != nil {
		return nil, err
	}
	if p.out, err = tun("out0"); err != nil {
		return nil, err
	}
	for _, words := range []string{
		"link set lo up", "addr add 10.1.0.1/24 dev in0", "addr add 10.2.0.1/24 dev out0", "addr add 10.99.0.1/32 dev lo",
		"link set in0 up", "link set out0 up", "route add 198.51.100.0/24 dev out0", "route add 192.0.2.0/24 dev in0",
	} {
		if out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w: %s", words, err, out)
		}
	}
	for name, value := range map[string]string{
		"conf/all/rp_filter": "0", "conf/in0/rp_filter": "0", "conf/out0/rp_filter": "0", "ip_forward": "1", "icmp_echo_ignore_all": "1",
		"conf/all/send_redirects": "0", "conf/in0/send_redirects": "0", "icmp_msgs_per_sec": "0",
	} {
		err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644)
		if errors.Is(err, fs.ErrNotExist) && name == "icmp_msgs_per_sec" { // of the whole machine on older kernels
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	if p.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return nil, err
	}
	if p.trace, err = listen(); err != nil {
		return nil, err
	}
	p.egress = feed("add table netdev try\nadd chain netdev try c { type filter hook egress device out0 priority 0; }\n", "nft", "-f", "-") == nil
	links, err := netlink.LinkList()
	for _, l := range links {
		p.devices[uint32(l.Attrs().Index)] = l.Attrs().Name
	}
	return p, err
}

// tun makes a device whose other end is the file.
func tun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, fmt.Errorf("TUNSETIFF %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// groupTrace is NFNLGRP_NFTRACE, to which `nft monitor trace` listens.
const groupTrace = 9

func listen() (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupTrace - 1)})
}

// send has the kernel take a packet from a device, or from this host. All that its rules do is done when it returns.
func (p *place) send(iif string, packet []byte) error {
	for _, f := range []*os.File{p.in, p.out} { // what has come out is in the way
		for b := make([]byte, 4096); ; {
			if n, err := unix.Read(int(f.Fd()), b); n <= 0 || err != nil {
				break
			}
		}
	}
	switch iif {
	case "in0":
		_, err := unix.Write(int(p.in.Fd()), packet)
		return err
	case "out0":
		_, err := unix.Write(int(p.out.Fd()), packet)
		return err
	}
	to, _ := netip.AddrFromSlice(packet[16:20])
	err := unix.Sendto(p.raw, packet, 0, &unix.SockaddrInet4{Addr: to.As4()})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMSGSIZE) { // a rule has dropped it, or no device takes it behind all rules
		return nil
	}
	return err
}

// event is what the kernel says of a packet's way through a chain.
type event struct {
	family, table, chain string
	handle               uint64
	kind                 uint32
	// verdict is valid of a rule, policy of a policy. mark is the packet's.
	verdict, policy int32
	mark            uint32
	iif, oif        string
	// header is the packet's, in the first event of each chain that a hook runs.
	header, ports []byte
	id            uint32
}

// Of enum nft_trace_types, and codes of verdicts.
const (
	ofPolicy, ofReturn, ofRule = 1, 2, 3

	nfDrop, nfAccept                          = 0, 1
	nftContinue, nftJump, nftGoto, nftReturns = -1, -3, -4, -5
)

// heard are the events since the last call of packets whose IP header has that identification.
func (p *place) heard(identification uint16) (all []event, err error) {
	b := make([]byte, 1<<16)
	ours := map[uint32]bool{}
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
			e := p.event(rest[unix.NLMSG_HDRLEN:length])
			if len(e.header) >= 20 {
				ours[e.id] = binary.BigEndian.Uint16(e.header[4:]) == identification
			}
			if ours[e.id] {
				all = append(all, e)
			}
			rest = rest[min((length+3)&^3, len(rest)):]
		}
	}
}

var familyNames = map[uint8]string{1: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"}

// event reads a message of type NFT_MSG_TRACE.
func (p *place) event(b []byte) (e event) {
	e.family = familyNames[b[0]]
	attrs, _ := nl.ParseRouteAttr(b[nl.SizeofNfgenmsg:])
	for _, a := range attrs {
		switch v := a.Value; a.Attr.Type &^ unix.NLA_F_NESTED {
		case unix.NFTA_TRACE_TABLE:
			e.table = nl.BytesToString(v)
		case unix.NFTA_TRACE_CHAIN:
			e.chain = nl.BytesToString(v)
		case unix.NFTA_TRACE_RULE_HANDLE:
			e.handle = binary.BigEndian.Uint64(v)
		case unix.NFTA_TRACE_TYPE:
			e.kind = binary.BigEndian.Uint32(v)
		case unix.NFTA_TRACE_VERDICT:
			inner, _ := nl.ParseRouteAttr(v)
			for _, i := range inner {
				if i.Attr.Type == unix.NFTA_VERDICT_CODE {
					e.verdict = int32(binary.BigEndian.Uint32(i.Value))
				}
			}
			if e.verdict >= 0 {
				e.verdict &= 0xff
			}
		case unix.NFTA_TRACE_POLICY:
			e.policy = int32(binary.BigEndian.Uint32(v))
		case unix.NFTA_TRACE_ID:
			e.id = binary.BigEndian.Uint32(v)
		case unix.NFTA_TRACE_MARK:
			e.mark = binary.BigEndian.Uint32(v)
		case unix.NFTA_TRACE_IIF:
			e.iif = p.devices[binary.BigEndian.Uint32(v)]
		case unix.NFTA_TRACE_OIF:
			e.oif = p.devices[binary.BigEndian.Uint32(v)]
		case unix.NFTA_TRACE_NETWORK_HEADER:
			e.header = slices.Clone(v)
		case unix.NFTA_TRACE_TRANSPORT_HEADER:
			e.ports = slices.Clone(v)
		}
	}
	return e
}
