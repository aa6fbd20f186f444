//go:build native

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestNativeWhatIsNoIPv4PacketIsCounted has IPv6 come in IPIP from a host that is not known as a director, and then, when
// it has sent a packet of the service, again.
func TestNativeWhatIsNoIPv4PacketIsCounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes network namespaces and traces packets")
	}
	n := newNetwork(t)
	tr := startTrace(t, build(t), n)
	n.throwOdd(t, 6<<4, 40)
	n.throwOdd(t, 4<<4|5, 8) // an IPv4 header, cut off
	n.throwTunnelled(t)
	n.throwOdd(t, 6<<4, 40)
	ended := tr.end(t, syscall.SIGINT)
	// This kernel has no tunnel: it looks at no inner packet.
	if ended.account.Journeys != 1 || !strings.Contains(ended.account.line, `"not_ipv4":2`) {
		t.Errorf("%s", ended.account.line)
		ended.dump(t, func(seen) bool { return true })
	}
}

// throwOdd sends so many bytes in IPIP, the first of them a version and the length of a header.
func (n *network) throwOdd(t *testing.T, first byte, size int) {
	t.Helper()
	inner := make([]byte, size)
	inner[0] = first
	n.throwInIPIP(t, inner)
}
