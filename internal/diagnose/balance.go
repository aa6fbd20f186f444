package diagnose

import (
	"fmt"
	"slices"
	"strconv"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// balanceRows are the causes in a director's settings and methods.
func balanceRows() []row {
	needs := []host.Part{host.PartIPVS, host.PartSysctls}
	// The defence drops only packets that begin a connection, and does not answer them.
	turnedAway := func(s Subject, st *State) bool { return !s.Rejected && (!s.isTCP() || s.isSYN()) && isDirected(s, st) }
	reused := func(s Subject, st *State) bool { return !s.Rejected && s.isSYN() && isDirected(s, st) }
	return []row{
		{
			code: "ipvs-defence", stage: forwarding, needs: needs,
			at: maybe(site.IPVS, site.InputHook), fits: turnedAway, check: defenceState, doubted: directorSide,
			doc: Doc{
				Where:  onDirector,
				Means:  "The director turns new connections away on purpose, as a defence against floods (drop_packet).",
				Kernel: "ip_vs_in drops in input, NETFILTER_DROP, without an ICMP error: one in am_droprate of the packets that begin a connection.",
				Confirm: []Line{
					{Command: "sysctl net.ipv4.vs.drop_packet net.ipv4.vs.am_droprate", Says: "drop_packet is 2: memory is short; 3: always", Shows: `drop_packet = [23]`},
					{Command: "free", Says: "with 1 and 2: is less available than net.ipv4.vs.amemthresh pages?", Shows: `Mem:`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.vs.drop_packet=0"},
				},
				Prevent: "Use no mode but 1, and have memory for the connections that there are.",
			},
		},
		{
			code: "ipvs-port-reuse", stage: forwarding, needs: needs,
			at: []spot{{site.IPVS, likely}, {site.InputHook, likely}}, fits: reused, check: reuseState, doubted: directorSide,
			doc: Doc{
				Where:  onDirector,
				Means:  "The client uses a port again whose last connection the director has not forgotten, and connection tracking makes it drop the first packet.",
				Kernel: "ip_vs_in drops in input, NETFILTER_DROP, without an ICMP error; the client's second attempt, 1 s later, passes.",
				Confirm: []Line{
					{Command: "sysctl net.ipv4.vs.conntrack net.ipv4.vs.conn_reuse_mode", Says: "1, and not 0", Shows: `conntrack = 1\n.*= [1-9]`},
					{Command: "ipvsadm -Lnc | grep CLIENT", Says: "TIME_WAIT or FIN_WAIT", Shows: `TIME_WAIT|FIN_WAIT`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.vs.conn_reuse_mode=0"},
					{Command: "sysctl -w net.ipv4.vs.conntrack=0", Says: "or this; then an error that IPVS passes on to a client is untracked, and a stateful firewall drops it"},
				},
				Prevent: "Leave net.ipv4.vs.conntrack=0 (the default) on a director in tunnel mode, unless its firewall needs it.",
			},
		},
		{
			// The fault is on the director, which the packet met before it came here.
			code: "ipvs-wrong-method", stage: link,
			at:    sure(site.NoInputRoute),
			fits:  func(s Subject, _ *State) bool { return s.Plain != "" },
			check: wrongMethodState, bare: wrongMethod,
			doc: Doc{
				Where:  onDirector,
				Means:  "The director sends by another method than tunnelling.",
				Kernel: "ip_vs_nat_xmit or ip_vs_dr_xmit instead of ip_vs_tunnel_xmit: no outer header. It is no loss on the director, but a notice.",
				Confirm: []Line{
					{Command: "ipvsadm -Ln", Says: "the column Forward: Tunnel, not Route (direct routing) or Masq (NAT)", Shows: `-> RIP:PORT +(Route|Masq) `},
				},
				Fix: []Line{
					{Command: "ipvsadm -e -t VIP:PORT -r RIP:PORT -i", Says: "name -w, -x and -y as they are: what is not named is reset"},
				},
				Prevent: "Write lvs_method TUN in keepalived's configuration.",
			},
		},
		{
			code: "ipvs-wrong-method", stage: link,
			at:    sure(site.NoSocket),
			fits:  func(s Subject, _ *State) bool { return s.Plain != "" && s.begins() && !s.Tunnelled },
			check: wrongMethodState, bare: wrongMethod,
		},
		{
			code: "ipvs-wrong-method", stage: forwarding, needs: []host.Part{host.PartIPVS, host.PartAddrs},
			doubted: directorSide, fits: isDirected, check: plainState,
		},
	}
}

// plainState: real servers of the service get their packets without an outer header.
func plainState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if v == nil {
		return nil
	}
	var f *finding
	for _, d := range v.Destinations {
		owned := slices.ContainsFunc(st.Addrs, func(a host.Addr) bool { return a.Prefix.Addr() == d.Addr.Addr() })
		if d.Method != "masq" && d.Method != "route" || owned {
			continue
		}
		if f == nil {
			f = &finding{summary: fmt.Sprintf("the director sends to the real server %s without IPIP (%s, not Tunnel)", d.Addr, methodName[d.Method])}
		}
		f.evidence = append(f.evidence, by(host.PartIPVS, "ipvsadm -Ln: %s -> %s %s", called(v), d.Addr, methodName[d.Method]))
		fix, mend := retunnel(*v, d)
		f.fix = f.fix.And(fix)
		if f.mend == nil {
			f.mend = mend
		} else {
			f.mend = together(f.mend, mend)
		}
	}
	return f
}

// wrongMethodState: the fault is in the director's state, not in this one.
func wrongMethodState(s Subject, _ *State) *finding {
	f := wrongMethod(s)
	f.consistent, f.doubtful = true, true
	return &f
}

// dropPacket names the setting by which a director turns connections away: 1 only when memory is short, 2 now that
// it is, 3 always.
const dropPacket = "net/ipv4/vs/drop_packet"

func defenceState(s Subject, st *State) *finding {
	if mode, ok := st.Sysctl(dropPacket); st.virtual(s) == nil || !ok || mode < 2 {
		return nil
	}
	return &finding{
		summary:  "the director turns new connections away on purpose, as a defence against floods",
		evidence: []evidence{st.says(dropPacket), st.says("net/ipv4/vs/am_droprate")},
		fix:      command.Of("sysctl -w net.ipv4.vs.drop_packet=0"),
		mend:     setSysctl(dropPacket, 0),
	}
}

// reuseState: IPVS and connection tracking still know a connection from the same port (ip_vs_conn_uses_old_conntrack). IPVS
// forgets it, and drops the new one's first packet.
func reuseState(s Subject, st *State) *finding {
	const reuse, tracks = "net/ipv4/vs/conn_reuse_mode", "net/ipv4/vs/conntrack"
	mode, _ := st.Sysctl(reuse)
	if on, ok := st.Sysctl(tracks); st.virtual(s) == nil || !ok || on == 0 || mode == 0 {
		return nil
	}
	return &finding{
		summary:  fmt.Sprintf("the client %s had another connection from the same port a moment ago, and the director, which tracks its connections, drops the first packet of the new one", s.client()),
		evidence: []evidence{st.says(tracks), st.says(reuse)},
		fix:      command.Of("sysctl -w net.ipv4.vs.conn_reuse_mode=0"),
		mend:     setSysctl(reuse, 0), consistent: true,
		doubtful: true, // by now the old connection is forgotten
	}
}

// unmarkedState: the only service is for packets with a firewall mark, and this one would be IPVS's with it.
func unmarkedState(s Subject, st *State) *finding {
	services := st.IPVS.Services
	if len(services) != 1 || services[0].Mark == 0 {
		return nil
	}
	mark := strconv.Itoa(int(services[0].Mark))
	if has, known := st.markAtIPVS(s); known && has != 0 {
		return &finding{
			summary:  fmt.Sprintf("IPVS has a service for packets with the firewall mark %s, but a rule gives this packet the mark %d: the director takes it for its own; another mark would take the old one from it, which has its use", mark, has),
			evidence: []evidence{by(host.PartIPVS, "ipvsadm -Ln: FWM %s, no other service", mark)},
		}
	}
	return &finding{
		summary:  fmt.Sprintf("IPVS has a service for packets with the firewall mark %s, but this packet does not have that mark: the director takes it for its own", mark),
		evidence: []evidence{by(host.PartIPVS, "ipvsadm -Ln: FWM %s, no other service", mark)},
		fix: command.Of("nft add table ip ipvs").
			Then("nft add chain ip ipvs prerouting '{ type filter hook prerouting priority mangle; }'").
			Then("nft add rule ip ipvs prerouting ip daddr % % dport % meta mark set %",
				command.Address(s.vip()), command.OneOf("the protocol", s.proto(), "tcp", "udp"), command.Number(s.port()), command.Number(services[0].Mark)),
	}
}

// plainMethod names the methods without an outer header as ipvsadm does.
var plainMethod = map[string]string{"nat": "Masq", "direct": "Route"}

func wrongMethod(s Subject) finding {
	return finding{
		summary:  fmt.Sprintf("the director has sent the packet without IPIP (ipvsadm -Ln: %s, not Tunnel); there: ipvsadm -e … -i", plainMethod[s.Plain]),
		evidence: []evidence{seen("IPVS in network namespace %d: method %s", s.PlainNetns, s.Plain)},
	}
}
