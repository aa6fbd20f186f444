package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// answersBy are the parts that say what an answer is looked up with.
var answersBy = []host.Part{host.PartSockets, host.PartSysctls}

// replyRows are the causes on the way back to the client.
func replyRows() []row {
	return []row{
		{
			code: "no-return-route", stage: replying, needs: lookups, looks: answersBy,
			asked: replySide,
			at:    append(sure(site.NoReply, site.NoOutputRoute), maybe(site.RefusedSYN)...),
			check: noReturnState,
			bare: func(s Subject) finding {
				return finding{summary: fmt.Sprintf("there is no route back to %s", s.client())}
			},
			doc: Doc{
				Where:  inReply,
				Means:  "There is no route back to the client: no answer can be made.",
				Kernel: "A SYN is refused in tcp_conn_request and then consumed, without an RST. A datagram is delivered, and the system call that answers it fails (reply lost).",
				Confirm: []Line{
					{Command: "ip route get CLIENT from VIP", Says: "an error", Shows: `^RTNETLINK answers: `, Fails: true},
					{Command: "nstat -az IpOutNoRoutes TcpExtListenDrops", Says: "rise", Shows: `(IpOutNoRoutes|TcpExtListenDrops) +[1-9]`},
				},
				Fix: []Line{
					{Command: "ip route add default via GATEWAY"},
				},
				Prevent: "Give the real server a default route: its reply takes its own way, not the director's.",
			},
		},
		{
			code: "no-return-route", stage: replying, needs: lookups, looks: answersBy,
			at:    maybe(site.OutputRouteUnsaid),
			fits:  func(s Subject, _ *State) bool { return s.Reply },
			check: noReturnState,
		},
		{
			code: "vip-wrong-prefix", stage: replying, needs: lookups, looks: answersBy,
			asked: replySide,
			at:    maybe(site.Astray),
			check: prefixState,
			doc: Doc{
				Where:  inRouting,
				Means:  "The VIP has a prefix shorter than /32: that makes a route to the clients into the tunnel.",
				Kernel: "The reply is freed in ip_tunnel_xmit, NOT_SPECIFIED.",
				Confirm: []Line{
					{Command: "ip -4 addr show tunl0", Says: "not /32", Shows: `inet VIP/([12]?\d|3[01]) `},
					{Command: "ip route get CLIENT", Says: "dev tunl0", Shows: `dev tunl0`},
				},
				Fix: []Line{
					{Command: "ip addr del VIP/PREFIX dev tunl0; ip addr add VIP/32 dev tunl0"},
				},
				Prevent: "Give the VIP /32, always.",
			},
		},
		{
			code: "vip-wrong-prefix", stage: replying, needs: lookups, looks: answersBy,
			at:    maybe(site.TunnelOutput),
			fits:  func(s Subject, _ *State) bool { return s.Reply }, // the tunnel's device has no way for the answer that it was given
			check: prefixState,
		},
		{
			code: "reply-into-tunnel", stage: replying, needs: lookups, minds: []host.Part{host.PartSockets}, looks: answersBy,
			asked: replySide,
			at:    sure(site.Astray),
			check: astrayState,
			bare: func(s Subject) finding {
				return finding{
					summary:  fmt.Sprintf("the answer to %s goes into the tunnel, and so to the client itself inside IPIP, which the client does not take", s.client()),
					evidence: s.leftInside(),
				}
			},
			doc: Doc{
				Where:  inReply,
				Means:  "The answer leaves by the tunnel's device: as an IPIP packet to the client itself, which takes none.",
				Kernel: "Nothing is dropped here: the SYN is delivered (reply lost), the SYN/ACK forwarded; the client answers ICMP 3/2 or 3/3 to the real server. If the outer packet's way is the tunnel, too: ip_tunnel_xmit, NOT_SPECIFIED.",
				Confirm: []Line{
					{Command: "ss -lntu 'sport = :PORT'", Says: "%tunl0 behind the address", Shows: `%tunl0:PORT`},
					{Command: "ip route get CLIENT from VIP", Says: "dev tunl0", Shows: `dev tunl0`, Lab: "rule-into-tunnel"},
					{Command: "tcpdump -ni eth0 'ip proto 4 and src RIP'"},
				},
				Fix: []Line{
					{Says: "Bind the service to no device: bound to tunl0 it gets its packets, and its answers get lost."},
					{Command: "ip rule del pref PREF", Says: "or, if ip rule has one that leads into the tunnel", Lab: "rule-into-tunnel"},
					{Command: "ip route del CLIENT dev tunl0", Says: "or, if it is a route", Lab: "route-into-tunnel"},
				},
				Prevent: "Let no route and no rule lead into the tunnel: it is a way in only.",
			},
		},
		{
			code: "reply-into-tunnel", stage: replying, needs: lookups, minds: []host.Part{host.PartSockets}, looks: answersBy,
			at:    maybe(site.TunnelOutput),
			fits:  func(s Subject, _ *State) bool { return s.Reply },
			check: astrayState,
		},
		{
			code: "neighbour-failed", stage: replying, needs: append([]host.Part{host.PartNeighbours}, lookups...), minds: []host.Part{host.PartNft}, looks: answersBy,
			doubted: replySide,
			at:      sure(site.Neighbour),
			check:   neighbourState,
			bare: func(s Subject) finding {
				return finding{summary: fmt.Sprintf("the next hop to %s does not answer ARP on %s", s.dst(), s.Dev)}
			},
			doc: Doc{
				Where:  inReply,
				Means:  "The next hop does not answer ARP.",
				Kernel: "neigh_invalidate, NEIGH_FAILED, about 3 s after the packet began to wait; then ICMP 3/1 to the sender.",
				Confirm: []Line{
					{Command: "ip neigh show NEXT-HOP", Says: "FAILED or INCOMPLETE", Shows: `FAILED|INCOMPLETE`},
					{Command: "arping -c 3 -I eth0 NEXT-HOP", Says: "no answer"},
				},
				Fix: []Line{
					{Command: "ip route replace CLIENT via GATEWAY", Says: "a router that answers"},
					{Says: "or bring the next hop up"},
				},
				Prevent: "Set net.ipv4.conf.all.arp_announce=2: a router may ignore requests whose sender is the VIP.",
			},
		},
		{
			code: "neighbour-failed", stage: replying, needs: append([]host.Part{host.PartNeighbours, host.PartNft}, lookups...), looks: answersBy,
			doubted: replySide,
			check:   unheardState,
		},
		{
			code: "neighbour-failed", stage: link, needs: []host.Part{host.PartLinks, host.PartSysctls},
			doubted: outerSide | innerSide,
			check:   silentState,
		},
		{
			code: "qdisc-drop", stage: replying, needs: []host.Part{host.PartFilters, host.PartLinks},
			doubted: replySide,
			at:      append(sure(site.Qdisc), maybe(site.QdiscUnsaid)...),
			check:   qdiscState,
			bare: func(s Subject) finding {
				return finding{summary: fmt.Sprintf("the queueing discipline of %s drops the packet", s.Dev)}
			},
			doc: Doc{
				Where:  inReply,
				Means:  "The device's queueing discipline has no room for the packet, or was told to lose some.",
				Kernel: "__dev_queue_xmit, QDISC_DROP; 6.1 kfree_skb_list_reason; newer kernels name the discipline.",
				Confirm: []Line{
					{Command: "tc -s qdisc show dev eth0", Says: "dropped", Shows: `dropped [1-9]`},
				},
				Fix: []Line{
					{Command: "tc qdisc del dev eth0 root", Says: "back to the default"},
					{Command: "tc qdisc change dev eth0 root KIND limit LARGER", Says: "or give it more room", Lab: "qdisc-drop"},
				},
				Prevent: "Watch the counter: where a queue fills, the link is too slow.",
			},
		},
	}
}

