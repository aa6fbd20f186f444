package render

import (
	"net/netip"
	"time"

	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// contractJourney is the journey of the contract's example.
func contractJourney() journey.Journey {
	addr := netip.MustParseAddr
	return journey.Journey{
		ID: 0x9f2c4e10a7b3d581, Start: time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC), Took: 38 * time.Microsecond,
		Role: journey.RealServer, Direction: journey.Request,
		Outer: &event.Header{Src: addr("10.0.1.2"), Dst: addr("10.0.1.5"), TTL: 63, Protocol: 4, ID: 4711, Len: 80},
		Packet: event.Packet{
			Inner:    event.Header{Src: addr("203.0.113.9"), Dst: addr("10.99.0.1"), TTL: 62, Protocol: 6, ID: 1, Len: 60},
			HasPorts: true, SrcPort: 41522, DstPort: 80, TCPFlags: event.SYN, Seq: 1,
		},
		Steps: []journey.Step{
			{T: 0, Place: event.NetifReceiveSkb, Dev: "eth0", Netns: 4026532244, Tunnelled: true},
			{T: 8100, Place: event.Tunnel4Rcv, Dev: "eth0", Netns: 4026532244, Tunnelled: true},
			{T: 12000, Place: event.IPRcv, Dev: "tunl0", Netns: 4026532244},
		},
		Fate: journey.Dropped,
		Drop: &journey.Drop{
			Drop: event.Drop{
				Function: "ip_rcv_finish_core", Symbol: "ip_rcv_finish_core.constprop.0+0x1f4", Reason: "IP_RPFILTER",
				Stack: []string{"ip_rcv_finish_core.constprop.0+0x1f4", "ip_rcv+0x5b"},
			},
			Dev: "tunl0", Netns: 4026532244,
		},
	}
}

func delivered() journey.Journey {
	j := contractJourney()
	j.Fate, j.Drop, j.Related = journey.Delivered, nil, 0
	return j
}

func account() journey.Account {
	missed := uint64(0)
	return journey.Account{
		Journeys: 12, Arrived: 9, Lost: 3, Events: 214, Missed: &missed,
		Probes: []event.Probe{
			{Place: event.TCPRcv, Name: "tcp_v4_rcv", Mechanism: "fentry", Symbol: "tcp_v4_rcv"},
			{Place: event.IPTunnelRcv, Name: "ip_tunnel_rcv", Why: "the module ip_tunnel is not loaded"},
			{Place: event.Tunnel4Rcv, Name: "tunnel4_rcv", Why: "the module tunnel4 is not loaded"},
		},
		Sites:  []journey.Site{{Fate: journey.Dropped, Function: "ip_rcv_finish_core", Reason: "IP_RPFILTER", Dev: "tunl0", Count: 3}},
		Filter: event.Filter{VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}, Ports: []uint16{80}},
	}
}

func nothing() journey.Account {
	a := account()
	a.Journeys, a.Arrived, a.Lost, a.Sites, a.Missed = 0, 0, 0, nil, nil
	vip := netip.MustParseAddr("10.99.0.1")
	a.Totals = &event.Totals{IPIP: 120, Inner: []event.Destination{
		{Addr: netip.MustParseAddr("10.99.0.2"), Port: 80, Protocol: 6, Tunnelled: true, Count: 100},
		{Addr: vip, Port: 8080, Protocol: 6, Tunnelled: true, Count: 20},
		{Addr: netip.MustParseAddr("10.0.1.5"), Protocol: 1, Count: 4},
	}}
	return a
}
