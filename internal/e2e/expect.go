package main

import (
	"slices"

	"ipiptrace/internal/lab"
)

// loss is how a journey must end under a scenario. The kernel may choose among functions and reasons;
// an empty field must be empty in the journey, too, but for dev, where it says nothing.
type loss struct {
	scenario string
	proto    lab.Proto
	// reply: it is the answer that is lost, and the request arrived.
	reply     bool
	fate      string
	functions []string
	// reasons are those of kernels that have reasons.
	reasons   []string
	dev, hook string
	reject    string
	// notice: the journey arrives, and has the notice of that code.
	notice string
	// unforced: a forced tier, which watches everything at once and perhaps no function, sees it differently.
	unforced bool
	// at is where; empty is the real server. watched is what is watched meanwhile, if it is not that alone.
	at, watched lab.Role
	// blind is the fate where functions can't be watched and nothing shows the loss; empty: it is shown there, too.
	blind string
	// mute is the same, of kernels without reasons alone: what TCP drops has no event there.
	mute string
	// late are journeys that arrived, as far as ipiptrace can wait for their answers.
	late func(line) bool
	// answerless: there the answer that the kernel gives is not seen, and the packet only dropped.
	answerless bool
	// lastSight: there a reply is seen only when it is freed, long after it was sent.
	lastSight bool
	// onward: the answer leaves the real server, and is lost at the client; both are told where everything is watched.
	onward bool
}

// in is what the row says of a tier, on a kernel that has reasons or has none.
func (l loss) in(tier string, reasons bool) loss {
	if !reasons && l.mute != "" {
		l.blind = l.mute
	}
	switch {
	case tier != tracepoint:
		l.blind = ""
	case l.answerless:
		l.fate, l.reject, l.lastSight = "dropped", "", l.reply
	case l.blind != "":
		l.fate, l.functions, l.reasons, l.reject, l.dev, l.hook = l.blind, nil, nil, "", "", ""
	}
	return l
}

// window is when the row's journeys begin.
func (l loss) window(traffic window) window {
	if l.lastSight && !traffic.to.IsZero() {
		traffic.to = traffic.to.Add(verdictPatience)
	}
	return traffic
}

// tcpAndUDP are two rows that differ in nothing else.
func tcpAndUDP(l loss) []loss {
	tcp, udp := l, l
	tcp.proto, udp.proto = lab.TCP, lab.UDP
	return []loss{tcp, udp}
}