func noReturnState(s Subject, st *State) *finding {
	client := s.client()
	a, flow, undecided := st.way(s)
	switch {
	case undecided != nil:
		return undecided
	case !a.Refused():
		return nil
	case a.Type == host.NoSource:
		if st.whole.Route(host.Flow{Src: flow.Dst, Dst: flow.Src, IIF: s.Dev}).Type != "local" {
			return nil // a host that passes the packets on sends nothing of its own
		}
		return noSource(s, flow)
	}
	f := &finding{
		summary:  fmt.Sprintf("there is no route back to the client %s", client),
		evidence: append([]evidence{gotBack(flow, a)}, ruleShown(a.Rule)...),
	}
	unused, why := st.notUsed(a)
	f.evidence = append(f.evidence, unused...)
	where := ""
	if l := st.LinkNamed(flow.OIF); l != nil && l.Type == "vrf" {
		where = " in the VRF " + l.Name
	}
	f.summary += where
	switch {
	case a.Route != nil:
		f.summary = fmt.Sprintf("the route back to the client %s%s is of the type %s", client, where, a.Type)
		f.evidence = append(f.evidence, by(host.PartRoutes, "ip route show table %s: %s %s", tableName(a.Table), a.Type, a.Route.Dst))
		if closes(*a.Route) {
			f.summary += ", for whatever has no route of its own"
			st.giveRoute(f, client, a, a.Table, flow.OIF)
		} else {
			f.fix, f.mend = st.deleteRoute(*a.Route)
		}
	case a.Rule != nil:
		f.summary = fmt.Sprintf("the routing rule %d refuses packets to the client %s (%s)", a.Rule.Priority, client, a.Type)
		f.fix, f.mend = st.deleteRule(*a.Rule)
	default:
		if why != "" {
			f.summary += ": " + why
		}
		table := uint32(tableMain)
		if where != "" {
			table = st.LinkNamed(flow.OIF).Table
		}
		st.giveRoute(f, client, a, table, flow.OIF)
	}
	return f
}

