package diagnose

import (
	"fmt"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// optionRows are the causes in what the service has asked of its packets.
func optionRows() []row {
	sockets := []host.Part{host.PartSockets, host.PartLinks}
	return []row{
		{
			code: "sk-lookup-drop", stage: transport, needs: append([]host.Part{host.PartLookups}, sockets...),
			seen:  opensNoSocket,
			state: lookupState,
		},
		{
			code: "socket-filter-drop", stage: transport, needs: sockets,
			seen: func(q question) sight {
				return q.named("SOCKET_FILTER")
			},
			state: func(q question) *finding {
				s := q.serving()
				if s == nil || !s.Filter {
					return nil
				}
				return &finding{
					summary:  socketFilter + owner(*s),
					evidence: []string{fmt.Sprintf("getsockopt SO_GET_FILTER on %s %s: there is one", q.proto(), s.Local)},
					doubtful: true, // what it does with this packet is not in the state
				}
			},
			bare: func(question) finding { return finding{summary: socketFilter} },
		},
		{
			code: "tcp-auth", stage: transport, needs: append([]host.Part{host.PartCounters}, sockets...),
			seen: func(q question) sight {
				if q.proto() != "tcp" {
					return absent
				}
				return q.named("TCP_MD5NOTFOUND", "TCP_MD5UNEXPECTED", "TCP_MD5FAILURE", "TCP_AOFAILURE", "TCP_AONOTFOUND", "TCP_AOUNEXPECTED", "TCP_AOKEYNOTFOUND", "TCP_AUTH_HDR")
			},
			state: authState,
			bare:  func(question) finding { return finding{summary: notSigned} },
		},
		{
			code: "min-ttl", stage: transport, needs: sockets,
			seen: func(q question) sight {
				switch {
				case q.reason("TCP_MINTTL"):
					return shown
				case q.noReason() && q.Reject == nil && q.droppedIn("tcp_v4_rcv"):
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				s := q.serving()
				if s == nil || q.Packet.Inner.TTL >= s.MinTTL {
					return nil
				}
				return &finding{
					summary:  fmt.Sprintf("%s%s", lowTTL, owner(*s)),
					evidence: []string{fmt.Sprintf("getsockopt IP_MINTTL on %s: %d", s.Local, s.MinTTL), fmt.Sprintf("ttl %d at first sight", q.Packet.Inner.TTL)},
				}
			},
			bare: func(question) finding { return finding{summary: lowTTL} },
		},
	}
}

const (
	socketFilter = "a filter that the service has put on its own socket (SO_ATTACH_FILTER) drops the packet"
	notSigned    = "the segment is not signed as the connection asks for (TCP-MD5, RFC 2385, or TCP-AO, RFC 5925): the keys of both ends differ"
	lowTTL       = "the packet's TTL is below what the service asks for (IP_MINTTL, RFC 5082); IPVS takes one from it, too"
)

// lookupState: a program has a say, and the socket that the kernel would have found without it is there.
func lookupState(q question) *finding {
	s := q.serving()
	if s == nil || len(q.host.Lookups) == 0 || q.directs() {
		return nil
	}
	f := &finding{
		summary:  fmt.Sprintf("the service listens on port %d%s, and a program that chooses sockets (BPF_SK_LOOKUP) lets no packet have it", q.port(), owner(*s)),
		evidence: []string{fmt.Sprintf("ss -ln: %s %s", q.proto(), s.Local)},
		doubtful: q.host.Coarse || len(q.host.Lookups) > 1,
	}
	for _, l := range q.host.Lookups {
		f.evidence = append(f.evidence, fmt.Sprintf("bpftool link: %d: netns prog %d, attach_type sk_lookup", l.Link, l.Program))
	}
	if len(q.host.Lookups) == 1 {
		f.fix = command.Of("bpftool link detach id %", command.Number(q.host.Lookups[0].Link))
	}
	return f
}

// authState: the service's socket has keys; where sockets do not say so, the kernel has counted segments without.
func authState(q question) *finding {
	s := q.serving()
	if s != nil && s.MD5 {
		return &finding{summary: notSigned + owner(*s), evidence: []string{fmt.Sprintf("ss -ltni 'sport = :%d': md5keys", q.port())}}
	}
	if q.reason("") && !q.host.Coarse {
		return nil
	}
	for _, c := range []string{"TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure"} {
		if q.host.Counted("TcpExt."+c) > 0 {
			return &finding{summary: notSigned, evidence: []string{q.counted("TcpExt." + c)}, doubtful: true}
		}
	}
	return nil
}

// serving is the socket that the packet is for; nil if there is none.
func (q question) serving() *host.Socket {
	serving, _ := q.host.Serves(q.proto(), q.service(), q.link())
	if len(serving) == 0 {
		return nil
	}
	return &serving[0]
}

// named: the kernel gave one of the reasons; one that knows none may have had it.
func (q question) named(reasons ...string) sight {
	switch {
	case q.reason(reasons...):
		return shown
	case q.unsaidAtSocket():
		return possible
	}
	return absent
}

// unsaidAtSocket: a kernel that knows no reasons dropped the packet where it has many to refuse one for a socket.
func (q question) unsaidAtSocket() bool {
	return q.reason("") && q.Reject == nil && q.droppedIn("tcp_v4_rcv", "udp_queue_rcv_one_skb")
}
