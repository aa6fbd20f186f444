package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// directorRows are the causes in the director's work.
func directorRows() []row {
	ipvs := []host.Part{host.PartIPVS}
	withSysctls := []host.Part{host.PartIPVS, host.PartSysctls}
	directs := func(s Subject, st *State) bool { return st.directs(s) }
	return []row{
		{
			code: "ipvs-destination-removed", stage: forwarding, needs: ipvs, looks: []host.Part{host.PartSysctls},
			at: maybe(site.IPVS, site.InputHook), fits: isDirected, check: removedState, doubted: directorSide,
			doc: Doc{
				Where:  onDirector,
				Means:  "The connection's real server was removed from the service.",
				Kernel: "ip_vs_in drops in input, NETFILTER_DROP, without an ICMP error.",
				Confirm: []Line{
					{Command: "ipvsadm -Lnc | grep CLIENT", Says: "the connection, and its real server", Shows: `CLIENT:`},
					{Command: "ipvsadm -Ln", Says: "the service, without that real server", Shows: `VIP:PORT`},
				},
				Fix: []Line{
					{Command: "ipvsadm -a -t VIP:PORT -r RIP:PORT -i", Says: "the connection goes on"},
					{Command: "sysctl -w net.ipv4.vs.expire_nodest_conn=1", Says: "or let the next packet end the connection: its client connects anew, to another real server", Unplayed: "the lab has one real server"},
				},
				Prevent: "Set the weight to 0 first, and remove the real server when it has no connection left.",
			},
		},
		{
			code: "ipvs-no-destination", stage: forwarding, needs: ipvs,
			asked: directorSide,
			at:    maybe(site.IPVS, site.InputHook), fits: isScheduled, check: noDestinationState,
			doc: Doc{
				Where:  onDirector,
				Means:  "The service has no real server that takes new connections; or its scheduler hashes (sh, mh, dh), asks only the real server that is the client's own, and that has weight 0.",
				Kernel: "ip_vs_in (5.10: ip_vs_remote_request4) drops in input, NETFILTER_DROP, ICMP 3/3 to the client. ip_vs_sh_schedule asks no other real server without IP_VS_SVC_F_SCHED_SH_FALLBACK.",
				Confirm: []Line{
					{Command: "ipvsadm -Ln", Says: "no real server, or weights of 0; the scheduler, and its flags", Shows: `-> RIP:PORT +Tunnel +0 `},
				},
				Fix: []Line{
					{Command: "ipvsadm -e -t VIP:PORT -r RIP:PORT -i -w 1", Says: "name --tun-type, --tun-port, -x and -y as they are: what is not named is reset"},
					{Command: "ipvsadm -E -t VIP:PORT -s sh -b sh-fallback", Says: "or, with sh or mh: leave that real server at rest, and ask others", Lab: "sh-at-rest"},
				},
				Prevent: "Add a sorry server, and use health checks that do not fail all at once.",
			},
		},
		{
			code: "ipvs-overloaded", stage: forwarding, needs: ipvs,
			asked: directorSide,
			at:    maybe(site.IPVS, site.InputHook), fits: isScheduled, check: overloadedState,
			doc: Doc{
				Where:  onDirector,
				Means:  "Every real server has as many connections as its upper threshold allows (with the scheduler ovf: as its weight), or the one that the scheduler has for this client (sh, mh, dh) has.",
				Kernel: "As ipvs-no-destination. ip_vs_bind_dest sets IP_VS_DEST_F_OVERLOAD, ip_vs_unbind_dest takes it away below the lower threshold, or below three quarters of the upper one.",
				Confirm: []Line{
					{Command: "ipvsadm -Ln --thresholds", Says: "Uthreshold, and the connections", Shows: `-> RIP:PORT +[1-9]`},
				},
				Fix: []Line{
					{Command: "ipvsadm -e -t VIP:PORT -r RIP:PORT -i -x 0", Says: "name --tun-type, --tun-port, -w and -y as they are: what is not named is reset"},
				},
				Prevent: "Add real servers. Leave out a threshold that is above what a real server can do.",
			},
		},
		{
			code: "ipvs-backup", stage: forwarding, needs: withSysctls,
			asked: directorSide,
			at:    maybe(site.NoSocket), fits: directs, check: backupState,
			doc: Doc{
				Where:  onDirector,
				Means:  "The director is the backup of another one, and takes no packets while net.ipv4.vs.backup_only is 1.",
				Kernel: "ip_vs_in accepts at once, and the director's own TCP gets the packet: tcp_v4_rcv, NO_SOCKET, and an RST.",
				Confirm: []Line{
					{Command: "sysctl net.ipv4.vs.backup_only", Says: "1", Shows: `= 1`},
					{Command: "ipvsadm -L --daemon", Says: "backup, and no master", Shows: `backup sync daemon`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.vs.backup_only=0"},
				},
				Prevent: "Move the VIP together with the role of the active director: keepalived's lvs_sync_daemon does both.",
			},
		},
		{
			code: "ipvs-no-service", stage: forwarding, needs: ipvs,
			asked: directorSide,
			at:    maybe(site.NoSocket), fits: directs, check: noServiceState,
			doc: Doc{
				Where:  onDirector,
				Means:  "IPVS has no service for this address, protocol and port: the director takes the packet for its own.",
				Kernel: "tcp_v4_rcv, NO_SOCKET, and an RST from the director.",
				Confirm: []Line{
					{Command: "ipvsadm -Ln | grep VIP:PORT", Says: "nothing, or not this protocol", Shows: Nothing, Fails: true},
				},
				Fix: []Line{
					{Command: "ipvsadm -A -t VIP:PORT -s rr; ipvsadm -a -t VIP:PORT -r RIP:PORT -i"},
				},
				Prevent: "Let keepalived make services, and look at its log when one is missing.",
			},
		},
		{
			code: "ipvs-no-connection", stage: forwarding, needs: withSysctls,
			at:    []spot{{site.NoSocket, likely}},
			fits:  func(s Subject, st *State) bool { return s.isTCP() && !s.isSYN() && !s.AtHome && st.directs(s) },
			check: noConnectionState,
			doc: Doc{
				Where:  onDirector,
				Means:  "The packet belongs to a connection that the director does not know.",
				Kernel: "The director's own TCP gets it: tcp_v4_rcv, NO_SOCKET, and an RST.",
				Confirm: []Line{
					{Command: "ipvsadm -Lnc | grep CLIENT", Says: "not the connection's port", Fails: true},
					{Command: "ipvsadm -L --timeout", Says: "shorter than the clients are silent", Shows: `Timeout \(tcp`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.vs.sloppy_tcp=1", Says: "take connections in their middle, too"},
				},
				Prevent: "Set timeouts longer than the clients' (ipvsadm --set), and synchronise connections between directors.",
			},
		},
		{
			code: "ipvs-loop", stage: forwarding, needs: ipvs, looks: []host.Part{host.PartAddrs, host.PartLinks, host.PartSysctls},
			at:    []spot{{site.TTL, likely}},
			fits:  func(s Subject, _ *State) bool { return s.Circles },
			check: loopState,
			doc: Doc{
				Where:  onDirector,
				Means:  "The real server runs IPVS with the same VIP, and tunnels the packet on.",
				Kernel: "ip_vs_in on the tunnel's device; in the end the TTL is used up.",
				Confirm: []Line{
					{Command: "ipvsadm -Ln", On: atRealServer, Says: "the VIP", Shows: `VIP:PORT`},
				},
				Fix: []Line{
					{Command: "ipvsadm -D -t VIP:PORT", On: atRealServer},
				},
				Prevent: "On directors that are real servers, too: net.ipv4.vs.backup_only=1 and a backup's sync daemon (ipvsadm --start-daemon backup). net.ipv4.vs.ignore_tunneled does not help: decapsulation takes its mark from an IPIP packet.",
			},
		},
		{
			code: "ipvs-loop", stage: routing, needs: []host.Part{host.PartIPVS, host.PartAddrs, host.PartLinks, host.PartSysctls}, looks: lookups,
			doubted: innerSide,
			fits:    func(s Subject, st *State) bool { return s.Outer != nil && st.isDirector() && st.behindTunnel(s) },
			check:   loopsState,
		},
		{
			code: "martian-source", stage: forwarding, needs: append([]host.Part{host.PartIPVS}, lookups...),
			doubted: directorSide,
			fits:    isDirected,
			check:   sendsAsVIP,
		},
		{
			code: "ipvs-no-route", stage: forwarding, needs: append([]host.Part{host.PartIPVS}, lookups...), looks: []host.Part{host.PartSysctls},
			asked: directorSide,
			at:    maybe(site.IPVSUnreachable),
			check: noRouteState,
			doc: Doc{
				Where:  onDirector,
				Means:  "The director has no route to the real server.",
				Kernel: "ip_vs_tunnel_xmit, NOT_SPECIFIED, ICMP 3/1 to the client.",
				Confirm: []Line{
					{Command: "ip route get RIP", Says: "an error", Shows: `^RTNETLINK answers: `, Fails: true},
				},
				Fix: []Line{
					{Command: "ip route replace RIP via GATEWAY"},
				},
				Prevent: "Check the route to a real server when you add it.",
			},
		},
	}
}

// isDirected reports whether a virtual service takes the packet.
func isDirected(s Subject, st *State) bool { return st.isDirector() && st.virtual(s) != nil }

// isScheduled reports whether the service asks its scheduler for the packet, because it begins a connection.
func isScheduled(s Subject, st *State) bool {
	if !isDirected(s, st) {
		return false
	}
	sloppy, _ := st.Sysctl(sloppyTCP)
	return s.begins() || sloppy != 0
}

// sloppyTCP names the setting by which any segment but a reset may begin a connection (tcp_conn_schedule).
const sloppyTCP = "net/ipv4/vs/sloppy_tcp"

// sendsAsVIP: the outer source is the VIP, which a real server has, too, and takes for forged then (fib_validate_source). A
// routing daemon that announces the VIP may make such routes.
func sendsAsVIP(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil {
		return nil
	}
	for _, d := range st.chosen(v, s) {
		to := d.Addr.Addr()
		a := st.Output(host.Flow{Dst: to})
		if d.Method != "tunnel" || st.Owns(to) || a.Type != "unicast" || st.sourceTo(a) != s.vip() {
			continue
		}
		return &finding{
			doubtful: true,
			summary:  fmt.Sprintf("packets for the real server %s leave with the VIP %s as outer source: where the VIP is an address of the real server, too, it takes them for forged (unless accept_local is 1 there); give the route another source (ip route change … src)", to, s.vip()),
			evidence: []evidence{by(host.PartRoutes, "ip route get %s: dev %s src %s", command.Address(to), command.Device(a.Dev), s.vip())},
		}
	}
	return nil
}

func noRouteState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil {
		return nil
	}
	for _, d := range st.chosen(v, s) {
		a := st.Route(host.Flow{Dst: d.Addr.Addr()})
		if !a.Refused() {
			continue
		}
		f := &finding{
			summary:  fmt.Sprintf("the director has no route to the real server %s", d.Addr.Addr()),
			evidence: []evidence{got(d.Addr.Addr(), a)},
		}
		if a.Route != nil && !closes(*a.Route) {
			f.fix, f.mend = st.deleteRoute(*a.Route)
		}
		return f
	}
	return nil
}

func noDestinationState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil {
		return nil
	}
	if len(v.Destinations) == 0 {
		return &finding{
			summary:  fmt.Sprintf("the service %s has no real server", called(v)),
			evidence: []evidence{by(host.PartIPVS, "ipvsadm -Ln: %s without destinations", strings.TrimSpace(protocol(v)+" "+called(v)))},
		}
	}
	r, ok := refuses(v, s, atRest)
	if !ok {
		return nil
	}
	f := &finding{summary: fmt.Sprintf("no real server of the service %s takes new connections: their weights are 0", called(v))}
	if r.hashed {
		f.summary = r.says(v, s, "has the weight 0")
		f.evidence = r.shows(v, s)
	}
	for _, d := range r.by {
		f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Ln: -> %s %s weight 0", d.Addr, methodName[d.Method]))
	}
	f.fix, f.mend = weigh(*v, *r.by[0], 1)
	if r.helped(v) {
		f.fix, f.mend = fallBack(*v)
	}
	f.doubtful = r.guessed
	return f
}

