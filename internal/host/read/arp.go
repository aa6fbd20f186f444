package read

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Of an ARP packet (RFC 826) in a frame: the two headers' lengths, and the operations.
const (
	ethernetSize = 14
	arpSize      = 28

	arpRequest, arpReply = 1, 2
)

// ARPProbes is how often WhoHas asks, and arpWait how long it listens for answers after each.
const (
	ARPProbes = 3
	arpWait   = 300 * time.Millisecond
)

// WhoHas asks on a device who has an address, and returns the Ethernet addresses that answer. It sends ARPProbes probes
// (RFC 5227): they name no sender's address, so that nobody who hears them changes a table.
//
// It is the only thing here that sends anything, and needs CAP_NET_RAW.
func (n Namespace) WhoHas(ctx context.Context, dev string, addr netip.Addr) (macs []string, err error) {
	err = n.on(func() error {
		macs, err = whoHas(ctx, dev, addr)
		return err
	})
	return macs, err
}

func whoHas(ctx context.Context, dev string, addr netip.Addr) (macs []string, err error) {
	link, err := net.InterfaceByName(dev)
	if err != nil {
		return nil, err
	}
	if len(link.HardwareAddr) != 6 {
		return nil, fmt.Errorf("%s has no Ethernet address", dev)
	}
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Index}); err != nil {
		return nil, err
	}
	probe := arpProbe(link.HardwareAddr, addr)
	for range ARPProbes {
		if ctx.Err() != nil {
			return macs, ctx.Err()
		}
		if err := unix.Sendto(fd, probe, 0, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}); err != nil {
			return macs, err
		}
		answers, err := heard(fd, addr, time.Now().Add(arpWait))
		for _, mac := range answers {
			if mac != link.HardwareAddr.String() && !slices.Contains(macs, mac) {
				macs = append(macs, mac)
			}
		}
		if err != nil {
			return macs, err
		}
	}
	slices.Sort(macs)
	return macs, nil
}

// arpProbe is the frame of a probe.
func arpProbe(from net.HardwareAddr, addr netip.Addr) []byte {
	frame := bytes.Repeat([]byte{0xff}, 6)
	frame = append(frame, from...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, arpRequest)
	frame = append(frame, from...)
	frame = append(frame, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(frame, addr.AsSlice()...)
}

// heard are those that say, until then, that they have the address.
func heard(fd int, addr netip.Addr, until time.Time) (macs []string, err error) {
	frame := make([]byte, 256)
	for {
		left := time.Until(until)
		if left <= 0 {
			return macs, nil
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return macs, err
		}
		n, _, err = unix.Recvfrom(fd, frame, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return macs, err
		}
		if mac := claims(frame[:n], addr); mac != "" {
			macs = append(macs, mac)
		}
	}
}

// claims is the Ethernet address that a frame gives to an IP address; empty if it gives none.
func claims(frame []byte, addr netip.Addr) string {
	if len(frame) < ethernetSize+arpSize || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_ARP {
		return ""
	}
	arp := frame[ethernetSize:]
	op := binary.BigEndian.Uint16(arp[6:])
	sender, ok := netip.AddrFromSlice(arp[14:18])
	if !bytes.Equal(arp[:6], []byte{0, 1, 0x08, 0, 6, 4}) || op != arpReply && op != arpRequest || !ok || sender != addr {
		return ""
	}
	return net.HardwareAddr(arp[8:14]).String()
}
