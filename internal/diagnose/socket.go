package diagnose

import (
	"fmt"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// socketRows are the causes at the service's socket.
func socketRows() []row {
	sockets := []host.Part{host.PartSockets, host.PartLinks}
	return []row{
		{
			code: "listener-wrong-device", stage: transport, needs: append([]host.Part{host.PartSysctls}, sockets...),
			asked: innerSide,
			at:    []spot{{site.NoSocket, likely}}, fits: wantsSocket,
			check: func(s Subject, st *State) *finding { return nearState(s, st, "device") },
			doc: Doc{
				Where:  atSocket,
				Means:  "The service is bound to another device than tunl0, by which the packet comes.",
				Kernel: "As no-listener: the device of a decapsulated packet is the tunnel.",
				Confirm: []Line{
					{Command: "ss -lntu 'sport = :PORT'", Says: "%DEVICE behind the address", Shows: `%eth0:PORT`},
				},
				Fix: []Line{
					{Says: "Bind the service to no device. Bound to tunl0 it would get its packets, but its answers would get lost (explain reply-into-tunnel)."},
					{Command: "sysctl -w net.ipv4.tcp_l3mdev_accept=1 net.ipv4.udp_l3mdev_accept=1", Says: "or, if tunl0 is in a VRF and the service is not", Lab: "listener-outside-vrf"},
				},
				Prevent: "Use no SO_BINDTODEVICE in the service.",
			},
		},
		{
			code: "listener-wrong-address", stage: transport, needs: sockets,
			asked: innerSide,
			at:    maybe(site.NoSocket), fits: wantsSocket,
			check: func(s Subject, st *State) *finding { return nearState(s, st, "address") },
			doc: Doc{
				Where:  atSocket,
				Means:  "The service listens, but on another address than the VIP.",
				Kernel: "As no-listener.",
				Confirm: []Line{
					{Command: "ss -lntu 'sport = :PORT'", Says: "the local address", Shows: `RIP:PORT`, Lab: "listener-wrong-address"},
				},
				Fix: []Line{
					{Says: "Bind the service to 0.0.0.0 or to the VIP."},
				},
				Prevent: "Start a service that binds to an address after the address is there, or with net.ipv4.ip_nonlocal_bind=1.",
			},
		},
		{
			code: "no-listener", stage: transport, needs: sockets,
			asked: innerSide,
			at:    sure(site.NoSocket), fits: wantsSocket,
			check: func(s Subject, st *State) *finding {
				serving, near := st.Serves(s.proto(), s.wanted(), st.link(s))
				if s.proto() == "" || len(serving) > 0 || len(near) > 0 {
					return nil
				}
				if why := st.givesAway(s); why != "" {
					return &finding{undecided: why}
				}
				return &finding{
					summary:  noListener(s),
					evidence: []evidence{by(host.PartSockets, "ss -ln%s 'sport = :%d': none", map[string]string{"tcp": "t", "udp": "u"}[s.proto()], s.wanted().Port())},
				}
			},
			bare: func(s Subject) finding { return finding{summary: noListener(s)} },
			doc: Doc{
				Where:  atSocket,
				Means:  "Nobody listens on the service's port.",
				Kernel: "tcp_v4_rcv, NO_SOCKET, and an RST; UDP: __udp4_lib_rcv (udp_rcv on 7.x) and ICMP 3/3.",
				Confirm: []Line{
					{Command: "ss -Hlntu 'sport = :PORT'", Says: "nothing", Shows: Nothing},
				},
				Fix: []Line{
					{Says: "Start the service."},
				},
				Prevent: "Let the director check the health of its real servers.",
			},
		},
		{
			code: "accept-queue-full", stage: transport, needs: sockets, looks: []host.Part{host.PartCounters},
			doubted: innerSide,
			at:      append(sure(site.AcceptQueue), maybe(site.RefusedSYN)...),
			check:   acceptState,
			bare: func(s Subject) finding {
				return finding{summary: fmt.Sprintf("the queue of connections that wait for the service on %s to accept them is full", s.onPort())}
			},
			doc: Doc{
				Where:  atSocket,
				Means:  "Connections that are complete wait for the service to accept them, and there is no room for more.",
				Kernel: "tcp_conn_request refuses the SYN, and the kernel consumes it, without a reason. The last ACK of a handshake: tcp_v4_rcv, TCP_LISTEN_OVERFLOW on newer kernels.",
				Confirm: []Line{
					{Command: "ss -ltn 'sport = :PORT'", Says: "Recv-Q above Send-Q", Shows: `LISTEN +[1-9]`},
					{Command: "nstat -az TcpExtListenOverflows", Says: "rises", Shows: `ListenOverflows +[1-9]`},
				},
				Fix: []Line{
					{Says: "Find out why the program does not accept (threads, files, a hang)."},
				},
				Prevent: "Use a larger backlog in the program, and a net.core.somaxconn at least as large.",
			},
		},
		{
			code: "syn-queue-full", stage: transport, needs: []host.Part{host.PartSysctls, host.PartCounters},
			doubted: innerSide,
			at:      maybe(site.RefusedSYN),
			check: func(s Subject, st *State) *finding {
				if cookies, ok := st.Sysctl("net/ipv4/tcp_syncookies"); !ok || cookies != 0 || s.Supposed && !s.isTCP() {
					return nil
				}
				if st.Counted("TcpExt.TCPReqQFullDrop") == 0 && !s.Supposed {
					return nil
				}
				summary := fmt.Sprintf("too many handshakes with %s are not complete, and SYN cookies are off", s.onPort())
				if s.Supposed {
					summary = fmt.Sprintf("SYN cookies are off: while as many handshakes as net.ipv4.tcp_max_syn_backlog allows are not complete, %s takes no more", s.onPort())
				}
				return &finding{
					summary:  summary,
					evidence: []evidence{st.says("net/ipv4/tcp_syncookies"), st.says("net/ipv4/tcp_max_syn_backlog"), st.counted("TcpExt.TCPReqQFullDrop")},
					fix:      command.Of("sysctl -w net.ipv4.tcp_syncookies=1"),
					mend:     setSysctl("net/ipv4/tcp_syncookies", 1),
				}
			},
			doc: Doc{
				Where:  atSocket,
				Means:  "Too many handshakes are not complete, and SYN cookies are off.",
				Kernel: "tcp_conn_request refuses the SYN, and the kernel consumes it, without a reason.",
				Confirm: []Line{
					{Command: "ss -Htn state syn-recv | wc -l", Says: "as many as the backlog", Shows: `^\s*[1-9]`},
					{Command: "sysctl net.ipv4.tcp_syncookies", Says: "0", Shows: `= 0`},
					{Command: "nstat -az TcpExtTCPReqQFullDrop", Says: "rises", Shows: `TCPReqQFullDrop +[1-9]`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.tcp_syncookies=1"},
				},
				Prevent: "Leave SYN cookies on. If handshakes never complete, look for lost replies (explain reply-unanswered).",
			},
		},
		{
			code: "syn-cookie-invalid", stage: transport, needs: sockets, looks: []host.Part{host.PartCounters},
			at:   []spot{{site.CookieUnsaid, likely}},
			fits: func(s Subject, _ *State) bool { return s.isTCP() && !s.isSYN() },
			check: func(s Subject, st *State) *finding {
				if st.serving(s) == nil {
					return nil
				}
				return &finding{
					consistent: true, // whether a cookie is valid is in no state
					summary:    fmt.Sprintf("the segment belongs to no connection that the service on %s knows, and is no valid SYN cookie: the connection is another real server's, or from before a restart", s.onPort()),
					evidence:   []evidence{by(host.PartCounters, "nstat -az TcpExtSyncookiesFailed: %d", st.Counters["TcpExt.SyncookiesFailed"])},
				}
			},
			doc: Doc{
				Where:  atSocket,
				Means:  "A segment belongs to no connection of the listener, and is no valid SYN cookie.",
				Kernel: "tcp_v4_do_rcv, TCP_FLAGS on newer kernels, and an RST.",
				Confirm: []Line{
					{Command: "nstat -az TcpOutRsts TcpExtSyncookiesFailed", Says: "the first rises; the second only if the listener has sent cookies lately", Shows: `TcpOutRsts +[1-9]`},
					{Command: "ipvsadm -Lnc | grep CLIENT", On: atDirector, Says: "did the connection move to another real server?", Fails: true},
				},
				Fix: []Line{
					{Says: "Nothing here: the client begins again."},
				},
				Prevent: "Use persistence, or synchronise connections between directors.",
			},
		},
		{
			code: "receive-buffer-full", stage: transport, needs: sockets,
			at:    sure(site.ReceiveBuffer),
			check: bufferState,
			bare:  bufferFull,
			doc: Doc{
				Where:  atSocket,
				Means:  "The program does not read fast enough, and its socket's buffer is full.",
				Kernel: "udp_queue_rcv_one_skb, SOCKET_RCVBUFF; TCP: TCP_ZEROWINDOW, SOCKET_BACKLOG.",
				Confirm: []Line{
					{Command: "ss -uamn 'sport = :PORT'", Says: "Recv-Q, and d for drops", Shows: `skmem:\(.*,d[1-9]`},
					{Command: "nstat -az UdpRcvbufErrors", Says: "rises", Shows: `UdpRcvbufErrors +[1-9]`},
				},
				Fix: []Line{
					{Says: "Find out why the program does not read."},
				},
				Prevent: "Set SO_RCVBUF in the program and net.core.rmem_max, for bursts.",
			},
		},
		{
			code: "receive-buffer-full", stage: transport, needs: sockets,
			at:   []spot{{site.ReceiveBufferUnsaid, likely}},
			fits: func(s Subject, _ *State) bool { return s.proto() == "udp" },
			check: func(s Subject, st *State) *finding {
				if sock := st.serving(s); sock == nil || sock.RecvQueue == 0 {
					return nil
				}
				return bufferState(s, st)
			},
		},
		{
			code: "tcp-paws", stage: transport,
			at: sure(site.PAWS),
			bare: func(Subject) finding {
				return finding{summary: "the segment's timestamp is older than that of what the connection had before (PAWS, RFC 7323)"}
			},
			doc: Doc{
				Where:  atSocket,
				Means:  "The segment's timestamp is older than one that the connection has seen: several hosts share an address and port.",
				Kernel: "tcp_validate_incoming, TCP_RFC7323_PAWS; TIME_WAIT: tcp_v4_rcv.",
				Confirm: []Line{
					{Command: "nstat -az TcpExtPAWSEstab", Says: "rises", Shows: `PAWSEstab +[1-9]`},
				},
				Fix: []Line{
					{Says: "At the clients' NAT: use one timestamp offset for each connection."},
				},
				Prevent: "Use timestamps with random offsets (net.ipv4.tcp_timestamps=1, the default).",
			},
		},
		{
			code: "tcp-out-of-window", stage: transport,
			at: sure(site.Window),
			bare: func(Subject) finding {
				return finding{summary: "the segment lies outside of what the connection expects: its client began anew, or two hosts use one address"}
			},
			doc: Doc{
				Where:  atSocket,
				Means:  "The segment lies outside of what the connection expects.",
				Kernel: "tcp_validate_incoming, TCP_INVALID_SEQUENCE and others; before 5.17 without an event of its own.",
				Confirm: []Line{
					{Command: "nstat -az TcpExtTCPChallengeACK TcpExtTCPACKSkippedSeq TcpExtDelayedACKLost", Says: "one of them may rise"},
					{Command: "ss -tn dst CLIENT", Says: "an old connection from the same port"},
				},
				Fix: []Line{
					{Says: "No command here repairs it: the old connection times out, and the next one is answered."},
				},
				Prevent: "Keep the director from moving a connection to a real server that still has an old one of the same port.",
			},
		},
	}
}

// wantsSocket reports whether a packet that begins something is for a socket here: IPVS does not send it on, and NAT has not
// given it to another one, which is a cause of its own. What came in no tunnel may be a director's, which nobody can tell
// without its state.
func wantsSocket(s Subject, st *State) bool {
	return s.begins() && (st != nil || s.Outer != nil || s.AtHome) && (!s.redirected() || s.AtHome) && (!s.Tunnelled || s.outerProto() == protoIPIP) && (!st.directs(s) || st.atHome(s))
}

// bufferState: a queue that was full when the packet was lost may have room by now.
func bufferState(s Subject, st *State) *finding {
	sock := st.serving(s)
	if sock == nil || s.proto() == "udp" && sock.Drops == 0 {
		return nil
	}
	f := bufferFull(s)
	f.consistent = true
	f.summary += owner(*sock)
	f.evidence = []evidence{by(host.PartSockets, "ss -ump 'sport = :%d': %d bytes wait, %d dropped", s.wanted().Port(), sock.RecvQueue, sock.Drops)}
	return &f
}

func noListener(s Subject) string {
	if s.AtHome {
		return fmt.Sprintf("IPVS gave the packet to a real server that is this host itself, and nothing listens here on %s for %s", s.proto(), s.wanted())
	}
	return fmt.Sprintf("nothing listens on %s %s for %s: start the service, or bind it to %s", s.proto(), s.onPort(), s.wanted().Addr(), s.theAddress())
}

// nearState finds a socket on the port that does not take the packet.
func nearState(s Subject, st *State, why string) *finding {
	serving, near := st.Serves(s.proto(), s.wanted(), st.link(s))
	if len(serving) > 0 {
		return hiddenDevice(s, st, serving[0], why)
	}
	for _, n := range near {
		if n.Why != why && !(n.Why == "ipv6" && why == "address") && !(n.Why == "vrf" && why == "device") {
			continue
		}
		if why := st.givesAway(s); why != "" {
			return &finding{undecided: why}
		}
		dev := ""
		if l := st.Link(n.Socket.Device); l != nil {
			dev = "%" + l.Name
		}
		f := &finding{evidence: []evidence{by(host.PartSockets, "ss -ln: %s %s%s%s", s.proto(), n.Socket.Local, dev, owner(*n.Socket))}}
		switch n.Why {
		case "device":
			f.summary = fmt.Sprintf("the service on %s is bound to %s, and the packet comes by %s: bind it to no device", s.onPort(), strings.TrimPrefix(dev, "%"), s.Dev)
		case "vrf":
			accept := "net/ipv4/" + s.proto() + "_l3mdev_accept"
			proto := command.OneOf("the protocol", s.proto(), "tcp", "udp")
			f.summary = fmt.Sprintf("the packet comes by %s, which belongs to a VRF, and the service on %s is bound to none", s.Dev, s.onPort())
			if master := st.Link(st.link(s).Master); master != nil {
				f.evidence = append(f.evidence, by(host.PartLinks, "ip link show %s: master %s", command.Device(s.Dev), master.Name))
			}
			f.evidence = append(f.evidence, st.says(accept))
			f.fix, f.mend = command.Of("sysctl -w net.ipv4.%_l3mdev_accept=1", proto), setSysctl(accept, 1)
		case "ipv6":
			f.summary = fmt.Sprintf("the service on %s is bound to %s and takes IPv6 only (IPV6_V6ONLY): bind it to %s or to 0.0.0.0, too", s.onPort(), n.Socket.Local.Addr(), s.theAddress())
		default:
			f.summary = fmt.Sprintf("the service on %s is bound to %s, not to %s: bind it to %s or to 0.0.0.0", s.onPort(), n.Socket.Local.Addr(), strings.TrimPrefix(s.theAddress()+" "+s.wanted().Addr().String(), s.wanted().Addr().String()+" "), s.theAddress())
		}
		return f
	}
	return nil
}

// hiddenDevice: there is a socket for the packet, and the kernel found none. /proc does not say to which device a socket is
// bound; if nothing else could be read, that is what is left.
func hiddenDevice(s Subject, st *State, sock host.Socket, why string) *finding {
	if why != "device" || !st.Coarse {
		return nil
	}
	if s.Supposed && sock.Unbound {
		return nil
	}
	if s.Supposed {
		return &finding{undecided: coarse}
	}
	return &finding{
		summary:    fmt.Sprintf("the service on %s does not take what comes by %s: it is bound to another device", s.onPort(), s.Dev),
		evidence:   []evidence{by(host.PartSockets, "/proc/net/%s: %s%s", s.proto(), sock.Local, owner(sock)), by(host.PartSockets, "its device is in: ss -ln, behind %%")},
		consistent: true, doubtful: true,
	}
}

// coarse is what can't be told of sockets where /proc alone was read.
const coarse = "sockets: /proc does not say whether the service is bound to a device, and the modules inet_diag, tcp_diag and udp_diag, which do, are not loaded"

// owner names the process, in brackets.
func owner(s host.Socket) string {
	if len(s.Owners) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s)", s.Owners[0].Name)
}

func bufferFull(s Subject) finding {
	return finding{summary: fmt.Sprintf("the receive buffer of the socket on %s is full: its program does not read fast enough", s.onPort())}
}

func acceptState(s Subject, st *State) *finding {
	serving, _ := st.Serves(s.proto(), s.wanted(), st.link(s))
	if len(serving) == 0 || s.proto() != "tcp" {
		return nil
	}
	isFull := func(x host.Socket) bool {
		if st.Coarse {
			return x.RecvQueue > 0 && st.Counted("TcpExt.ListenOverflows") > 0
		}
		return x.RecvQueue > x.SendQueue
	}
	sock, others := &serving[0], false
	for i := range serving { // of several that share the port (SO_REUSEPORT) one alone may be full
		others = others || alike(serving[i], serving[0]) && !isFull(serving[i])
		if alike(serving[i], serving[0]) && isFull(serving[i]) && !isFull(*sock) {
			sock = &serving[i]
		}
	}
	full := isFull(*sock)
	if s.Supposed && !full {
		return nil
	}
	f := &finding{
		consistent: !full, // by now some were accepted
		summary:    fmt.Sprintf("the service on %s does not accept its connections fast enough: its queue is full%s", s.onPort(), owner(*sock)),
		evidence:   []evidence{by(host.PartSockets, "ss -ltn 'sport = :%d': Recv-Q %d, Send-Q %d", s.wanted().Port(), sock.RecvQueue, sock.SendQueue)},
	}
	if full && others {
		f.doubtful = true
		f.summary += ", that of one socket of several on this port"
	}
	if st.Counted("TcpExt.ListenOverflows") > 0 {
		f.evidence = append(f.evidence, st.counted("TcpExt.ListenOverflows"))
	}
	return f
}

// alike reports whether two sockets share one address and device: the kernel gives each a part of the packets.
func alike(a, b host.Socket) bool { return a.Local == b.Local && a.Device == b.Device }
