package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// path is a packet's way through a real server: wire ─ eth0 ─ tunl0 ─ UDP socket. Its
// two sockets belong to the thread that measures.
type path struct {
	wire, socket int
}

// commands make the namespace of the real server. IPv6 would send packets of its own.
var commands = []string{
	"modprobe ipip",
	"sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
	"ip netns add real-server",
	"ip netns exec real-server sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
	"ip link add wire address " + wireMAC.String() + " type veth peer name eth0 address " + eth0MAC.String() + " netns real-server",
	"ip link set wire up",
	"ip -n real-server link set lo up",
	"ip -n real-server link set eth0 up",
	"ip -n real-server addr add " + realServer.String() + "/24 dev eth0",
	"ip -n real-server link set tunl0 up",
	"ip -n real-server addr add " + vip.String() + "/32 dev tunl0",
	"ip -n real-server addr add " + otherVIP.String() + "/32 dev tunl0",
	"ip -n real-server route add default via " + director.String(),
}

// openPath builds the path. The caller has locked itself to its thread.
func openPath() (*path, error) {
	for _, c := range commands {
		words := strings.Fields(c)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", c, err, strings.TrimSpace(string(out)))
		}
	}
	p := &path{}
	if err := in("real-server", p.openSocket); err != nil {
		return nil, fmt.Errorf("socket of the real server: %w", err)
	}
	if err := p.openWire(); err != nil {
		return nil, fmt.Errorf("packet socket on the wire: %w", err)
	}
	return p, nil
}

// in runs f with the thread in a named namespace.
func in(netns string, f func() error) error {
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := os.Open("/run/netns/" + netns)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return errors.Join(f(), unix.Setns(int(here.Fd()), unix.CLONE_NEWNET))
}

func (p *path) openSocket() (err error) {
	p.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return unix.Bind(p.socket, &unix.SockaddrInet4{Port: port, Addr: vip.As4()})
}

// openWire opens the sending end. It bypasses the queue: a packet that comes from a
// network does not pass one, and its probes are none of the real server's.
func (p *path) openWire() (err error) {
	p.wire, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	wire, err := net.InterfaceByName("wire")
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(p.wire, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return err
	}
	return unix.Bind(p.wire, &unix.SockaddrLinklayer{Ifindex: wire.Index})
}

// send puts a frame on the wire. The calls of this file that are measured leave Go's
// scheduler alone.
func (p *path) send(f *frame) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(p.wire), uintptr(unsafe.Pointer(f)), frameLen, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("send: %w", errno)
	}
	return nil
}

// receive takes a datagram out of the socket, if there is one.
func (p *path) receive() (bool, error) {
	var buf [payloadLen]byte
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(p.socket), uintptr(unsafe.Pointer(&buf)), payloadLen, 0, 0, 0)
	switch {
	case errno == unix.EAGAIN:
		return false, nil
	case errno != 0:
		return false, fmt.Errorf("receive: %w", errno)
	}
	return n == payloadLen, nil
}

// While a packet is late, we look for it that often.
const (
	late    = 20 * time.Microsecond
	tooLate = time.Second
)

// carry sends a frame and receives its datagram. It is there when send returns, unless
// the timer's interrupt has made the kernel leave it to its softirq thread. That has
// to come to rest before the next packet is sent, or it would get that one, too.
func (p *path) carry(f *frame) (cost int64, err error) {
	before := instructions()
	if err := p.send(f); err != nil {
		return 0, err
	}
	for wait := time.Duration(0); ; wait += late {
		switch there, err := p.receive(); {
		case err != nil:
			return 0, err
		case there:
			return instructions() - before, nil
		case wait > tooLate:
			return 0, errors.New("a packet did not arrive within a second")
		}
		pause := unix.NsecToTimespec(int64(late))
		unix.Nanosleep(&pause, nil)
	}
}
