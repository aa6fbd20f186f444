package ipv4

import (
	"net"
	"net/netip"
	"testing"
)

func TestHeaderIsWhatTheStandardSays(t *testing.T) {
	b := make([]byte, EthernetLen+HeaderLen+8)
	PutEthernet(b, net.HardwareAddr{1, 2, 3, 4, 5, 6}, net.HardwareAddr{7, 8, 9, 10, 11, 12})
	if string(b[:EthernetLen]) != "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x08\x00" {
		t.Errorf("Ethernet header % x", b[:EthernetLen])
	}
	ip := b[EthernetLen:]
	Put(ip, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.2"), 17, 0x1234)
	want := "\x45\x00\x00\x1c\x12\x34\x40\x00\x40\x11\x3c\x66\xc0\x00\x02\x01\xc6\x33\x64\x02"
	if string(ip[:HeaderLen]) != want {
		t.Errorf("IP header % x, want % x", ip[:HeaderLen], want)
	}
	if Sum(0, ip[:HeaderLen]) != 0xffff {
		t.Error("the checksum is not that of the header")
	}
}

func TestSumTakesAnOddByteAsTheHigherOne(t *testing.T) {
	if got := Sum(0, []byte{0, 1, 0xf2, 3, 0xf4}); got != 0xe605 {
		t.Errorf("%#x", got)
	}
}
