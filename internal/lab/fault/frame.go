package fault

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/ipv4"
	"ipiptrace/internal/lab"
)

const (
	ethLen = ipv4.EthernetLen
	ipLen  = ipv4.HeaderLen
	tcpLen = 20
	udpLen = 8
)

// wrongTCPChecksum is a tunnelled SYN that is right but for its TCP checksum.
func wrongTCPChecksum(n int) []byte {
	f := tunnelledSYN(n)
	sum := f[ethLen+2*ipLen+16:]
	binary.BigEndian.PutUint16(sum, binary.BigEndian.Uint16(sum)^0x5555)
	return f
}

// innerTooShort is a tunnelled SYN whose inner header claims 100 bytes more than there are. The
// header's checksum is right for that, and addresses and ports can be read.
func innerTooShort(n int) []byte {
	f := tunnelledSYN(n)
	inner := f[ethLen+ipLen:][:ipLen]
	binary.BigEndian.PutUint16(inner[2:], ipLen+tcpLen+100)
	ipv4.Seal(inner)
	return f
}

// wrongOuterChecksum is a tunnelled SYN whose outer header has a wrong checksum.
func wrongOuterChecksum(n int) []byte {
	f := tunnelledSYN(n)
	f[ethLen+10] ^= 0x55
	return f
}

// wrongInnerChecksum is the same with the inner header.
func wrongInnerChecksum(n int) []byte {
	f := tunnelledSYN(n)
	f[ethLen+ipLen+10] ^= 0x55
	return f
}

// outerTooShort is a tunnelled SYN whose outer header claims 100 bytes more than there are.
func outerTooShort(n int) []byte {
	f := tunnelledSYN(n)
	outer := f[ethLen:][:ipLen]
	binary.BigEndian.PutUint16(outer[2:], 2*ipLen+tcpLen+100)
	ipv4.Seal(outer)
	return f
}

// strayACK is a tunnelled segment of a connection that there is not.
func strayACK(n int) []byte {
	f := tunnelledSYN(n)
	tcp := f[ethLen+2*ipLen:]
	tcp[13] = 0x10 // ACK
	binary.BigEndian.PutUint32(tcp[8:], 1)
	sealTCP(tcp, lab.ClientAddr, lab.VIP)
	return f
}

// fromLoopback is a tunnelled SYN whose inner source is no address for a wire.
func fromLoopback(n int) []byte {
	f := tunnelledSYN(n)
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	ipv4.Put(f[ethLen+ipLen:], loopback, lab.VIP, unix.IPPROTO_TCP, n)
	putSYN(f[ethLen+2*ipLen:], loopback, lab.VIP, n)
	return f
}

// tunnelledSYN is the frame that the director would send to the real server for a client's SYN;
// n makes its flow a new one.
func tunnelledSYN(n int) []byte {
	f := make([]byte, ethLen+2*ipLen+tcpLen)
	putTunnel(f, n)
	ipv4.Put(f[ethLen+ipLen:], lab.ClientAddr, lab.VIP, unix.IPPROTO_TCP, n)
	putSYN(f[ethLen+2*ipLen:], lab.ClientAddr, lab.VIP, n)
	return f
}

// tunnelledDatagram is the same for a client's datagram with so many bytes.
func tunnelledDatagram(n, payload int) []byte {
	f := make([]byte, ethLen+2*ipLen+udpLen+payload)
	putTunnel(f, n)
	ipv4.Put(f[ethLen+ipLen:], lab.ClientAddr, lab.VIP, unix.IPPROTO_UDP, n)
	udp := f[ethLen+2*ipLen:]
	binary.BigEndian.PutUint16(udp, uint16(20000+n%10000))
	binary.BigEndian.PutUint16(udp[2:], lab.Port)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], ^ipv4.Sum(pseudo(lab.ClientAddr, lab.VIP, unix.IPPROTO_UDP, len(udp)), udp))
	return f
}

// putTunnel writes the Ethernet and the outer header of what the director sends to the real server.
func putTunnel(f []byte, n int) {
	ipv4.PutEthernet(f, lab.MAC(lab.RealServerAddr), lab.MAC(lab.DirectorAddr))
	ipv4.Put(f[ethLen:], lab.DirectorAddr, lab.RealServerAddr, unix.IPPROTO_IPIP, n)
}

// segment is one of a connection that stands: what its ends expect, and a timestamp (RFC 7323).
type segment struct {
	port      uint16 // the client's
	seq, ack  uint32
	timestamp uint32
}

// tunnelledSegment is the frame that the director would send to the real server for it, with eight bytes of payload.
func tunnelledSegment(n int, s segment) []byte {
	const options, payload = 12, 8
	f := make([]byte, ethLen+2*ipLen+tcpLen+options+payload)
	putTunnel(f, n)
	ipv4.Put(f[ethLen+ipLen:], lab.ClientAddr, lab.VIP, unix.IPPROTO_TCP, n)
	tcp := f[ethLen+2*ipLen:]
	binary.BigEndian.PutUint16(tcp, s.port)
	binary.BigEndian.PutUint16(tcp[2:], lab.Port)
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12] = (tcpLen + options) / 4 << 4
	tcp[13] = 0x18 // PSH, ACK
	binary.BigEndian.PutUint16(tcp[14:], 64240)
	copy(tcp[tcpLen:], []byte{1, 1, 8, 10}) // two fillers, then the timestamp's kind and length
	binary.BigEndian.PutUint32(tcp[tcpLen+4:], s.timestamp)
	sealTCP(tcp, lab.ClientAddr, lab.VIP)
	return f
}

// nobody is in the lab's network, but not in the lab.
var nobody = netip.MustParseAddr("10.0.0.66")

// halfOpen is a SYN straight to the real server's own address, from a host that will never answer.
func halfOpen(n int) []byte {
	f := make([]byte, ethLen+ipLen+tcpLen)
	ipv4.PutEthernet(f, lab.MAC(lab.RealServerAddr), lab.MAC(lab.ClientAddr))
	ipv4.Put(f[ethLen:], nobody, lab.RealServerAddr, unix.IPPROTO_TCP, n)
	putSYN(f[ethLen+ipLen:], nobody, lab.RealServerAddr, n)
	return f
}

// putSYN writes a TCP header (RFC 9293) to the service's port.
func putSYN(b []byte, src, dst netip.Addr, n int) {
	binary.BigEndian.PutUint16(b, uint16(20000+n%10000))
	binary.BigEndian.PutUint16(b[2:], lab.Port)
	binary.BigEndian.PutUint32(b[4:], uint32(n)<<8|1)
	b[12] = tcpLen / 4 << 4
	b[13] = 0x02 // SYN
	binary.BigEndian.PutUint16(b[14:], 64240)
	sealTCP(b, src, dst)
}

// sealTCP writes the checksum of a segment, which is all of b.
func sealTCP(b []byte, src, dst netip.Addr) {
	binary.BigEndian.PutUint16(b[16:], 0)
	binary.BigEndian.PutUint16(b[16:], ^ipv4.Sum(pseudo(src, dst, unix.IPPROTO_TCP, len(b)), b))
}

// pseudo is the sum of the header that TCP and UDP imagine in front of their own.
func pseudo(src, dst netip.Addr, proto byte, length int) uint32 {
	b := append(append(src.AsSlice(), dst.AsSlice()...), 0, proto)
	return uint32(ipv4.Sum(0, binary.BigEndian.AppendUint16(b, uint16(length))))
}
