package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// optionRows are the causes in what the service has asked of its packets.
func optionRows() []row {
	sockets := []host.Part{host.PartSockets, host.PartLinks}
	return []row{
		{
			code: "sk-lookup-drop", stage: transport, needs: append([]host.Part{host.PartLookups}, sockets...),
			at: []spot{{site.NoSocket, likely}}, fits: wantsSocket, check: lookupState, doubted: innerSide,
			doc: Doc{
				Where:  atSocket,
				Means:  "A program that chooses sockets (BPF_SK_LOOKUP) keeps the packet from the service's socket.",
				Kernel: "As no-listener: inet_lookup asks the program before it looks for a listener.",
				Confirm: []Line{
					{Command: "bpftool link", Says: "attach_type sk_lookup, and the link's number before it", Shows: `attach_type sk_lookup`},
					{Command: "ss -lntup 'sport = :PORT'", Says: "the service, which listens all the same", Shows: `:PORT\b`},
				},
				Fix: []Line{
					{Command: "bpftool link detach id ID"},
				},
				Prevent: "Ask whoever attached the program to let packets for the VIP pass.",
			},
		},
		{
			code: "socket-filter-drop", stage: transport, needs: sockets,
			doubted: innerSide,
			at:      append(sure(site.SocketFilter), spot{site.SocketUnsaid, likely}),
			check: func(s Subject, st *State) *finding {
				sock := st.serving(s)
				if s.Supposed && sock != nil && !sock.Asked() {
					return &finding{undecided: notAsked}
				}
				if sock == nil || !sock.Filter {
					return nil
				}
				return &finding{
					summary:    socketFilter + owner(*sock),
					evidence:   []evidence{by(host.PartSockets, "getsockopt SO_GET_FILTER on %s %s: there is one", s.proto(), sock.Local)},
					consistent: true, doubtful: true, // what it does with this packet is not in the state
				}
			},
			bare: func(Subject) finding { return finding{summary: socketFilter} },
			doc: Doc{
				Where:  inFilters,
				Means:  "A filter that the service has attached to its own socket drops the packet.",
				Kernel: "tcp_v4_rcv or udp_queue_rcv_one_skb, SOCKET_FILTER.",
				Confirm: []Line{
					{Command: "ss -lntup 'sport = :PORT'", Says: "whose socket it is", Shows: `:PORT\b`},
				},
				Fix: []Line{
					{Says: "Change the program that owns the socket (SO_ATTACH_FILTER, SO_ATTACH_BPF)."},
				},
				Prevent: "This host can't prevent it.",
			},
		},
		{
			code: "tcp-auth", stage: transport, needs: sockets, looks: []host.Part{host.PartCounters},
			doubted: innerSide,
			at:      sure(site.TCPAuth),
			fits:    func(s Subject, _ *State) bool { return s.isTCP() },
			check: func(s Subject, st *State) *finding {
				if f := keysState(s, st); f != nil {
					return f
				}
				return unsignedState(s, st)
			},
			bare: func(Subject) finding { return finding{summary: notSigned} },
			doc: Doc{
				Where:  atSocket,
				Means:  "The segment is not signed as the socket demands (TCP-MD5, TCP-AO).",
				Kernel: "tcp_v4_rcv, TCP_MD5NOTFOUND, TCP_MD5UNEXPECTED, TCP_MD5FAILURE, TCP_AO…; no RST.",
				Confirm: []Line{
					{Command: "nstat -az | grep -E 'TCPMD5|TCPAO'", Says: "what rises", Shows: `TCPMD5NotFound +[1-9]`},
				},
				Fix: []Line{
					{Says: "Give both ends the same key for each other's address: the client's, not the director's."},
				},
				Prevent: "This host can't prevent it.",
			},
		},
		{
			code: "tcp-auth", stage: transport, needs: sockets, looks: []host.Part{host.PartCounters},
			at:   []spot{{site.SocketUnsaid, likely}},
			fits: func(s Subject, _ *State) bool { return s.isTCP() },
			check: func(s Subject, st *State) *finding {
				if f := keysState(s, st); f != nil || !st.Coarse {
					return f
				}
				return unsignedState(s, st)
			},
		},
		{
			code: "min-ttl", stage: transport, needs: sockets,
			asked: innerSide,
			at:    append(sure(site.MinTTL), maybe(site.MinTTLUnsaid)...),
			check: func(s Subject, st *State) *finding {
				sock := st.serving(s)
				switch {
				case sock == nil || s.proto() != "tcp":
					return nil
				case !sock.Asked() && sock.MinTTL == 0:
					return &finding{undecided: notAsked}
				case sock.MinTTL == 0, s.Packet.Inner.TTL >= sock.MinTTL && !s.Passed:
					return nil
				}
				ttl := seen("ttl %d at first sight", s.Packet.Inner.TTL)
				if s.Passed {
					ttl = seen("ttl %d at first sight, in another network namespace", s.Packet.Inner.TTL)
				}
				if s.Supposed {
					ttl = seen("the TTL of a request is %d here at most", s.Packet.Inner.TTL)
				}
				return &finding{
					summary:  fmt.Sprintf("%s%s", lowTTL, owner(*sock)),
					evidence: []evidence{by(host.PartSockets, "getsockopt IP_MINTTL on %s: %d", sock.Local, sock.MinTTL), ttl},
					// By how much it has become less on its way was not seen.
					consistent: s.Packet.Inner.TTL >= sock.MinTTL,
				}
			},
			bare: func(Subject) finding { return finding{summary: lowTTL} },
			doc: Doc{
				Where:  atSocket,
				Means:  "The packet's TTL is below what the service demands (IP_MINTTL).",
				Kernel: "tcp_v4_rcv, TCP_MINTTL (6.1: NOT_SPECIFIED).",
				Confirm: []Line{
					{Command: "nstat -az TcpExtTCPMinTTLDrop", Says: "rises with each packet", Shows: `TCPMinTTLDrop +[1-9]`},
				},
				Fix: []Line{
					{Says: "Demand one less in the program: IPVS takes one hop from the inner packet."},
				},
				Prevent: "Count the director as a hop.",
			},
		},
	}
}