// noConnectionState: there is a service, and IPVS let the packet pass. Only if there is one real server it surely knows the
// connection.
func noConnectionState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil || st.standsBy() {
		return nil
	}
	f := &finding{
		consistent: true, // the table of connections is not read for what is not in it
		summary:    fmt.Sprintf("the director does not know this connection of %s, and the packet begins none", s.client()),
	}
	known := slices.ContainsFunc(st.IPVS.Conns, func(c host.IPVSConn) bool { return ofConnection(c, s) })
	if f.doubtful = known; known { // by now; where the table was not read whole, the kernel was still seen to find none
		f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Lnc: %s:%d to %s, which was not there then", s.client(), s.clientPort(), s.service()))
	} else if st.IPVS.MoreConns == 0 {
		f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Lnc: none of %s:%d to %s", s.client(), s.clientPort(), s.service()))
	}
	f.evidence = append(f.evidence, st.says(sloppyTCP))
	if sloppy, ok := st.Sysctl(sloppyTCP); ok && sloppy == 0 && len(v.Destinations) == 1 {
		f.fix, f.mend = command.Of("sysctl -w net.ipv4.vs.sloppy_tcp=1"), setSysctl(sloppyTCP, 1)
	}
	return f
}

// ofConnection reports whether a packet is one of a connection that IPVS knows.
func ofConnection(c host.IPVSConn, s Subject) bool {
	return c.Proto == s.proto() && c.Client == netip.AddrPortFrom(s.client(), s.clientPort()) && c.Virtual == s.service()
}