// losses are from the kernel facts: 6.1 and later; 5.10 has the functions, but no reasons.
func losses() (all []loss) {
	add := func(rows ...loss) { all = append(all, rows...) }
	both := func(l loss) { add(tcpAndUDP(l)...) }
	nft, nfDrop, unnamed := []string{"nft_do_chain", "nf_hook_slow"}, []string{"NETFILTER_DROP"}, []string{"NOT_SPECIFIED"}

	both(loss{scenario: "rp-filter", fate: "dropped", functions: []string{"ip_rcv_finish_core"}, reasons: []string{"IP_RPFILTER"}, dev: "tunl0"})
	both(loss{scenario: "rp-filter-tunl0", fate: "dropped", functions: []string{"ip_rcv_finish_core"}, reasons: []string{"IP_RPFILTER"}, dev: "tunl0"})
	both(loss{scenario: "vip-missing", fate: "dropped", functions: []string{"ip_error"}, reasons: []string{"IP_INADDRERRORS"}, dev: "tunl0"})
	both(loss{scenario: "blackhole", fate: "dropped", functions: []string{"ip_error"}, reasons: []string{"IP_INADDRERRORS"}, dev: "tunl0"})

	both(loss{scenario: "tunnel-down", fate: "rejected", functions: []string{"tunnel4_rcv"}, reasons: unnamed, dev: "eth0", reject: "icmp 3/3"})
	both(loss{scenario: "tunnel-module-missing", fate: "rejected", functions: []string{"ip_local_deliver_finish"}, reasons: []string{"IP_NOPROTO"}, dev: "eth0", reject: "icmp 3/2"})
	both(loss{scenario: "tunnel-module-missing-sit", fate: "rejected", functions: []string{"tunnel4_rcv"}, reasons: unnamed, dev: "eth0", reject: "icmp 3/3"})
	both(loss{scenario: "wrong-mac", fate: "dropped", functions: []string{"ip_rcv_core"}, reasons: []string{"OTHERHOST"}, dev: "eth0"})

	both(loss{scenario: "firewall-input", fate: "dropped", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "input"})
	both(loss{scenario: "firewall-outer", fate: "dropped", functions: nft, reasons: nfDrop, dev: "eth0", hook: "prerouting"})
	both(loss{scenario: "firewall-legacy", fate: "dropped", functions: []string{"nf_hook_slow"}, reasons: nfDrop, dev: "tunl0", hook: "input"})
	both(loss{scenario: "firewall-output", reply: true, fate: "dropped", functions: nft, reasons: nfDrop, hook: "output"})
	both(loss{scenario: "tc-drop", fate: "dropped", functions: []string{"__netif_receive_skb_core"}, reasons: []string{"TC_INGRESS"}, dev: "eth0"})
	both(loss{scenario: "conntrack-full", fate: "dropped", functions: []string{"nf_hook_slow"}, reasons: nfDrop, dev: "eth0", hook: "prerouting"})

	add(loss{scenario: "bad-checksum", proto: lab.Crafted, fate: "dropped", functions: []string{"tcp_v4_rcv"}, reasons: []string{"TCP_CSUM"}, dev: "tunl0"},
		loss{scenario: "malformed-inner", proto: lab.Crafted, fate: "dropped", functions: []string{"ip_rcv_core"}, reasons: []string{"IP_INHDR", "PKT_TOO_SMALL"}, dev: "tunl0"},
		loss{scenario: "fragment-lost", proto: lab.UDP, fate: "rejected", functions: []string{"ip_expire"}, reasons: []string{"NOT_SPECIFIED", "FRAG_REASM_TIMEOUT"}, dev: "eth0", reject: "icmp 11/1"})

	udpRcv := []string{"__udp4_lib_rcv", "udp_rcv"}
	add(loss{scenario: "no-listener", proto: lab.TCP, fate: "rejected", functions: []string{"tcp_v4_rcv"}, reasons: []string{"NO_SOCKET"}, dev: "tunl0", reject: "rst 0/0"},
		loss{scenario: "no-listener", proto: lab.UDP, fate: "rejected", functions: udpRcv, reasons: []string{"NO_SOCKET"}, dev: "tunl0", reject: "icmp 3/3"},
		refusedSYN("accept-queue-full"), refusedSYN("syn-queue-full"),
		loss{scenario: "receive-buffer-full", proto: lab.UDP, fate: "dropped", functions: []string{"udp_queue_rcv_one_skb"}, reasons: []string{"SOCKET_RCVBUFF"}, dev: "tunl0"},
		refusedSYN("no-return-route"), refusedSYN("blackhole-return"),
		unanswerable("no-return-route"), unanswerable("blackhole-return"))
	// The kernel tells the reply's sender, which is itself.
	both(loss{scenario: "neighbour-failed", reply: true, fate: "rejected", functions: []string{"neigh_invalidate"}, reasons: []string{"NEIGH_FAILED"}, dev: "eth0", reject: "icmp 3/1", answerless: true})

	both(loss{scenario: "weight-zero", at: lab.Director, fate: "rejected", functions: []string{"nf_hook_slow"}, reasons: nfDrop, dev: "eth0", hook: "input", reject: "icmp 3/3"})
	both(loss{scenario: "ttl-expired", at: lab.Director, fate: "rejected", functions: []string{"ip_vs_tunnel_xmit"}, reasons: unnamed, dev: "eth0", reject: "icmp 11/0"})
	add(loss{scenario: "no-service", proto: lab.TCP, at: lab.Director, fate: "rejected", functions: []string{"tcp_v4_rcv"}, reasons: []string{"NO_SOCKET"}, dev: "eth0", reject: "rst 0/0"},
		loss{scenario: "no-service", proto: lab.UDP, at: lab.Director, fate: "rejected", functions: udpRcv, reasons: []string{"NO_SOCKET"}, dev: "eth0", reject: "icmp 3/3"})
	return slices.Concat(all, moreLosses(), realServerLosses(), directorLosses(), quietLosses(), machineLosses())
}

// refusedSYN is dropped by the listener, without a reason: the kernel thinks that it has done its work.
func refusedSYN(scenario string) loss {
	return loss{scenario: scenario, proto: lab.TCP, fate: "dropped", functions: []string{"tcp_conn_request"}, reasons: []string{""}, dev: "tunl0", blind: "unknown"}
}

// unanswerable is a datagram that its socket got, and whose answer never became a packet.
func unanswerable(scenario string) loss {
	return loss{scenario: scenario, proto: lab.UDP, fate: replyLost, blind: "delivered"}
}

// expected is the row for a scenario's traffic.
func expected(scenario string, p lab.Proto) (want loss, ok bool) {
	for _, l := range losses() {
		if l.scenario == scenario && l.proto == p {
			if l.at == "" {
				l.at = lab.RealServer
			}
			if l.watched == "" {
				l.watched = l.at
			}
			return l, true
		}
	}
	return loss{}, false
}

// wire is the protocol that the traffic has on the wire.
func wire(p lab.Proto) string {
	switch p {
	case lab.Crafted:
		return string(lab.TCP)
	case lab.CraftedUDP:
		return string(lab.UDP)
	}
	return string(p)
}
