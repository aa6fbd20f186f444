package main

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The addresses on the path; they are the lab's.
var (
	vip        = netip.MustParseAddr("10.99.0.1")
	otherVIP   = netip.MustParseAddr("10.99.0.2") // on the same tunl0
	absentVIP  = netip.MustParseAddr("192.0.2.1") // nobody's
	client     = netip.MustParseAddr("10.0.0.7")
	director   = netip.MustParseAddr("10.0.0.2")
	realServer = netip.MustParseAddr("10.0.0.11")

	wireMAC = net.HardwareAddr{2, 0, 10, 0, 0, 2}
	eth0MAC = net.HardwareAddr{2, 0, 10, 0, 0, 11}
)

const (
	port       = 80
	ethLen     = 14
	ipLen      = 20
	udpLen     = 8
	payloadLen = 32
	frameLen   = ethLen + 2*ipLen + udpLen + payloadLen
)

// frame is what the director sends to the real server for a client's datagram: IPIP
// around UDP. The UDP checksum is absent, as if a network card had checked it.
type frame [frameLen]byte

func newFrame(dst netip.Addr) *frame {
	f := &frame{}
	copy(f[:], eth0MAC)
	copy(f[6:], wireMAC)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	putIP(f.outer(), director, realServer, unix.IPPROTO_IPIP)
	putIP(f.inner(), client, dst, unix.IPPROTO_UDP)
	udp := f[ethLen+2*ipLen:]
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], udpLen+payloadLen)
	return f
}

func (f *frame) outer() []byte { return f[ethLen:] }
func (f *frame) inner() []byte { return f[ethLen+ipLen:] }

// number makes the packet another one: the id of both headers is n.
func (f *frame) number(n int) *frame {
	for _, header := range [][]byte{f.outer(), f.inner()} {
		binary.BigEndian.PutUint16(header[4:], uint16(n))
		sealIP(header[:ipLen])
	}
	return f
}

// firstFragment makes the inner packet the first of several, which the real server
// keeps until the others come.
func (f *frame) firstFragment() *frame {
	f.inner()[6] = 0x20 // more fragments, RFC 791
	sealIP(f.inner()[:ipLen])
	return f
}

// putIP writes an IPv4 header (RFC 791) for everything from its first byte to the end of b.
func putIP(b []byte, src, dst netip.Addr, proto byte) {
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6] = 0x40 // don't fragment
	b[8] = 64
	b[9] = proto
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	sealIP(b[:ipLen])
}

// sealIP writes the header's checksum (RFC 1071).
func sealIP(header []byte) {
	binary.BigEndian.PutUint16(header[10:], 0)
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
}
