package main

import "ipiptrace/internal/lab"

// quietLosses are the rows of faults that lose nothing where they are seen.
func quietLosses() (all []loss) {
	both := func(l loss) { all = append(all, tcpAndUDP(l)...) }
	both(loss{scenario: "ipvs-wrong-method", at: lab.Director, fate: "forwarded", notice: "ipvs-wrong-method"})
	both(loss{scenario: "ipvs-wrong-method-route", at: lab.Director, fate: "forwarded", notice: "ipvs-wrong-method"})
	both(loss{scenario: "vip-missing-forwarded", fate: "forwarded", notice: "vip-missing"})
	both(loss{scenario: "vip-arp-conflict", fate: "delivered", notice: "vip-arp-conflict"})
	both(loss{scenario: "vip-arp-conflict-eth0", fate: "delivered", notice: "vip-arp-conflict"})
	all = append(all, loss{scenario: "ipvs-wrong-method-lost", proto: lab.UDP, watched: everywhere, unforced: true, fate: "rejected", functions: []string{"__udp4_lib_rcv", "udp_rcv"}, reasons: []string{"NO_SOCKET"}, dev: "eth0", reject: "icmp 3/3"})
	return append(all, loss{scenario: "reply-unanswered", proto: lab.TCP, reply: true, fate: "forwarded", notice: "reply-unanswered"})
}
