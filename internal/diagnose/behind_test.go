package diagnose

import (
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

// TestAVIPThatLivesBehindThisHostIsNotMissing: it stays where it is, and is not given to the host, too.
func TestAVIPThatLivesBehindThisHostIsNotMissing(t *testing.T) {
	noVIP := func(s *host.Snapshot) { withoutRoute("10.99.0.1/32")(s); s.Addrs = s.Addrs[:1]; s.Sockets = nil }
	forwards := func(value string) func(*host.Snapshot) { return set("net/ipv4/conf/tunl0/forwarding", value) }
	veth := host.Link{Name: "veth1", Type: "veth", Up: true, LinkNetns: true}
	port := veth
	port.Master, port.MasterKind = 5, "bridge"
	outside := port
	outside.Name, outside.Type, outside.LinkNetns = "eth1", "device", false
	bridge := host.Link{Name: "br0", Type: "bridge", Up: true}
	toVIP := func(prefix string, link uint32) func(*host.Snapshot) {
		return routed(254, prefix, host.Hop{Link: link})
	}
	lost := dropped("ip_error", "IP_INADDRERRORS", "tunl0", false)
	const missing, forward = "ip addr add 10.99.0.1/32 dev tunl0", "sysctl -w net.ipv4.ip_forward=1"
	for what, test := range map[string]struct {
		loss
		doctor string
	}{
		"behind its own wire":              {loss{lost, supposedServer(noVIP, with(veth), toVIP("10.99.0.1/32", 4), forwards("0")), "ip-forward-off", Observed, forward}, "ip-forward-off"},
		"behind a bridge of containers":    {loss{lost, supposedServer(noVIP, with(port, bridge), toVIP("10.99.0.0/16", 5), forwards("0")), "ip-forward-off", Observed, forward}, "ip-forward-off"},
		"behind a bridge to the network":   {loss{lost, supposedServer(noVIP, with(outside, bridge), toVIP("10.99.0.0/16", 5), forwards("0")), "vip-missing", Observed, missing}, "vip-missing"},
		"on the network of another device": {loss{lost, supposedServer(noVIP, with(veth), toVIP("10.99.0.0/16", 4), forwards("0")), "vip-missing", Observed, missing}, "vip-missing"},
		"it is forwarded there":            {loss{lost, supposedServer(noVIP, with(port, bridge), toVIP("10.99.0.0/16", 5), forwards("1")), unknown, NotKnown, ""}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix)
			findings, _ := examined1(request(), test.s)
			i := slices.IndexFunc(findings, func(f Finding) bool { return f.Severity != Noted && f.Code != "vip-arp-conflict" })
			if i < 0 && test.doctor != "" || i >= 0 && findings[i].Code != test.doctor {
				t.Errorf("doctor says %q, want %q", saidOf(findings), test.doctor)
			}
		})
	}
}