// noSource: a route outside of the table local has this host take packets for the VIP, and no socket sends from it but one that
// is transparent.
func noSource(s Subject, flow host.Flow) *finding {
	f := &finding{
		summary:  fmt.Sprintf("no answer can be sent from %s: it is no address of this host, and the route by which this host takes packets for it is not in the table local", flow.Src),
		evidence: []evidence{by(host.PartAddrs, "ip addr show to %s: nothing", command.Address(flow.Src))},
	}
	if flow.Src == s.vip() {
		f.fix, f.mend = addAddress(s.vip(), "lo"), giveAddress(s.vip(), "lo")
	}
	return f
}

// giveRoute says how a table gets a route to a client: that of its own network, if this host is in it, or one by a gateway,
// which nobody but the admin knows. A VRF has its own table, and its routes stay in it.
func (st *State) giveRoute(f *finding, client netip.Addr, a host.Answer, table uint32, out string) {
	bound := st.LinkNamed(out)
	dev, net := connected(st.Snapshot, client, bound)
	in := command.Say("")
	if table != tableMain {
		in = command.Say("table").And(tableName(table))
	}
	switch leads := slices.ContainsFunc(a.Unused, func(u host.Unused) bool { return u.Dev == dev }); {
	case dev != "" && !leads && (bound == nil || bound.Type == "vrf"):
		f.evidence = append(f.evidence, by(host.PartAddrs, "ip addr show %s: %s, and no route for it", command.Device(dev), net))
		f.fix, f.mend = command.Of("ip route add % dev % %", command.Prefix(net.Masked()), command.Device(dev), in), addRoute(net.Masked(), dev, table)
	case len(a.Unused) > 0:
	case table != tableMain:
		f.summary += fmt.Sprintf(": add one there, by the gateway of this network (ip route add default via GATEWAY %s)", in)
	default:
		f.summary += ": add one, by the gateway of this network (ip route add default via GATEWAY)"
	}
}

// connected is a device that is up, and has an address in the network of another: one of the VRF, if one of that has it, and
// without a VRF none of another's.
func connected(s *host.Snapshot, a netip.Addr, vrf *host.Link) (dev string, net netip.Prefix) {
	for _, x := range s.Addrs {
		l := s.Link(x.Link)
		if l == nil || !l.Up || x.Prefix.Bits() == 32 || !x.Prefix.Contains(a) || l.Type == "loopback" || l.Tunnel != nil {
			continue
		}
		switch member := l.MasterKind == "vrf"; {
		case member && vrf != nil && l.Master == vrf.Index:
			return l.Name, x.Prefix
		case !member && dev == "":
			dev, net = l.Name, x.Prefix
		}
	}
	return dev, net
}

