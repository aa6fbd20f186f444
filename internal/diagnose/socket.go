package diagnose

import (
	"fmt"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/tracer/event"
)

// socketRows are the causes at the service's socket.
func socketRows() []row {
	sockets := []host.Part{host.PartSockets, host.PartLinks}
	return []row{
		{
			code: "listener-wrong-device", stage: transport, needs: append([]host.Part{host.PartSysctls}, sockets...),
			seen:  opensNoSocket,
			state: func(q question) *finding { return nearState(q, "device") },
		},
		{
			code: "listener-wrong-address", stage: transport, needs: sockets,
			seen:  opensNoSocket,
			state: func(q question) *finding { return nearState(q, "address") },
		},
		{
			code: "no-listener", stage: transport, needs: sockets,
			seen: func(q question) sight {
				if q.directs() {
					return absent
				}
				if opensNoSocket(q) == possible {
					return shown
				}
				return absent
			},
			state: func(q question) *finding {
				serving, near := q.host.Serves(q.proto(), q.service(), q.link())
				if len(serving) > 0 || len(near) > 0 {
					return nil
				}
				return &finding{
					summary:  noListener(q),
					evidence: []string{fmt.Sprintf("ss -ln%s 'sport = :%d': none", map[string]string{"tcp": "t", "udp": "u"}[q.proto()], q.port())},
				}
			},
			bare: func(q question) finding { return finding{summary: noListener(q)} },
		},
		{
			code: "accept-queue-full", stage: transport, needs: sockets,
			seen: func(q question) sight {
				switch {
				case q.reason("TCP_LISTEN_OVERFLOW"):
					return shown
				case q.droppedIn(event.TCPConnRequest.String()):
					return possible
				}
				return absent
			},
			state: acceptState,
			bare: func(q question) finding {
				return finding{summary: fmt.Sprintf("the queue of connections that wait for the service on port %d to accept them is full", q.port())}
			},
		},
		{
			code: "syn-queue-full", stage: transport, needs: append([]host.Part{host.PartSysctls, host.PartCounters}, sockets...),
			seen: func(q question) sight {
				if q.droppedIn(event.TCPConnRequest.String()) {
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				if cookies, ok := q.host.Sysctl("net/ipv4/tcp_syncookies"); !ok || cookies != 0 {
					return nil
				}
				if q.host.Counted("TcpExt.TCPReqQFullDrop") == 0 {
					return nil
				}
				return &finding{
					summary:  fmt.Sprintf("too many handshakes with port %d are not complete, and SYN cookies are off", q.port()),
					evidence: []string{q.says("net/ipv4/tcp_syncookies"), q.says("net/ipv4/tcp_max_syn_backlog"), q.counted("TcpExt.TCPReqQFullDrop")},
					fix:      command.Of("sysctl -w net.ipv4.tcp_syncookies=1"),
				}
			},
		},
		{
			code: "syn-cookie-invalid", stage: transport,
			seen: func(q question) sight {
				if q.Packet.Inner.Protocol == protoTCP && !q.isSYN() && (q.reason("TCP_FLAGS") || q.noReason()) && q.droppedIn("tcp_v4_do_rcv", "cookie_v4_check") {
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				serving, _ := q.host.Serves(q.proto(), q.service(), q.link())
				if len(serving) == 0 {
					return nil
				}
				return &finding{
					summary:  fmt.Sprintf("the segment belongs to no connection that the service on port %d knows, and is no valid SYN cookie: the connection is another real server's, or from before a restart", q.port()),
					evidence: []string{fmt.Sprintf("nstat -az TcpExtSyncookiesFailed: %d", q.host.Counters["TcpExt.SyncookiesFailed"])},
				}
			},
		},
		{
			code: "receive-buffer-full", stage: transport, needs: sockets,
			seen: func(q question) sight {
				switch {
				case q.reason("SOCKET_RCVBUFF", "PROTO_MEM", "TCP_ZEROWINDOW", "SOCKET_BACKLOG"):
					return shown
				case q.reason("") && q.Packet.Inner.Protocol == protoUDP && q.Reject == nil && q.droppedIn("udp_queue_rcv_one_skb", "__udp_queue_rcv_skb", "udp_unicast_rcv_skb"):
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				serving, _ := q.host.Serves(q.proto(), q.service(), q.link())
				if len(serving) == 0 || q.proto() == "udp" && serving[0].Drops == 0 || q.noReason() && serving[0].RecvQueue == 0 {
					return nil
				}
				f := bufferFull(q)
				f.summary += owner(serving[0])
				f.evidence = []string{fmt.Sprintf("ss -ump 'sport = :%d': %d bytes wait, %d dropped", q.port(), serving[0].RecvQueue, serving[0].Drops)}
				return &f
			},
			bare: bufferFull,
		},
		reasonRow("tcp-paws", "tcp_paws_discard", "the segment's timestamp is older than that of what the connection had before (PAWS, RFC 7323)", "TCP_RFC7323_PAWS", "TCP_RFC7323_TW_PAWS", "TCP_RFC7323_PAWS_ACK", "TCP_RFC7323_TSECR"),
		reasonRow("tcp-out-of-window", "tcp_sequence", "the segment lies outside of what the connection expects: its client began anew, or two hosts use one address", "TCP_INVALID_SEQUENCE", "TCP_INVALID_END_SEQUENCE", "TCP_INVALID_SYN", "TCP_OLD_ACK", "TCP_TOO_OLD_ACK", "TCP_ACK_UNSENT_DATA", "TCP_OVERWINDOW", "TCP_OLD_SEQUENCE", "TCP_INVALID_ACK_SEQUENCE"),
	}
}

// reasonRow is a cause that the kernel names, and no state explains better. Where it names none, who decided was seen.
func reasonRow(code, decider, summary string, reasons ...string) row {
	return row{
		code: code, stage: transport,
		seen: func(q question) sight {
			if q.reason(reasons...) || q.reason("") && q.Drop.Decider == decider {
				return shown
			}
			return absent
		},
		bare: func(question) finding { return finding{summary: summary} },
	}
}

// opensNoSocket: a packet that begins something found no socket.
func opensNoSocket(q question) sight {
	if q.tunnelled() && q.outerProto() != protoIPIP {
		return absent // the outer header's socket
	}
	if q.Packet.Inner.Protocol == protoTCP && !q.isSYN() || q.reply() {
		return absent
	}
	return atNoSocket(q)
}

func noListener(q question) string {
	return fmt.Sprintf("nothing listens on %s port %d for %s: start the service, or bind it to the VIP", q.proto(), q.port(), q.vip())
}

// nearState finds a socket on the port that does not take the packet.
func nearState(q question, why string) *finding {
	if q.directs() {
		return nil
	}
	serving, near := q.host.Serves(q.proto(), q.service(), q.link())
	if len(serving) > 0 {
		return q.hiddenDevice(serving[0], why)
	}
	for _, n := range near {
		if n.Why != why && !(n.Why == "ipv6" && why == "address") && !(n.Why == "vrf" && why == "device") {
			continue
		}
		dev := ""
		if l := q.host.Link(n.Socket.Device); l != nil {
			dev = "%" + l.Name
		}
		f := &finding{evidence: []string{fmt.Sprintf("ss -ln: %s %s%s%s", q.proto(), n.Socket.Local, dev, owner(n.Socket))}}
		switch n.Why {
		case "device":
			f.summary = fmt.Sprintf("the service on port %d is bound to %s, and the packet comes by %s: bind it to no device", q.port(), strings.TrimPrefix(dev, "%"), q.dev())
		case "vrf":
			accept := "net/ipv4/" + q.proto() + "_l3mdev_accept"
			proto := command.OneOf("the protocol", q.proto(), "tcp", "udp")
			f.summary = fmt.Sprintf("the packet comes by %s, which belongs to a VRF, and the service on port %d is bound to none", q.dev(), q.port())
			if master := q.host.Link(q.link().Master); master != nil {
				f.evidence = append(f.evidence, fmt.Sprintf("ip link show %s: master %s", command.Device(q.dev()), master.Name))
			}
			f.evidence = append(f.evidence, q.says(accept))
			f.fix = command.Of("sysctl -w net.ipv4.%_l3mdev_accept=1", proto)
		case "ipv6":
			f.summary = fmt.Sprintf("the service on port %d is bound to %s and takes IPv6 only (IPV6_V6ONLY): bind it to the VIP or to 0.0.0.0, too", q.port(), n.Socket.Local.Addr())
		default:
			f.summary = fmt.Sprintf("the service on port %d is bound to %s, not to the VIP %s: bind it to the VIP or to 0.0.0.0", q.port(), n.Socket.Local.Addr(), q.vip())
		}
		return f
	}
	return nil
}

// hiddenDevice: a socket is there that should have taken the packet, and the kernel found none. Where /proc is all
// that there is to read, which does not say devices, one to which the socket is bound is what is left.
func (q question) hiddenDevice(s host.Socket, why string) *finding {
	if why != "device" || !q.host.Coarse {
		return nil
	}
	return &finding{
		summary:  fmt.Sprintf("the service on port %d does not take what comes by %s: it is bound to another device", q.port(), q.dev()),
		evidence: []string{fmt.Sprintf("/proc/net/%s: %s%s", q.proto(), s.Local, owner(s)), "its device is in: ss -ln, behind %"},
		doubtful: true,
	}
}

// owner names the process, in brackets.
func owner(s host.Socket) string {
	if len(s.Owners) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s)", s.Owners[0].Name)
}

func bufferFull(q question) finding {
	return finding{summary: fmt.Sprintf("the receive buffer of the socket on port %d is full: its program does not read fast enough", q.port())}
}

func acceptState(q question) *finding {
	serving, _ := q.host.Serves(q.proto(), q.service(), q.link())
	if len(serving) == 0 {
		return nil
	}
	s := serving[0]
	full := s.RecvQueue > s.SendQueue
	if q.host.Coarse {
		full = s.RecvQueue > 0 && q.host.Counted("TcpExt.ListenOverflows") > 0
	}
	if !full && !q.reason("TCP_LISTEN_OVERFLOW") {
		return nil
	}
	f := &finding{
		summary:  fmt.Sprintf("the service on port %d does not accept its connections fast enough: its queue is full%s", q.port(), owner(s)),
		evidence: []string{fmt.Sprintf("ss -ltn 'sport = :%d': Recv-Q %d, Send-Q %d", q.port(), s.RecvQueue, s.SendQueue)},
	}
	if q.host.Counted("TcpExt.ListenOverflows") > 0 {
		f.evidence = append(f.evidence, q.counted("TcpExt.ListenOverflows"))
	}
	return f
}
