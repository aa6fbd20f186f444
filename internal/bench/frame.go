package main

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/ipv4"
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
	ethLen     = ipv4.EthernetLen
	ipLen      = ipv4.HeaderLen
	udpLen     = 8
	payloadLen = 32
	frameLen   = ethLen + 2*ipLen + udpLen + payloadLen
)

// frame is what the director sends to the real server for a client's datagram: IPIP
// around UDP. The UDP checksum is absent, as if a network card had checked it.
type frame [frameLen]byte

func newFrame(dst netip.Addr) *frame {
	f := &frame{}
	ipv4.PutEthernet(f[:], eth0MAC, wireMAC)
	ipv4.Put(f.outer(), director, realServer, unix.IPPROTO_IPIP, 0)
	ipv4.Put(f.inner(), client, dst, unix.IPPROTO_UDP, 0)
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
		ipv4.Seal(header)
	}
	return f
}

// firstFragment makes the inner packet the first of several, which the real server
// keeps until the others come.
func (f *frame) firstFragment() *frame {
	f.inner()[6] = 0x20 // more fragments, RFC 791
	ipv4.Seal(f.inner())
	return f
}
