package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

func TestWhatIsNoSourceIsSaidAsItIs(t *testing.T) {
	from := func(src netip.Addr) journey.Journey {
		j := dropped("ip_rcv_finish_core", "", "tunl0", false)
		j.Packet.Inner.Src = src
		return j
	}
	strict := set("net/ipv4/conf/all/rp_filter", "1")
	for what, test := range map[string]struct {
		j    journey.Journey
		s    *host.Snapshot
		code string
		says string
	}{
		"the director tests its own VIP": {from(vip), realServer(), "martian-source", "the packet goes from the VIP 10.99.0.1 to the VIP"},
		"no address":                     {from(netip.IPv4Unspecified()), realServer(), "martian-source", "accepts no packet"},
		"one of the network 0":           {from(netip.MustParseAddr("0.1.2.3")), realServer(strict), "rp-filter", "no route back"},
		"loopback":                       {from(netip.MustParseAddr("127.0.0.5")), realServer(strict), "martian-source", "accepts no packet"},
		"given to loopback by NAT":       {given(from(client), "127.0.0.1:80"), realServer(), "martian-source", "NAT has given the packet for 10.99.0.1:80 to 127.0.0.1:80"},
		"loopback, allowed":              {from(netip.MustParseAddr("127.0.0.5")), realServer(strict, set("net/ipv4/conf/tunl0/route_localnet", "1")), "rp-filter", "no route back"},
	} {
		if c := Explain(test.j, test.s).Cause; c.Code != test.code || !strings.Contains(c.Summary, test.says) {
			t.Errorf("%s: %s: %s", what, c.Code, c.Summary)
		}
	}
}

// TestAVLANsTagMakesAFrameAnothers: the kernel says the same of it as of a frame for another address.
func TestAVLANsTagMakesAFrameAnothers(t *testing.T) {
	lost := dropped("ip_rcv_core", "OTHERHOST", "eth0", true)
	promiscuous := func(s *host.Snapshot) { s.Links[1].Promisc = true }
	for what, test := range map[string]struct {
		s         *host.Snapshot
		certainty Certainty
		tag       bool
	}{
		"all frames are let in": {realServer(promiscuous), Observed, false},
		"a network card":        {realServer(), Inferred, true},
		"no state":              {nil, Inferred, true},
	} {
		c := Explain(lost, test.s).Cause
		if c.Code != "wrong-mac" || c.Certainty != test.certainty || strings.Contains(c.Summary, "tag of a VLAN") != test.tag {
			t.Errorf("%s: %s, %s: %s", what, c.Code, c.Certainty, c.Summary)
		}
	}
}
