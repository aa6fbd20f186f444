package diagnose

import (
	"fmt"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/tracer/event"
)

// directorRows are the causes in the director's work.
func directorRows() []row {
	needs := []host.Part{host.PartIPVS}
	return []row{
		{
			code: "ipvs-destination-removed", stage: forwarding, needs: needs,
			seen:  atDirector,
			state: removedState,
		},
		{
			code: "ipvs-no-destination", stage: forwarding, needs: needs,
			seen:  atDirector,
			state: noDestinationState,
		},
		{
			code: "ipvs-overloaded", stage: forwarding, needs: needs,
			seen:  atDirector,
			state: overloadedState,
		},
		{
			code: "ipvs-backup", stage: forwarding, needs: []host.Part{host.PartIPVS, host.PartSysctls},
			seen: func(q question) sight {
				if !q.directs() {
					return absent
				}
				return atNoSocket(q)
			},
			state: backupState,
		},
		{
			code: "ipvs-no-service", stage: forwarding, needs: needs,
			seen: func(q question) sight {
				if !q.directs() {
					return absent
				}
				return atNoSocket(q)
			},
			state: noServiceState,
		},
		{
			code: "ipvs-no-connection", stage: forwarding, needs: needs,
			seen: func(q question) sight {
				if q.isSYN() || q.Packet.Inner.Protocol != protoTCP || !q.directs() {
					return absent
				}
				return atNoSocket(q)
			},
			state: noConnectionState,
		},
		{
			code: "ipvs-loop", stage: forwarding, needs: needs,
			seen: func(q question) sight {
				if q.icmp(11, 0) && q.sentOn() {
					return shown
				}
				return absent
			},
			state: loopState,
		},
		{
			code: "ipvs-no-route", stage: forwarding, needs: append(append([]host.Part{}, needs...), lookups...),
			seen: func(q question) sight {
				if q.droppedIn("ip_vs_tunnel_xmit", "__ip_vs_get_out_rt") && q.icmp(3, -1) && !q.icmp(3, 4) {
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				s := q.virtual()
				if s == nil {
					return nil
				}
				for _, d := range s.Destinations {
					a := q.host.Route(host.Flow{Dst: d.Addr.Addr()})
					if !a.Refused() {
						continue
					}
					f := &finding{
						summary:  fmt.Sprintf("the director has no route to the real server %s", d.Addr.Addr()),
						evidence: []string{got(d.Addr.Addr(), a)},
					}
					if a.Route != nil {
						f.fix = deleteRoute(*a.Route)
					}
					return f
				}
				return nil
			},
		},
	}
}

// atDirector: IPVS itself gave the packet up.
func atDirector(q question) sight {
	if q.Drop != nil && q.Drop.Decider == "ip_vs_in" {
		return possible
	}
	if q.Drop != nil && q.Drop.NfHook == "input" && q.isDirector() && q.virtual() != nil {
		return possible
	}
	return absent
}

// atNoSocket: the kernel looked for a socket, and there is none.
func atNoSocket(q question) sight {
	switch {
	case q.reason("NO_SOCKET"):
		return possible
	case q.noReason() && q.droppedIn("tcp_v4_rcv", "__udp4_lib_rcv", "udp_rcv") && (q.reset() || q.icmp(3, 3)):
		return possible
	}
	return absent
}

func noDestinationState(q question) *finding {
	s := q.virtual()
	if s == nil {
		return nil
	}
	if len(s.Destinations) == 0 {
		return &finding{
			summary:  fmt.Sprintf("the service %s has no real server", s.Addr),
			evidence: []string{fmt.Sprintf("ipvsadm -Ln: %s %s without destinations", q.proto(), s.Addr)},
		}
	}
	f := &finding{summary: fmt.Sprintf("no real server of the service %s takes new connections: their weights are 0", s.Addr)}
	for _, d := range s.Destinations {
		if d.Weight > 0 {
			return nil
		}
		f.evidence = append(f.evidence, fmt.Sprintf("ipvsadm -Ln: -> %s %s weight 0", d.Addr, methodName[d.Method]))
	}
	d := s.Destinations[0]
	f.fix = command.Of("ipvsadm -e % % -r % % -w 1", serviceFlag[s.Proto], command.Endpoint(s.Addr), command.Endpoint(d.Addr), methodFlag[d.Method])
	return f
}

// noConnectionState: a service is there, and IPVS let the packet pass. Only a sole real server is sure to be the one
// that knows the connection.
func noConnectionState(q question) *finding {
	s := q.virtual()
	if on, _ := q.host.Sysctl(backupOnly); s == nil || on != 0 {
		return nil
	}
	f := &finding{
		summary:  fmt.Sprintf("the director does not know this connection of %s, and the packet begins none", q.client()),
		evidence: []string{fmt.Sprintf("ipvsadm -Lnc: none of %s:%d to %s", q.client(), q.clientPort(), q.service()), q.says("net/ipv4/vs/sloppy_tcp")},
	}
	if sloppy, ok := q.host.Sysctl("net/ipv4/vs/sloppy_tcp"); ok && sloppy == 0 && len(s.Destinations) == 1 {
		f.fix = command.Of("sysctl -w net.ipv4.vs.sloppy_tcp=1")
	}
	return f
}

// removedState finds the connection of the packet, and not its real server.
func removedState(q question) *finding {
	s := q.virtual()
	if s == nil {
		return nil
	}
	for _, c := range q.host.IPVS.Conns {
		if c.Client.Addr() != q.client() || c.Client.Port() != q.clientPort() || c.Virtual != q.service() || s.Has(c.Dest) {
			continue
		}
		method := "tunnel"
		if len(s.Destinations) > 0 {
			method = s.Destinations[0].Method
		}
		return &finding{
			summary:  fmt.Sprintf("the connection belongs to the real server %s, which was removed from the service", c.Dest),
			evidence: []string{fmt.Sprintf("ipvsadm -Lnc: %s %s %s %s", c.Client, c.Virtual, c.Dest, c.State), q.says("net/ipv4/vs/expire_nodest_conn")},
			fix:      command.Of("ipvsadm -a % % -r % % -w 1", serviceFlag[s.Proto], command.Endpoint(s.Addr), command.Endpoint(c.Dest), methodFlag[method]),
		}
	}
	return nil
}

func overloadedState(q question) *finding {
	s := q.virtual()
	if s == nil || len(s.Destinations) == 0 {
		return nil
	}
	f := &finding{summary: "every real server of the service has as many connections as it may have"}
	for _, d := range s.Destinations {
		if d.Weight <= 0 {
			continue
		}
		if !full(d) {
			return nil
		}
		f.evidence = append(f.evidence, fmt.Sprintf("ipvsadm -Ln --thresholds: %s upper %d, %d connections", d.Addr, d.Upper, d.Active+d.Inactive))
		f.fix = f.fix.Then("ipvsadm -e % % -r % % -w % -x 0",
			serviceFlag[s.Proto], command.Endpoint(s.Addr), command.Endpoint(d.Addr), methodFlag[d.Method], command.Number(d.Weight))
	}
	return f
}

// full reports whether a real server may take no new connection: it had as many as it may have, and has not fallen
// below the lower threshold since, or below three quarters (ip_vs_unbind_dest).
func full(d host.Destination) bool {
	n := uint64(d.Active) + uint64(d.Inactive)
	switch {
	case d.Upper == 0:
		return false
	case n >= uint64(d.Upper):
		return true
	case d.Lower != 0:
		return n >= uint64(d.Lower)
	}
	return n*4 >= uint64(d.Upper)*3
}

// backupOnly names the setting by which a director that is a backup leaves packets alone.
const backupOnly = "net/ipv4/vs/backup_only"

func backupState(q question) *finding {
	s := q.virtual()
	if on, ok := q.host.Sysctl(backupOnly); s == nil || !ok || on == 0 {
		return nil
	}
	return &finding{
		summary:  "this director is a backup and leaves packets alone: send them to the active one, or let this one work, too",
		evidence: []string{q.says(backupOnly), fmt.Sprintf("ipvsadm -Ln: %s %s is there", q.proto(), s.Addr)},
		fix:      command.Of("sysctl -w net.ipv4.vs.backup_only=0"),
	}
}

// sentOn reports whether IPVS sent the packet on where it was lost, after it had come out of a tunnel there.
func (q question) sentOn() bool {
	came := false
	for _, s := range q.Steps {
		if q.Drop == nil || s.Netns != q.Drop.Netns {
			continue
		}
		if came && s.Place == event.IPVSXmit {
			return true
		}
		came = came || s.Tunnelled
	}
	return false
}

// loopState: only what has the VIP on a tunnel is a real server, whose IPVS is one too many.
func loopState(q question) *finding {
	s := q.virtual()
	if s == nil {
		return nil
	}
	f := &finding{summary: fmt.Sprintf("packets for %s come back to this director out of a tunnel: a real server runs IPVS with the same VIP", s.Addr)}
	if q.behindTunnel() {
		f.summary = fmt.Sprintf("this real server runs IPVS with the same VIP, and sends packets for %s on instead of taking them: they go in a circle", s.Addr)
		f.fix = command.Of("ipvsadm -D % %", serviceFlag[s.Proto], command.Endpoint(s.Addr))
	}
	for _, d := range s.Destinations {
		f.evidence = append(f.evidence, fmt.Sprintf("ipvsadm -Ln: %s -> %s %s", s.Addr, d.Addr, methodName[d.Method]))
	}
	return f
}

// How ipvsadm names protocols and methods.
var (
	serviceFlag = map[uint8]command.Part{protoTCP: command.Say("-t"), protoUDP: command.Say("-u")}
	methodFlag  = map[string]command.Part{
		"masq": command.Say("-m"), "tunnel": command.Say("-i"), "route": command.Say("-g"), "local": command.Say("-g"), "bypass": command.Say("-g"),
	}
	methodName = map[string]string{"masq": "Masq", "tunnel": "Tunnel", "route": "Route", "local": "Local", "bypass": "Bypass"}
)

func noServiceState(q question) *finding {
	if q.virtual() != nil {
		return nil
	}
	if f := markedState(q); f != nil {
		return f
	}
	f := &finding{
		summary:  fmt.Sprintf("IPVS has no service %s %s: the director takes the packet for its own", q.proto(), q.service()),
		evidence: []string{fmt.Sprintf("ipvsadm -Ln: no %s %s", q.proto(), q.service())},
	}
	for _, s := range q.host.IPVS.Services {
		if s.Mark != 0 {
			f.evidence = append(f.evidence, fmt.Sprintf("ipvsadm -Ln: FWM %d", s.Mark))
			continue
		}
		f.evidence = append(f.evidence, fmt.Sprintf("ipvsadm -Ln: %s %s", map[uint8]string{protoTCP: "TCP", protoUDP: "UDP"}[s.Proto], s.Addr))
	}
	return f
}