// astrayState finds what sends the answer into a tunnel without a remote end: a rule, a route, or the service's socket.
func astrayState(s Subject, st *State) *finding {
	f := &finding{evidence: s.leftInside()}
	a, flow, undecided := st.wayOut(s)
	if l := st.LinkNamed(a.Dev); a.Route != nil && toNextHop(l) && flow.OIF != l.Name && (!a.Gateway.IsValid() || a.Gateway == s.client()) {
		f.evidence = append(f.evidence,
			by(host.PartRoutes, "ip route get %s from %s: dev %s", command.Address(s.client()), command.Address(s.vip()), command.Device(l.Name)),
			by(host.PartRules, "ip rule: %d: %s", a.Rule.Priority, ruleWords(*a.Rule)), tunnelShown(*l))
		f.summary = fmt.Sprintf("the route back to the client %s leads into the tunnel: %s ", s.client(), l.Name)
		if s.Astray != nil {
			f.summary += "sends the answer to the client itself, inside IPIP"
		} else {
			f.summary += "has no other end, and finds no way to the client"
		}
		f.fix, f.mend = leadOut(flow, st, a)
		return f
	}
	serving, _ := st.Serves(s.proto(), s.wanted(), st.link(s))
	if len(serving) == 0 || !toNextHop(st.link(s)) {
		return undecided
	}
	sock := serving[0]
	switch {
	case sock.Device == st.link(s).Index:
		f.evidence = append(f.evidence, by(host.PartSockets, "ss -ln: %s %s%%%s%s", s.proto(), sock.Local, s.Dev, owner(sock)), tunnelShown(*st.link(s)))
	case st.Coarse && s.Supposed && sock.Unbound:
		return nil
	case st.Coarse && s.Supposed:
		return &finding{undecided: coarse}
	case st.Coarse && a.Type == "unicast" && a.Dev != s.Dev:
		// No route leads there. What is left is the socket, whose device the state does not say.
		f.evidence = append(f.evidence, got(s.client(), a), by(host.PartSockets, "/proc/net/%s: %s%s", s.proto(), sock.Local, owner(sock)), by(host.PartSockets, "its device is in: ss -ln, behind %%"))
		f.consistent, f.doubtful = true, true
	default:
		return undecided
	}
	f.summary = fmt.Sprintf("the service on %s is bound to %s, so that its answers go into the tunnel, to the client itself inside IPIP: bind it to no device", s.onPort(), s.Dev)
	return f
}

// leftInside is the evidence of an answer that left by the tunnel.
func (s Subject) leftInside() []evidence {
	if s.Astray == nil {
		return nil
	}
	return []evidence{seen("the answer left inside IPIP, from %s to %s", s.Astray.Src, s.Astray.Dst)}
}

// toNextHop reports whether a device is a tunnel of IPIP without a remote end: it sends to the packet's next hop.
func toNextHop(l *host.Link) bool {
	return l != nil && l.Tunnel != nil && l.Type == "ipip" && (!l.Tunnel.Remote.IsValid() || l.Tunnel.Remote.IsUnspecified())
}

func tunnelShown(l host.Link) evidence {
	return by(host.PartLinks, "ip -d link show %s: ipip remote %s local %s", command.Device(l.Name), anyAddr(l.Tunnel.Remote), anyAddr(l.Tunnel.Local))
}

// leadOut removes what sends the answer into the tunnel, if another way is left then: the route, or the rule if its table
// has no other use.
func leadOut(flow host.Flow, st *State, a host.Answer) (fix command.Fix, mend func(*State)) {
	leadsOut := func(left host.Snapshot) bool {
		b := left.Output(flow)
		return b.Type == "unicast" && !toNextHop(left.LinkNamed(b.Dev))
	}
	others := st.without(*a.Route).Routes
	withoutRule, withoutRoute := *st.Snapshot, *st.Snapshot
	withoutRule.Rules = slices.DeleteFunc(slices.Clone(st.Rules), func(r host.Rule) bool { return r == *a.Rule })
	withoutRoute.Routes = others
	if !slices.ContainsFunc(others, func(r host.Route) bool { return r.Table == a.Table }) && leadsOut(withoutRule) {
		if fix, mend = st.deleteRule(*a.Rule); mend != nil {
			return fix, mend
		}
	}
	if leadsOut(withoutRoute) {
		return st.deleteRoute(*a.Route)
	}
	return fix, nil
}

// prefixState: the VIP has a prefix, and with it a route to its clients into a device behind which they are not. On one by which
// others come, the network is that of its wire, and the way back to it is right.
func prefixState(s Subject, st *State) *finding {
	a, _, undecided := st.wayOut(s)
	if undecided != nil {
		return undecided
	}
	for _, l := range st.AddrOn(s.vip()) {
		for _, x := range st.AddrsOf(l.Index) {
			if x.Prefix.Addr() == s.vip() && x.Prefix.Bits() < 32 && swallows(l) && l.Name == a.Dev && a.Route != nil && a.Route.Dst == x.Prefix.Masked() {
				f := &finding{
					summary:  fmt.Sprintf("the VIP is on %s as %s: that makes a route to its neighbours, the client among them, into %s", l.Name, x.Prefix, into(l)),
					evidence: []evidence{by(host.PartAddrs, "ip addr show %s: %s", command.Device(l.Name), x.Prefix), got(s.client(), a)},
				}
				f.fix, f.mend = st.narrow(l, x.Prefix)
				return f
			}
		}
	}
	return nil
}