// removedState finds the packet's connection but not its real server among the service's.
func removedState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil {
		return nil
	}
	for _, c := range st.IPVS.Conns {
		if !ofConnection(c, s) || v.Has(c.Dest) {
			continue
		}
		was := host.Destination{Addr: c.Dest, Method: "tunnel", Weight: 1}
		anyPort := v.Addr.Port() == 0
		if len(v.Destinations) > 0 { // as the others
			d := v.Destinations[0]
			anyPort = d.Addr.Port() == 0
			was.Method, was.TunType, was.TunPort, was.TunFlags = d.Method, d.TunType, d.TunPort, d.TunFlags
		}
		if anyPort {
			was.Addr = netip.AddrPortFrom(c.Dest.Addr(), 0)
		}
		if slices.ContainsFunc(v.Destinations, func(d host.Destination) bool { return lacks(v, d) == available }) {
			was.Weight = 0 // its connections go on, and it gets no new ones: it was removed for some reason
		}
		return &finding{
			summary:  fmt.Sprintf("the connection belongs to the real server %s, which was removed from the service", c.Dest),
			evidence: []evidence{by(host.PartIPVS, "ipvsadm -Lnc: %s %s %s %s", c.Client, c.Virtual, c.Dest, c.State), st.says("net/ipv4/vs/expire_nodest_conn")},
			fix:      command.Of("ipvsadm -a % -r % % -w %", serviceName(*v), command.Endpoint(was.Addr), methodFlags(was), command.Number(was.Weight)),
			mend:     changeService(*v, func(v *host.Service) { v.Destinations = append(v.Destinations, was) }),
		}
	}
	return nil
}

