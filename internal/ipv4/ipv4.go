// Package ipv4 writes the headers of frames that carry IPv4: for the lab and the benchmark, which put onto a wire what
// no socket would send.
package ipv4

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// The lengths of headers without options, in bytes.
const (
	EthernetLen = 14
	HeaderLen   = 20
)

const etherType = 0x0800

// PutEthernet writes the Ethernet header of a frame that carries IPv4.
func PutEthernet(frame []byte, to, from net.HardwareAddr) {
	copy(frame, to)
	copy(frame[6:], from)
	binary.BigEndian.PutUint16(frame[12:], etherType)
}

// Put writes an IPv4 header (RFC 791) for everything from its first byte to the end of b: not to be fragmented, with a
// TTL of 64 and the right checksum.
func Put(b []byte, src, dst netip.Addr, proto byte, id int) {
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], uint16(id))
	b[6] = 0x40 // don't fragment
	b[8] = 64
	b[9] = proto
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	Seal(b)
}

// Seal writes the checksum of the header, options included, at the beginning of b.
func Seal(b []byte) {
	binary.BigEndian.PutUint16(b[10:], 0)
	binary.BigEndian.PutUint16(b[10:], ^Sum(0, b[:int(b[0]&0x0f)*4]))
}

// Sum adds b to s, the ones' complement sum of the Internet checksum (RFC 1071). That of a header with its checksum is 0xffff.
func Sum(s uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