// swallows reports whether a client is never behind a device: what goes there gets lost, or comes back to this host.
func swallows(l host.Link) bool {
	return l.Tunnel != nil || l.Type == "loopback" || l.Type == "dummy"
}

// into names a device that swallows.
func into(l host.Link) string {
	if l.Tunnel != nil {
		return "the tunnel"
	}
	return "this host itself"
}

// narrow gives all addresses of one network on a device the prefix /32: each of them makes the route to that network. The
// kernel takes those that came later with the first one, so that they go before it.
func (st *State) narrow(l host.Link, network netip.Prefix) (fix command.Fix, mend func(*State)) {
	var mends []func(*State)
	all := st.sharing(l, network)
	for _, p := range slices.Backward(all) {
		fix, mends = fix.Then("ip addr del % dev %", command.Prefix(p), command.Device(l.Name)), append(mends, takeAddress(p, l.Index))
	}
	for _, p := range all {
		fix, mends = fix.And(addAddress(p.Addr(), l.Name)), append(mends, giveAddress(p.Addr(), l.Name))
	}
	return fix, together(mends...)
}

// nextHop names who was asked for.
func nextHop(hop, to netip.Addr) string {
	if hop == to {
		return to.String()
	}
	return fmt.Sprintf("the next hop %s to %s", hop, to)
}

func neighbourState(s Subject, st *State) *finding {
	to := s.dst()
	f := host.Flow{Src: s.src(), Dst: to}
	if !s.Tunnelled {
		f = host.Flow{Src: s.Packet.Inner.Src, Dst: to, Proto: s.Packet.Inner.Protocol, Sport: s.Packet.SrcPort, Dport: s.Packet.DstPort}
	}
	a := st.Output(f)
	if s.Reply && !s.Tunnelled {
		var undecided *finding
		if a, f, undecided = st.wayOut(s); undecided != nil {
			return undecided
		}
	}
	if a.Type == host.Undecided {
		return &finding{undecided: "rules: " + a.Unread}
	}
	hop := a.NextHop(to)
	for _, n := range st.Neighbours {
		l := st.Link(n.Link)
		if n.Addr != hop || l == nil || n.State != "failed" && n.State != "incomplete" {
			continue
		}
		out := &finding{
			summary:  fmt.Sprintf("%s does not answer ARP on %s", nextHop(hop, to), l.Name),
			evidence: []evidence{got(to, a), by(host.PartNeighbours, "ip neigh show %s: %s", command.Address(hop), n.State)},
		}
		if slices.ContainsFunc(a.Hops, func(h host.Hop) bool { return h.Link == n.Link && h.LinkDown }) {
			out.summary += ", which has no carrier"
			out.evidence = append(out.evidence, by(host.PartRoutes, "ip route show: %s dev %s linkdown", a.Route.Dst, command.Device(l.Name)))
		}
		rules := arpDroppers(st.Snapshot)
		if s.Supposed {
			switch filtered := unheardState(s, st); {
			case filtered == nil:
				rules = nil
			case filtered.undecided == "":
				return nil // it says so itself
			}
		}
		switch {
		case len(rules) > 0:
			out.blameARP(rules)
		case a.Route != nil && hop != to && reachesWithout(st.Snapshot, *a.Route, f):
			out.fix, out.mend = st.deleteRoute(*a.Route)
		}
		return out
	}
	return nil
}

// reachesWithout reports whether the destination's own link is reached without that route.
func reachesWithout(s *host.Snapshot, without host.Route, f host.Flow) bool {
	a := (&State{Snapshot: s}).without(without).Output(f)
	return a.Type == "unicast" && !a.Gateway.IsValid()
}

// without is the state without a route.
func (st *State) without(route host.Route) *host.Snapshot {
	left := *st.Snapshot
	left.Routes = slices.DeleteFunc(slices.Clone(st.Routes), func(r host.Route) bool { return sameRoute(r, route) })
	return &left
}