func overloadedState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil {
		return nil
	}
	r, ok := refuses(v, s, isFull)
	if !ok {
		return nil
	}
	f := &finding{summary: "every real server of the service has as many connections as it may have", doubtful: r.guessed}
	if r.hashed {
		f.summary = r.says(v, s, "has as many connections as it may have")
		f.evidence = r.shows(v, s)
	}
	var mends []func(*State)
	for _, d := range r.by {
		if s.Supposed && full(*d) && uint64(d.Active)+uint64(d.Inactive) < uint64(d.Upper) {
			f.consistent = true // whether it ever had as many is not to be read
		}
		if full(*d) {
			f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Ln --thresholds: %s upper %d, %d connections", d.Addr, d.Upper, d.Active+d.Inactive))
		} else {
			f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Ln: -> %s weight %d, %d active connections, and ovf takes the weight for the limit", d.Addr, d.Weight, d.Active))
		}
		fix, mend := lift(*v, *d)
		f.fix, mends = f.fix.And(fix), append(mends, mend)
	}
	f.mend = together(mends...)
	if r.helped(v) {
		f.fix, f.mend = fallBack(*v)
	}
	return f
}

// backupOnly names the setting by which a director that is a backup leaves packets alone.
const backupOnly = "net/ipv4/vs/backup_only"

