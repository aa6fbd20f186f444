package lab

import (
	"time"

	"github.com/moby/ipvs"
)

// quietFaults are those in which the packet gets where it was sent, and should have been sent elsewhere. All that can
// be said of it is a notice.
func quietFaults() []Scenario {
	unanswered := []Traffic{{Proto: TCP, Count: faulty, Deadline: 3 * retransmitted, Want: TimedOut}}
	return []Scenario{
		{
			Name:    "ipvs-wrong-method",
			Summary: "The director sends by NAT: the real server answers with its own address, of which the client knows nothing.",
			Code:    "ipvs-wrong-method", Notice: true,
			Inject:  []Step{sendBy(ipvs.ConnectionFlagMasq)},
			Undo:    []Step{sendBy(ipvs.ConnectionFlagTunnel)},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "ipvs-wrong-method-route",
			Summary: "The director sends by direct routing: it works only as long as it has a wire in common with the real server.",
			Code:    "ipvs-wrong-method", Notice: true,
			Inject:  []Step{sendBy(ipvs.ConnectionFlagDirectRoute)},
			Undo:    []Step{sendBy(ipvs.ConnectionFlagTunnel)},
			Traffic: expect(Answered),
		},
		{
			Name:    "ipvs-wrong-method-lost",
			Summary: "The director sends by NAT to a service that has only the VIP: seen from both, the packet is lost there.",
			Code:    "ipvs-wrong-method",
			Inject:  []Step{sendBy(ipvs.ConnectionFlagMasq)},
			Undo:    []Step{sendBy(ipvs.ConnectionFlagTunnel)},
			Traffic: only(UDP, expect(TimedOut)),
		},
		{
			Name:    "vip-missing-forwarded",
			Summary: "The real server does not have the VIP, and forwards packets for it to somebody who has no use for them.",
			Code:    "vip-missing", Notice: true,
			Inject: []Step{
				removeAddr(RealServer, "tunl0", VIP), sysctl(RealServer, "net/ipv4/ip_forward", "1"),
				run(RealServer, "ip", "route", "replace", VIP.String(), "via", ClientAddr.String()),
			},
			Undo: []Step{
				unless("No such process", run(RealServer, "ip", "route", "del", VIP.String(), "via", ClientAddr.String())),
				sysctl(RealServer, "net/ipv4/ip_forward", "0"), giveAddr(RealServer, "tunl0", VIP),
			},
			Traffic: expect(TimedOut),
		},
		{
			// The VIP is on the director's lo, for which it does not answer then.
			Name:    "vip-arp-conflict",
			Summary: "The real server answers ARP for the VIP, and the director does not: the client sends past it.",
			Code:    "vip-arp-conflict", Notice: true,
			Inject: []Step{
				once(), // by the tunnel
				sysctl(Director, "net/ipv4/conf/all/arp_ignore", "1"),
				sysctl(RealServer, "net/ipv4/conf/all/arp_ignore", "0"),
				pastDirector(),
			},
			Undo: []Step{
				routeClient(), unresolve(Client, VIP),
				sysctl(RealServer, "net/ipv4/conf/all/arp_ignore", "1"),
				sysctl(Director, "net/ipv4/conf/all/arp_ignore", "0"),
			},
			Traffic: expect(Answered),
		},
		{
			Name:    "vip-arp-conflict-eth0",
			Summary: "The VIP is on the real server's eth0: it answers ARP for it, whatever arp_ignore says.",
			Code:    "vip-arp-conflict", Notice: true,
			Inject: []Step{
				once(),
				sysctl(Director, "net/ipv4/conf/all/arp_ignore", "1"),
				removeAddr(RealServer, "tunl0", VIP), giveAddr(RealServer, "eth0", VIP),
				pastDirector(),
			},
			Undo: []Step{
				routeClient(), unresolve(Client, VIP),
				removeAddr(RealServer, "eth0", VIP), giveAddr(RealServer, "tunl0", VIP),
				sysctl(Director, "net/ipv4/conf/all/arp_ignore", "0"),
			},
			Traffic: expect(Answered),
		},
		{
			Name:    "reply-unanswered",
			Summary: "The client's firewall does not let in what answers its SYN.",
			Code:    "reply-unanswered", Notice: true,
			Inject: []Step{nftIn(Client, "ip", `
				chain prerouting {
					type filter hook prerouting priority raw; policy accept;
					tcp sport 80 drop
				}`)},
			Undo:    []Step{nftGone(Client, "ip"), stopListening(), listen()},
			Traffic: unanswered,
		},
	}
}

// pastDirector has the client send to whoever answers ARP for the VIP.
func pastDirector() Step {
	return run(Client, "ip", "route", "replace", VIP.String(), "dev", "eth0", "mtu", "1480", "rto_min", "1000ms")
}

// retransmitted is longer than half of the time in which Linux sends a SYN/ACK three times.
const retransmitted = 1300 * time.Millisecond
