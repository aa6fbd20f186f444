package read

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// TestPathMTUIsRead: `ip route show cache` has "10.0.0.11 via 10.0.0.1 dev eth0 cache expires 596sec mtu 1400", as the kernel
// says it on x86.
func TestPathMTUIsRead(t *testing.T) {
	m, err := hex.DecodeString(
		"02200000fe000001" + "00020000" + // struct rtmsg, RTM_F_CLONED
			"08000100" + "0a00000b" + // RTA_DST
			"08000400" + "02000000" + // RTA_OIF
			"08000500" + "0a000001" + // RTA_GATEWAY
			"0c000800" + "08000200" + "78050000") // RTA_METRICS, RTAX_MTU
	if err != nil {
		t.Fatal(err)
	}
	x, ok := exceptionOf(m)
	if !ok || x.Dst != netip.MustParseAddr("10.0.0.11") || x.Gateway != netip.MustParseAddr("10.0.0.1") || x.Link != 2 || x.MTU != 1400 {
		t.Errorf("%+v", x)
	}
	m[9] = 0
	if x, ok := exceptionOf(m); ok {
		t.Errorf("a route is taken for what was learned: %+v", x)
	}
}
