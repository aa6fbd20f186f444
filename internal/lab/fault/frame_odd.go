package fault

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/ipv4"
	"ipiptrace/internal/lab"
)

// wrongUDPChecksum is a tunnelled datagram that is right but for its UDP checksum.
func wrongUDPChecksum(n int) []byte { return spoilUDP(tunnelledDatagram(n, 20)) }

// wrongLongUDPChecksum is a longer one.
func wrongLongUDPChecksum(n int) []byte { return spoilUDP(tunnelledDatagram(n, 200)) }

func spoilUDP(f []byte) []byte {
	sum := f[ethLen+2*ipLen+6:]
	binary.BigEndian.PutUint16(sum, binary.BigEndian.Uint16(sum)^0x5555)
	return f
}

// congested is a tunnelled SYN of which the outer header says that it met congestion, and the inner one that its
// sender can't be told so (RFC 6040).
func congested(n int) []byte {
	const congestionExperienced = 3
	f := tunnelledSYN(n)
	f[ethLen+1] = congestionExperienced
	ipv4.Seal(f[ethLen:][:ipLen])
	return f
}

// sourceRouted is a tunnelled SYN that has come the way that its sender chose (RFC 791, loose source and record route):
// all of that is behind it.
func sourceRouted(n int) []byte {
	return withOptions(n, append([]byte{131, 7, 8}, lab.DirectorAddr.AsSlice()...))
}

// wrongOption is the same, but of a length that no route has.
func wrongOption(n int) []byte { return withOptions(n, []byte{131, 2, 4, 0}) }

// withOptions is a tunnelled SYN with IP options, filled up to whole words.
func withOptions(n int, options []byte) []byte {
	length := ipLen + (len(options)+3)/4*4
	f := make([]byte, ethLen+ipLen+length+tcpLen)
	putTunnel(f, n)
	ipv4.Put(f[ethLen+ipLen:], lab.ClientAddr, lab.VIP, unix.IPPROTO_TCP, n)
	inner := f[ethLen+ipLen:][:length]
	inner[0] = 0x40 | byte(length/4)
	copy(inner[ipLen:], options)
	ipv4.Seal(inner)
	putSYN(f[ethLen+ipLen+length:], lab.ClientAddr, lab.VIP, n)
	return f
}

// Of a tunnelled SYN: where the second fragment would begin, and where it does.
const (
	firstHalf = ipLen + tcpLen
	overlap   = 8
)

// firstFragment is the whole of a tunnelled SYN, and promises more.
func firstFragment(n int) []byte {
	f := tunnelledSYN(n)
	fragment(f[ethLen:], true, 0)
	return f
}

// overlappingFragment is a fragment of the same datagram that begins before the first one ends.
func overlappingFragment(n int) []byte {
	f := make([]byte, ethLen+ipLen+2*overlap)
	putTunnel(f, n)
	fragment(f[ethLen:], false, firstHalf-overlap)
	return f
}

// fragment makes a packet part of a datagram: what it has begins at the offset.
func fragment(ip []byte, more bool, offset int) {
	frag := uint16(offset / 8)
	if more {
		frag |= 0x2000
	}
	binary.BigEndian.PutUint16(ip[6:], frag)
	ipv4.Seal(ip[:ipLen])
}
