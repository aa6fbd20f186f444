package host

import (
	"net/netip"
	"testing"
)

func TestNoPacketComesWithSomeAddresses(t *testing.T) {
	for what, test := range map[string]struct {
		src, dst string
		open     bool
		want     bool
	}{
		"usual ones":                        {"10.0.0.7", "10.99.0.1", false, false},
		"from a loopback address":           {"127.0.0.5", "10.99.0.1", false, true},
		"to a loopback address":             {"10.0.0.7", "127.0.0.5", false, true},
		"to one, with route_localnet":       {"10.0.0.7", "127.0.0.5", true, false},
		"from a group":                      {"224.0.0.5", "10.99.0.1", true, true},
		"from everybody":                    {"255.255.255.255", "10.99.0.1", false, true},
		"from nobody":                       {"0.0.0.0", "10.99.0.1", false, true},
		"to nobody":                         {"10.0.0.7", "0.0.0.0", false, true},
		"from nobody to everybody, as DHCP": {"0.0.0.0", "255.255.255.255", false, false},
		"from the network 0":                {"0.1.2.3", "10.99.0.1", false, false},
		"to the network 0":                  {"10.0.0.7", "0.1.2.3", false, false},
	} {
		s := state()
		if test.open {
			s.Sysctls["net/ipv4/conf/tunl0/route_localnet"] = "1"
		}
		if got := s.Impossible(Flow{Src: netip.MustParseAddr(test.src), Dst: netip.MustParseAddr(test.dst), IIF: "tunl0"}); got != test.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}
