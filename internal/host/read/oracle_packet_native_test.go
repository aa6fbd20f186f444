//go:build native

package read

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// sent is a packet that is sent into a configuration: outside, or within an outer header if that is not nil.
type sent struct {
	host.Flow
	outer *host.Flow
	raw   []byte
}

func (p sent) String() string {
	text := fmt.Sprintf("by %s %v:%d → %v:%d proto %d tos %#x", p.IIF, p.Src, p.Sport, p.Dst, p.Dport, p.Proto, p.TOS)
	if p.outer != nil {
		text += fmt.Sprintf(" in %v → %v", p.outer.Src, p.outer.Dst)
	}
	return text
}

// newPacket makes a packet. Each has a port of its own.
func (o *oracle) newPacket(n uint16) (p sent) {
	p.Flow = host.Flow{
		IIF: o.pick(strings.Fields(oracleDevices)...), Src: netip.MustParseAddr(o.pick(strings.Fields(oracleSources)...)),
		Dst: netip.MustParseAddr(o.pick(strings.Fields(oracleTargets)...)), Proto: unix.IPPROTO_TCP, Sport: 5000 + n, Dport: 80,
	}
	if o.chance(4) {
		p.Dport = 81
	}
	if o.chance(3) {
		p.Proto = unix.IPPROTO_UDP
	}
	if o.chance(6) {
		p.TOS = uint8(o.pick("\x10", "\x08", "\xa8")[0])
	}
	p.raw = o.bytes(p.Flow, nil)
	if o.kinds["ipip"] && o.chance(2) {
		p.outer = &host.Flow{
			IIF: p.IIF, Src: netip.MustParseAddr(o.pick("10.1.0.7", "10.1.0.7", "192.0.2.7", "10.2.0.7")),
			Dst: netip.MustParseAddr(o.pick("10.1.0.1", "10.1.0.1", "10.1.0.1", "10.2.0.1")), Proto: unix.IPPROTO_IPIP,
		}
		p.raw = o.bytes(*p.outer, p.raw)
	}
	return p
}

// bytes is a packet; inside of an IPIP packet is another one.
func (o *oracle) bytes(f host.Flow, inside []byte) []byte {
	l4 := inside
	switch f.Proto {
	case unix.IPPROTO_TCP:
		l4 = make([]byte, 20)
		binary.BigEndian.PutUint32(l4[4:], 1000)
		l4[12], l4[13] = 5<<4, 2 // SYN
		binary.BigEndian.PutUint16(l4[14:], 60000)
	case unix.IPPROTO_UDP:
		l4 = make([]byte, 8)
		binary.BigEndian.PutUint16(l4[4:], 8)
	}
	src, dst := f.Src.As4(), f.Dst.As4()
	if inside == nil {
		binary.BigEndian.PutUint16(l4, f.Sport)
		binary.BigEndian.PutUint16(l4[2:], f.Dport)
		pseudo := append(append(src[:], dst[:]...), 0, f.Proto, 0, byte(len(l4)))
		at := map[uint8]int{unix.IPPROTO_TCP: 16, unix.IPPROTO_UDP: 6}[f.Proto]
		binary.BigEndian.PutUint16(l4[at:], checksum(append(pseudo, l4...)))
	}
	b := make([]byte, 20, 20+len(l4))
	b[0], b[1], b[8], b[9] = 0x45, f.TOS, 64, f.Proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(l4)))
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, l4...)
}

// checksum is that of the Internet, of an even number of bytes.
func checksum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// listening is a socket on port 80.
type listening struct {
	proto uint8
	fd    int
}

// serve opens sockets, some of them bound to an address or a device, some with a mark.
func (o *oracle) serve() error {
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		kind := map[uint8]int{unix.IPPROTO_TCP: unix.SOCK_STREAM, unix.IPPROTO_UDP: unix.SOCK_DGRAM}[proto]
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		mark, dev := 0, ""
		if o.chance(4) {
			mark = 1 + o.IntN(3)
		}
		if o.chance(6) {
			dev = o.pick(append([]string{"a0", "b0"}, o.extra...)...)
		}
		errs := errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1), unix.BindToDevice(fd, dev),
			unix.Bind(fd, &unix.SockaddrInet4{Port: 80}),
		)
		if proto == unix.IPPROTO_TCP {
			errs = errors.Join(errs, unix.Listen(fd, 1000))
		}
		if errs != nil {
			return errs
		}
		o.said = append(o.said, fmt.Sprintf("# a socket of protocol %d on port 80, device %q, mark %d", proto, dev, mark))
		o.sockets = append(o.sockets, listening{proto, fd})
	}
	return nil
}

// answer has the UDP socket answer what it got, from the address to which that was sent, as programs do that are told it.
func (o *oracle) answer() error {
	for _, x := range o.sockets {
		if x.proto != unix.IPPROTO_UDP {
			continue
		}
		control := make([]byte, 256)
		_, n, _, from, err := unix.Recvmsg(x.fd, make([]byte, 64), control, 0)
		if err != nil {
			return nil // nothing has come
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
				info := unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[8:12])} // the address that it was sent to
				_ = unix.Sendmsg(x.fd, nil, unix.PktInfo4(&info), from, unix.MSG_DONTWAIT)
			}
		}
	}
	return nil
}

// silence closes the sockets.
func (o *oracle) silence() {
	for _, x := range o.sockets {
		unix.Close(x.fd)
	}
}
