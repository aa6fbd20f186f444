package fault

import (
	"encoding/binary"
	"net/netip"

	"ipiptrace/internal/ipv4"
	"ipiptrace/internal/lab"
)

// innerFaults are packets of IPIP that carry no IPv4 packet. Each follows one that is right: so it is known whom the
// director sends the service's. That one is answered, and the client, which has not sent it, refuses the answer: where
// everything is watched, as a forced back-end does, that is a loss, too.
func innerFaults() []Scenario {
	odd := func(name, summary string, frame func(int) []byte, want Loss) Scenario {
		want.Proto = lab.CraftedOdd
		return Scenario{
			Name: name, Summary: summary, Code: "malformed-packet",
			Traffic: []lab.Traffic{{Proto: lab.CraftedOdd, Count: faulty, Frame: tunnelledSYN, Next: frame, Want: lab.Silence}},
			Losses:  []Loss{want}, Unforced: true,
		}
	}
	read := Loss{Fate: "dropped", Functions: atHeader, Reasons: []string{"IP_INHDR", "NOT_SPECIFIED", ""}, Dev: "tunl0"}
	return []Scenario{
		odd("ipip-around-ipv6", "The director sends IPv6 packets in IPIP.", withIPv6, read),
		odd("ipip-around-mpls", "There is an MPLS label between the outer and the inner header.", withLabels, read),
		odd("ipip-wrong-version", "The inner header says version 5.", wrongVersion, read),
		odd("ipip-cut-off", "The packet ends in the middle of the inner header.", cutOff,
			Loss{Fate: "dropped", Functions: noTunnel, Reasons: unnamed, Dev: "eth0"}),
	}
}

// healthyInner are packets of IPIP that carry no IPv4 packet and are not the director's, beside ordinary traffic.
func healthyInner() []Scenario {
	beside := func(name, summary string, frame func(int) []byte) Scenario {
		s := twin(name, summary, nil, nil)
		s.Traffic = append(s.Traffic, lab.Traffic{Proto: lab.CraftedOdd, Count: faulty, Frame: frame, Want: lab.Silence})
		return everywhere(s)
	}
	return []Scenario{
		beside("ipip-around-ipv6", "Another host sends IPv6 packets in IPIP to the real server.", func(n int) []byte {
			return between(withIPv6(n), nobody, lab.RealServerAddr)
		}),
		beside("ipip-others", "Other hosts send each other IPv6 packets in IPIP, and the bridge floods them.", func(n int) []byte {
			return between(withIPv6(n), nobody, nobody.Next())
		}),
		beside("ipip-cut-off", "Another host sends packets of IPIP to the real server that end in the middle of the inner header.", func(n int) []byte {
			return between(cutOff(n), nobody, lab.RealServerAddr)
		}),
	}
}

// between gives a frame other ends.
func between(f []byte, src, dst netip.Addr) []byte {
	ipv4.PutEthernet(f, lab.MAC(dst), lab.MAC(src))
	outer := f[ethLen:][:ipLen]
	copy(outer[12:], src.AsSlice())
	copy(outer[16:], dst.AsSlice())
	ipv4.Seal(outer)
	return f
}

// withIPv6 is an IPv6 packet that came in IPIP: protocol 4 promises IPv4.
func withIPv6(n int) []byte {
	f := tunnelledSYN(n)
	inner := f[ethLen+ipLen:]
	clear(inner)
	inner[0], inner[5], inner[6], inner[7] = 6<<4, byte(len(inner)-40), 59, 64 // no next header (RFC 8200)
	return f
}

// withLabels is MPLS (RFC 3032): a label, the last one of its stack, and behind it the SYN.
func withLabels(n int) []byte {
	syn := tunnelledSYN(n)
	f := make([]byte, len(syn)+4)
	copy(f, syn[:ethLen+ipLen])
	copy(f[ethLen+ipLen:], []byte{0, 1, 0x01, 64})
	copy(f[ethLen+ipLen+4:], syn[ethLen+ipLen:])
	return lengthened(f)
}

// wrongVersion is the SYN, but for the version in its header.
func wrongVersion(n int) []byte {
	f := tunnelledSYN(n)
	f[ethLen+ipLen] = 5<<4 | 5
	return f
}

// cutOff is a packet that ends in the middle of the inner header.
func cutOff(n int) []byte {
	return lengthened(tunnelledSYN(n)[:ethLen+ipLen+8])
}

// lengthened has the outer header say how long the frame is.
func lengthened(f []byte) []byte {
	outer := f[ethLen:][:ipLen]
	binary.BigEndian.PutUint16(outer[2:], uint16(len(f)-ethLen))
	ipv4.Seal(outer)
	return f
}
