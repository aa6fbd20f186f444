package fault

import (
	"time"

	"github.com/moby/ipvs"

	"ipiptrace/internal/lab"
)

// quietFaults are those in which the packet gets where it was sent, and should have been sent elsewhere. All that can
// be said of it is a notice.
func quietFaults() []Scenario {
	unanswered := []lab.Traffic{{Proto: lab.TCP, Count: faulty, Deadline: 3 * retransmitted, Want: lab.TimedOut}}
	return []Scenario{
		{
			Name:    "ipvs-wrong-method",
			Summary: "The director sends by NAT: the real server answers with its own address, of which the client knows nothing.",
			Code:    "ipvs-wrong-method", Notice: true,
			Inject:  []lab.Step{sendBy(ipvs.ConnectionFlagMasq)},
			Undo:    []lab.Step{sendBy(ipvs.ConnectionFlagTunnel)},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "forwarded", Notice: "ipvs-wrong-method"}),
			At:      lab.Director,
		},
		{
			Name:    "ipvs-wrong-method-route",
			Summary: "The director sends by direct routing: it works only as long as it has a wire in common with the real server.",
			Code:    "ipvs-wrong-method", Notice: true,
			Inject:  []lab.Step{sendBy(ipvs.ConnectionFlagDirectRoute)},
			Undo:    []lab.Step{sendBy(ipvs.ConnectionFlagTunnel)},
			Traffic: expect(lab.Answered),
			Losses:  both(Loss{Fate: "forwarded", Notice: "ipvs-wrong-method"}),
			At:      lab.Director,
		},
		{
			Name:     "ipvs-wrong-method-lost",
			Summary:  "The director sends by NAT to a service that has only the VIP: seen from both, the packet is lost there.",
			Code:     "ipvs-wrong-method",
			Inject:   []lab.Step{sendBy(ipvs.ConnectionFlagMasq)},
			Undo:     []lab.Step{sendBy(ipvs.ConnectionFlagTunnel)},
			Traffic:  only(lab.UDP, expect(lab.TimedOut)),
			Losses:   []Loss{{Proto: lab.UDP, Fate: "rejected", Functions: udpReceive, Reasons: noSocket, Dev: "eth0", Reject: "icmp 3/3"}},
			Watched:  Everywhere,
			Unforced: true,
		},
		{
			Name:    "vip-missing-forwarded",
			Summary: "The real server does not have the VIP, and forwards packets for it to somebody who has no use for them.",
			Code:    "vip-missing", Notice: true,
			Inject: []lab.Step{
				removeAddr(lab.RealServer, "tunl0", lab.VIP), sysctl(lab.RealServer, "net/ipv4/ip_forward", "1"),
				run(lab.RealServer, "ip", "route", "replace", lab.VIP.String(), "via", lab.ClientAddr.String()),
			},
			Undo: []lab.Step{
				unless("No such process", run(lab.RealServer, "ip", "route", "del", lab.VIP.String(), "via", lab.ClientAddr.String())),
				sysctl(lab.RealServer, "net/ipv4/ip_forward", "0"), giveAddr(lab.RealServer, "tunl0", lab.VIP),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "forwarded", Notice: "vip-missing"}),
		},
		{
			// The VIP is on the director's lo, for which it does not answer then.
			Name:    "vip-arp-conflict",
			Summary: "The real server answers ARP for the VIP, and the director does not: the client sends past it.",
			Code:    "vip-arp-conflict", Notice: true,
			Inject: []lab.Step{
				once(), // by the tunnel
				sysctl(lab.Director, "net/ipv4/conf/all/arp_ignore", "1"),
				sysctl(lab.RealServer, "net/ipv4/conf/all/arp_ignore", "0"),
				pastDirector(),
			},
			Undo: []lab.Step{
				routeClient(), unresolve(lab.Client, lab.VIP),
				sysctl(lab.RealServer, "net/ipv4/conf/all/arp_ignore", "1"),
				sysctl(lab.Director, "net/ipv4/conf/all/arp_ignore", "0"),
			},
			Traffic: expect(lab.Answered),
			Losses:  both(Loss{Fate: "delivered", Notice: "vip-arp-conflict"}),
		},
		{
			Name:    "vip-arp-conflict-eth0",
			Summary: "The VIP is on the real server's eth0: it answers ARP for it, whatever arp_ignore says.",
			Code:    "vip-arp-conflict", Notice: true,
			Inject: []lab.Step{
				once(),
				sysctl(lab.Director, "net/ipv4/conf/all/arp_ignore", "1"),
				removeAddr(lab.RealServer, "tunl0", lab.VIP), giveAddr(lab.RealServer, "eth0", lab.VIP),
				pastDirector(),
			},
			Undo: []lab.Step{
				routeClient(), unresolve(lab.Client, lab.VIP),
				removeAddr(lab.RealServer, "eth0", lab.VIP), giveAddr(lab.RealServer, "tunl0", lab.VIP),
				sysctl(lab.Director, "net/ipv4/conf/all/arp_ignore", "0"),
			},
			Traffic: expect(lab.Answered),
			Losses:  both(Loss{Fate: "delivered", Notice: "vip-arp-conflict"}),
		},
		{
			Name:    "reply-unanswered",
			Summary: "The client's firewall does not let in what answers its SYN.",
			Code:    "reply-unanswered", Notice: true,
			Inject: []lab.Step{nftIn(lab.Client, "ip", `
				chain prerouting {
					type filter hook prerouting priority raw; policy accept;
					tcp sport 80 drop
				}`)},
			Undo:    []lab.Step{nftGone(lab.Client, "ip"), stopListening(), listen()},
			Traffic: unanswered,
			Losses:  []Loss{{Proto: lab.TCP, Reply: true, Fate: "forwarded", Notice: "reply-unanswered"}},
		},
	}
}

// pastDirector has the client send to whoever answers ARP for the VIP.
func pastDirector() lab.Step {
	return run(lab.Client, "ip", "route", "replace", lab.VIP.String(), "dev", "eth0", "mtu", "1480", "rto_min", "1000ms")
}

// retransmitted is longer than half of the time in which Linux sends a SYN/ACK three times.
const retransmitted = 1300 * time.Millisecond
