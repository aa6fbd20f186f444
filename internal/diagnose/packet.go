package diagnose

import (
	"fmt"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// packetRows are the causes in the packet itself.
func packetRows() []row {
	return []row{
		{
			code: "bad-checksum", stage: transport, needs: []host.Part{host.PartCounters},
			seen: func(q question) sight {
				switch {
				case q.reason("IP_CSUM", "TCP_CSUM", "UDP_CSUM", "ICMP_CSUM", "SKB_CSUM"), q.droppedIn("udp_recvmsg"):
					return shown
				case q.droppedIn("ip_rcv_core") && q.short():
					return absent // its length is wrong, whatever was counted before
				case q.reason("") && q.Reject == nil && q.droppedIn("tcp_v4_rcv", "tcp_v4_do_rcv", "__udp4_lib_rcv", "udp_rcv", "udp_queue_rcv_one_skb", "icmp_rcv", "ip_rcv_core"):
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				if q.reason("") && q.proto() != "" && !q.droppedIn("ip_rcv_core") && !q.served() {
					return nil // there is no socket for it either
				}
				for _, c := range []string{"Tcp.InCsumErrors", "Udp.InCsumErrors", "Icmp.InCsumErrors", "IpExt.InCsumErrors"} {
					if q.host.Counted(c) > 0 && strings.HasPrefix(c, counterOf(q)) {
						f := badChecksum(q)
						f.doubtful = true // the packet's own fault is in no state
						f.evidence = []string{q.counted(c)}
						return &f
					}
				}
				return nil
			},
			bare: badChecksum,
		},
		{
			code: "malformed-packet", stage: outer,
			seen: func(q question) sight {
				switch {
				case q.reason("IP_INHDR", "PKT_TOO_SMALL", "UNHANDLED_PROTO", "HDR_TRUNC", "SKB_UCOPY_FAULT", "IPV6DISABLED"):
					if q.icmp(11, 0) {
						return absent
					}
					return shown
				case q.reason("") && q.droppedIn("ip_rcv_core") && q.short(), q.icmp(12, -1):
					return shown
				}
				return absent
			},
			bare: func(q question) finding {
				what := "inner"
				if q.tunnelled() || q.Outer == nil {
					what = "outer"
				}
				if q.Outer == nil {
					what = "IP"
				}
				return finding{summary: fmt.Sprintf("the %s header does not fit the packet: whoever sent it, or something on its way, has damaged it", what)}
			},
		},
		{
			code: "ttl-expired", stage: forwarding,
			seen: func(q question) sight {
				if q.icmp(11, 0) {
					return shown
				}
				return absent
			},
			bare: func(q question) finding {
				return finding{
					summary:  fmt.Sprintf("the packet's TTL is used up: it came from %s with too few hops left, or goes in a circle", q.src()),
					evidence: []string{fmt.Sprintf("ttl %d at first sight", q.Packet.Inner.TTL)},
				}
			},
		},
		{
			code: "mtu-exceeded", stage: forwarding, needs: []host.Part{host.PartSysctls},
			seen: func(q question) sight {
				if q.icmp(3, 4) || q.reason("PKT_TOO_BIG") {
					return shown
				}
				return absent
			},
			state: func(q question) *finding {
				discovers, ok := q.host.Sysctl(pmtuDisc)
				if !q.droppedIn("ip_vs_tunnel_xmit") || !ok || discovers == 0 {
					return nil
				}
				f := tooLong(q)
				f.evidence = append(f.evidence, q.says(pmtuDisc))
				f.fix = command.Of("sysctl -w net.ipv4.vs.pmtu_disc=0")
				return &f
			},
			bare: tooLong,
		},
		{
			code: "fragment-lost", stage: outer, needs: []host.Part{host.PartSysctls},
			seen: func(q question) sight {
				if q.reason("FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR") || q.droppedIn("ip_expire", "ip_frag_queue", "inet_frag_rbtree_purge", "ip_frag_reinit", "inet_frag_destroy", "inet_frag_queue_insert", "ip_defrag") {
					return shown
				}
				return absent
			},
			state: func(q question) *finding {
				if f := overlapState(q); f != nil {
					return f
				}
				f := lostFragment(q)
				f.evidence = []string{q.says("net/ipv4/ipfrag_time"), q.says("net/ipv4/ipfrag_high_thresh")}
				if high, ok := q.host.Sysctl("net/ipv4/ipfrag_high_thresh"); ok && high == 0 {
					f.summary = "fragments are not put together: net.ipv4.ipfrag_high_thresh is 0"
					f.fix = command.Of("sysctl -w net.ipv4.ipfrag_high_thresh=4194304")
				}
				return &f
			},
			bare: lostFragment,
		},
	}
}

// pmtuDisc names the setting by which IPVS minds that a packet must not be fragmented.
const pmtuDisc = "net/ipv4/vs/pmtu_disc"

func tooLong(q question) finding {
	smaller := "let the client send smaller datagrams"
	if q.Packet.Inner.Protocol == protoTCP {
		smaller = "let the real server announce a smaller MSS"
	}
	return finding{
		summary:  fmt.Sprintf("the packet of %d bytes may not be fragmented and does not fit, with 20 bytes of outer header, into the way to the real server: %s, or make the MTU larger", q.Packet.Inner.Len, smaller),
		evidence: []string{"ICMP 3/4 (fragmentation needed) to " + q.client().String()},
	}
}

// overlapState: without a timeout fragments are given up if two of them overlap, or are too far apart.
func overlapState(q question) *finding {
	if !q.droppedIn("inet_frag_rbtree_purge") || q.host.Counted("IpExt.ReasmOverlaps") == 0 {
		return nil
	}
	return &finding{
		summary:  fmt.Sprintf("two fragments of the packet from %s overlap, which no sound host makes (RFC 5722): the kernel frees all of them", q.src()),
		evidence: []string{q.counted("IpExt.ReasmOverlaps")},
		doubtful: true, // another packet may have been counted
	}
}

func lostFragment(q question) finding {
	return finding{summary: fmt.Sprintf("a fragment of the packet from %s did not arrive in time: let fragments pass on the way, or keep the packets small enough", q.src())}
}

func badChecksum(q question) finding {
	what := map[uint8]string{protoTCP: "TCP", protoUDP: "UDP", protoICMP: "ICMP"}[q.Packet.Inner.Protocol]
	switch {
	case !q.reason("IP_CSUM") && !q.droppedIn("ip_rcv_core"):
	case q.tunnelled():
		what = "outer header's"
	case q.Outer != nil:
		what = "inner header's"
	default:
		what = "IP"
	}
	return finding{summary: fmt.Sprintf("the %s checksum is wrong: whoever sent the packet, or something on its way, has damaged it", what)}
}

// served reports whether a socket is there for what the packet asks for.
func (q question) served() bool {
	serving, _ := q.host.Serves(q.proto(), q.asked(), q.link())
	return len(serving) > 0
}

// counterOf is the group of counters of the packet's protocol.
func counterOf(q question) string {
	if q.droppedIn("ip_rcv_core") {
		return "IpExt."
	}
	return map[uint8]string{protoTCP: "Tcp.", protoUDP: "Udp.", protoICMP: "Icmp."}[q.Packet.Inner.Protocol]
}

// short reports whether the header in view promises more bytes than there are.
func (q question) short() bool {
	p := q.Packet
	if q.Outer != nil && q.tunnelled() {
		return p.Outer != nil && uint32(q.Outer.Len) > p.SkbLen // it may have got its outer header since
	}
	if q.Outer != nil {
		return uint32(p.Inner.Len)+20 > uint32(q.Outer.Len)
	}
	return uint32(p.Inner.Len) > p.SkbLen
}