// standsBy reports whether this director leaves packets alone: the setting counts only while its sync daemon has the backup
// role (sysctl_backup_only).
func (st *State) standsBy() bool {
	on, _ := st.Sysctl(backupOnly)
	return on != 0 && st.IPVS != nil && st.IPVS.Backup
}

func backupState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil || !st.standsBy() {
		return nil
	}
	return &finding{
		summary:  "this director is a backup and leaves packets alone: send them to the active one, or let this one work, too",
		evidence: []evidence{st.says(backupOnly), by(host.PartIPVS, "ipvsadm -L --daemon: backup"), by(host.PartIPVS, "ipvsadm -Ln: %s is there", strings.TrimSpace(protocol(v)+" "+called(v)))},
		fix:      command.Of("sysctl -w net.ipv4.vs.backup_only=0"),
		mend:     setSysctl(backupOnly, 0),
	}
}

// loopState: a host with the VIP on a tunnel is a real server, and should have no IPVS service for it.
func loopState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil || st.standsBy() {
		return nil
	}
	f := &finding{summary: fmt.Sprintf("packets for %s come back to this director out of a tunnel: a real server runs IPVS with the same VIP", called(v))}
	if st.behindTunnel(s) {
		f.summary = fmt.Sprintf("this real server runs IPVS with the same VIP, and sends packets for %s on instead of taking them: they go in a circle", called(v))
		f.fix = command.Of("ipvsadm -D %", serviceName(*v))
		f.mend = dropService(*v)
		if st.IPVS.Backup { // it is to take over one day
			f.fix, f.mend = command.Of("sysctl -w net.ipv4.vs.backup_only=1"), setSysctl(backupOnly, 1)
		}
	}
	for _, d := range v.Destinations {
		f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Ln: %s -> %s %s", called(v), d.Addr, methodName[d.Method]))
	}
	return f
}

// loopsState: what comes out of the tunnel of a real server is taken by its own IPVS, which may send it to another host.
func loopsState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil || st.standsBy() {
		return nil
	}
	home, away := 0, 0
	for _, d := range v.Destinations {
		switch {
		case lacks(v, d) != available:
		case d.Method == "local" || st.Owns(d.Addr.Addr()):
			home++
		default:
			away++
		}
	}
	if away == 0 {
		return nil
	}
	f := loopState(s, st)
	f.doubtful = home > 0
	return f
}

func noServiceState(s Subject, st *State) *finding {
	if st.IPVS == nil || s.proto() == "" || st.virtual(s) != nil {
		return nil
	}
	marked := slices.ContainsFunc(st.IPVS.Services, func(v host.Service) bool { return v.Mark != 0 })
	if _, known := st.markAtIPVS(s); s.Supposed && marked && !known {
		return &finding{undecided: "ipvs: a service is for packets with a firewall mark, and what marks this one is not followed"}
	}
	if f := unmarkedState(s, st); f != nil {
		return f
	}
	f := &finding{
		summary:  fmt.Sprintf("IPVS has no service %s %s: the director takes the packet for its own", s.proto(), s.service()),
		evidence: []evidence{by(host.PartIPVS, "ipvsadm -Ln: no %s %s", s.proto(), s.service())},
	}
	for _, s := range st.IPVS.Services {
		if s.Mark != 0 {
			f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Ln: FWM %d", s.Mark))
			continue
		}
		f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Ln: %s %s", map[uint8]string{protoTCP: "TCP", protoUDP: "UDP"}[s.Proto], s.Addr))
	}
	return f
}