const (
	notAsked     = "sockets: the service's socket was not asked for its options, which takes the right to look into its process"
	socketFilter = "a filter that the service has put on its own socket (SO_ATTACH_FILTER) drops the packet"
	notSigned    = "the segment is not signed as the connection asks for (TCP-MD5, RFC 2385, or TCP-AO, RFC 5925): the keys of both ends differ"
	lowTTL       = "the packet's TTL is below what the service asks for (IP_MINTTL, RFC 5082); IPVS takes one from it, too"
)

// lookupState: a program has a say, and the socket that the kernel would have found without it is there.
func lookupState(s Subject, st *State) *finding {
	sock := st.serving(s)
	if sock == nil || len(st.Lookups) == 0 {
		return nil
	}
	f := &finding{
		summary:    fmt.Sprintf("the service listens on %s%s, but a program that chooses sockets (BPF_SK_LOOKUP) keeps packets from it", s.onPort(), owner(*sock)),
		evidence:   []evidence{by(host.PartSockets, "ss -ln: %s %s", s.proto(), sock.Local)},
		consistent: true, // what it does with this packet is not in the state
		doubtful:   st.Coarse || len(st.Lookups) > 1,
	}
	for _, l := range st.Lookups {
		f.evidence = append(f.evidence, by(host.PartLookups, "bpftool link: %d: netns prog %d, attach_type sk_lookup", l.Link, l.Program))
	}
	if len(st.Lookups) == 1 {
		f.fix = command.Of("bpftool link detach id %", command.Number(st.Lookups[0].Link))
		f.mend = func(st *State) { st.whole.Lookups = nil }
	}
	return f
}

// keysState: the service's socket has keys.
func keysState(s Subject, st *State) *finding {
	sock := st.serving(s)
	switch {
	case sock == nil:
		return nil
	case s.Supposed && st.Coarse:
		return &finding{undecided: "sockets: /proc does not say whether the service has keys (TCP-MD5), and the modules inet_diag and tcp_diag, which do, are not loaded"}
	case s.Supposed && sock.KeysUntold:
		return &finding{undecided: "sockets: whether the service has keys (TCP-MD5) the kernel tells only who may administer the network"}
	case !sock.MD5, s.Supposed && len(sock.Signs) > 0 && !slices.ContainsFunc(sock.Signs, func(p netip.Prefix) bool { return p.Contains(s.client()) }):
		return nil
	}
	return &finding{
		consistent: true, // another peer may be the one that has to sign, or this one does
		summary:    notSigned + owner(*sock), evidence: []evidence{by(host.PartSockets, "ss -ltni 'sport = :%d': md5keys", s.wanted().Port())},
	}
}

// unsignedState: the kernel has counted segments without keys.
func unsignedState(s Subject, st *State) *finding {
	if s.Supposed {
		return nil // what was counted were other packets
	}
	for _, c := range []string{"TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure"} {
		if st.Counted("TcpExt."+c) > 0 {
			return &finding{summary: notSigned, evidence: []evidence{st.counted("TcpExt." + c)}, consistent: true, doubtful: true}
		}
	}
	return nil
}
