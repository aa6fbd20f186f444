package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/tracer/event"
)

// replyRows are the causes on the way back to the client.
func replyRows() []row {
	return []row{
		{
			code: "no-return-route", stage: replying, needs: lookups,
			seen: func(q question) sight {
				switch {
				case q.ReplyLost && q.Astray == nil, q.reason("IP_OUTNOROUTES"):
					return shown
				case q.droppedIn(event.TCPConnRequest.String()):
					return possible
				case q.reply() && q.noReason() && q.droppedIn("__ip_queue_xmit", "ip_queue_xmit"):
					return possible
				}
				return absent
			},
			state: noReturnState,
			bare: func(q question) finding {
				return finding{summary: fmt.Sprintf("there is no route back to %s", q.client())}
			},
		},
		{
			code: "vip-wrong-prefix", stage: replying, needs: lookups,
			seen: func(q question) sight {
				if q.Astray != nil || droppedByTunnel(q) {
					return possible
				}
				return absent
			},
			state: prefixState,
		},
		{
			code: "reply-into-tunnel", stage: replying, needs: append([]host.Part{host.PartSockets}, lookups...),
			seen: func(q question) sight {
				switch {
				case q.Astray != nil:
					return shown
				case droppedByTunnel(q):
					return possible
				}
				return absent
			},
			state: astrayState,
			bare: func(q question) finding {
				return finding{
					summary:  fmt.Sprintf("the answer to %s goes into the tunnel, and so to the client itself inside IPIP, which the client does not take", q.client()),
					evidence: q.leftInside(),
				}
			},
		},
		{
			code: "neighbour-failed", stage: replying, needs: append([]host.Part{host.PartNeighbours}, lookups...),
			seen: func(q question) sight {
				if q.reason("NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_DEAD") || q.droppedIn("neigh_invalidate", "__neigh_event_send", "neigh_timer_handler") {
					return shown
				}
				return absent
			},
			state: neighbourState,
			bare: func(q question) finding {
				return finding{summary: fmt.Sprintf("the next hop to %s does not answer ARP on %s", q.dst(), q.dev())}
			},
		},
		{
			code: "qdisc-drop", stage: replying, needs: []host.Part{host.PartFilters, host.PartLinks},
			seen: func(q question) sight {
				switch {
				case q.Drop == nil:
					return absent
				case hasPrefix(q.Drop.Reason, "QDISC_", "FQ_", "CODEL_", "TBF_", "NETEM_"):
					return shown
				case q.noReason() && q.droppedIn("__dev_queue_xmit", "kfree_skb_list_reason", "kfree_skb_list", "__tcf_kfree_skb_list", "__dev_xmit_skb", "netem_enqueue", "tbf_enqueue", "pfifo_enqueue", "bfifo_enqueue"):
					return possible
				}
				return absent
			},
			state: qdiscState,
			bare: func(q question) finding {
				return finding{summary: fmt.Sprintf("the queueing discipline of %s drops the packet", q.dev())}
			},
		},
	}
}

func hasPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func noReturnState(q question) *finding {
	client := q.client()
	a := q.host.Route(q.back())
	if !a.Refused() {
		return nil
	}
	f := &finding{
		summary:  fmt.Sprintf("there is no route back to the client %s", client),
		evidence: []string{got(client, a)},
	}
	switch {
	case a.Route != nil:
		f.summary = fmt.Sprintf("the route back to the client %s is of the type %s", client, a.Type)
		f.evidence = append(f.evidence, fmt.Sprintf("ip route show table %s: %s %s", tableName(a.Table), a.Type, a.Route.Dst))
		f.fix = deleteRoute(*a.Route)
	case a.Rule != nil:
		f.summary = fmt.Sprintf("the routing rule %d refuses packets to the client %s (%s)", a.Rule.Priority, client, a.Type)
		f.fix = deleteRule(*a.Rule)
	default:
		if dev, net := connected(q.host, client); dev != "" {
			f.evidence = append(f.evidence, fmt.Sprintf("ip addr show %s: %s, and no route for it", command.Device(dev), net))
			f.fix = command.Of("ip route add % dev %", command.Prefix(net.Masked()), command.Device(dev))
		} else {
			f.summary += ": add one, by the gateway of this network (ip route add default via GATEWAY)"
		}
	}
	return f
}

// connected is a device that is up, and has an address in the network of another.
func connected(s *host.Snapshot, a netip.Addr) (dev string, net netip.Prefix) {
	for _, x := range s.Addrs {
		if l := s.Link(x.Link); l != nil && l.Up && x.Prefix.Bits() < 32 && x.Prefix.Contains(a) && l.Type != "loopback" && l.Tunnel == nil {
			return l.Name, x.Prefix
		}
	}
	return "", net
}

// droppedByTunnel: the tunnel's device has no way for the answer that it was given.
func droppedByTunnel(q question) bool {
	return q.reply() && q.droppedIn("ip_tunnel_xmit", "ipip_tunnel_xmit", "ip_md_tunnel_xmit")
}

// astrayState finds what gives the answer to a tunnel that has no other end than the next hop: a rule, a route, or the
// service's socket.
func astrayState(q question) *finding {
	f := &finding{evidence: q.leftInside()}
	a := q.host.Route(q.back())
	if l := q.host.LinkNamed(a.Dev); a.Route != nil && toNextHop(l) && (!a.Gateway.IsValid() || a.Gateway == q.client()) {
		f.evidence = append(f.evidence,
			fmt.Sprintf("ip route get %s from %s: dev %s", command.Address(q.client()), command.Address(q.vip()), command.Device(l.Name)),
			fmt.Sprintf("ip rule: %d: %s", a.Rule.Priority, ruleWords(*a.Rule)), tunnelShown(*l))
		f.summary = fmt.Sprintf("the route back to the client %s leads into the tunnel: %s ", q.client(), l.Name)
		if q.Astray != nil {
			f.summary += "sends the answer to the client itself, inside IPIP"
		} else {
			f.summary += "has no other end, and finds no way to the client"
		}
		f.fix = q.wayOut(a)
		return f
	}
	serving, _ := q.host.Serves(q.proto(), q.service(), q.link())
	if len(serving) == 0 || !toNextHop(q.link()) {
		return nil
	}
	s := serving[0]
	switch {
	case s.Device == q.link().Index:
		f.evidence = append(f.evidence, fmt.Sprintf("ss -ln: %s %s%%%s%s", q.proto(), s.Local, q.dev(), owner(s)), tunnelShown(*q.link()))
	case q.host.Coarse && a.Type == "unicast" && a.Dev != q.dev():
		// No route leads there: what is left is the socket, of which the state does not say the device.
		f.evidence = append(f.evidence, got(q.client(), a), fmt.Sprintf("/proc/net/%s: %s%s", q.proto(), s.Local, owner(s)), "its device is in: ss -ln, behind %")
		f.doubtful = true
	default:
		return nil
	}
	f.summary = fmt.Sprintf("the service on port %d is bound to %s, so that its answers go into the tunnel, to the client itself inside IPIP: bind it to no device", q.port(), q.dev())
	return f
}

// leftInside is what was seen of an answer that left by the tunnel.
func (q question) leftInside() []string {
	if q.Astray == nil {
		return nil
	}
	return []string{fmt.Sprintf("the answer left inside IPIP, from %s to %s", q.Astray.Src, q.Astray.Dst)}
}

// toNextHop reports whether a device is a tunnel for IPIP that sends to the next hop, having no other end.
func toNextHop(l *host.Link) bool {
	return l != nil && l.Tunnel != nil && l.Type == "ipip" && (!l.Tunnel.Remote.IsValid() || l.Tunnel.Remote.IsUnspecified())
}

func tunnelShown(l host.Link) string {
	return fmt.Sprintf("ip -d link show %s: ipip remote %s local %s", command.Device(l.Name), anyAddr(l.Tunnel.Remote), anyAddr(l.Tunnel.Local))
}

// wayOut removes what gives the answer to the tunnel, if there is another way without it: the rule, if its table is there
// for nothing else, or the route.
func (q question) wayOut(a host.Answer) (fix command.Fix) {
	leadsOut := func(left host.Snapshot) bool {
		b := left.Route(q.back())
		return b.Type == "unicast" && !toNextHop(left.LinkNamed(b.Dev))
	}
	others := slices.DeleteFunc(slices.Clone(q.host.Routes), func(r host.Route) bool { return sameRoute(r, *a.Route) })
	withoutRule, withoutRoute := *q.host, *q.host
	withoutRule.Rules = slices.DeleteFunc(slices.Clone(q.host.Rules), func(r host.Rule) bool { return r == *a.Rule })
	withoutRoute.Routes = others
	switch {
	case !slices.ContainsFunc(others, func(r host.Route) bool { return r.Table == a.Table }) && leadsOut(withoutRule):
		return deleteRule(*a.Rule)
	case leadsOut(withoutRoute):
		return deleteRoute(*a.Route)
	}
	return fix
}

// prefixState: the VIP has a prefix, and with it a route to its clients into the tunnel.
func prefixState(q question) *finding {
	a := q.host.Route(q.back())
	for _, l := range q.host.AddrOn(q.vip()) {
		for _, x := range q.host.AddrsOf(l.Index) {
			if x.Prefix.Addr() == q.vip() && x.Prefix.Bits() < 32 && l.Name == a.Dev {
				return &finding{
					summary:  fmt.Sprintf("the VIP is on %s as %s: that makes a route to its neighbours, the client among them, into the tunnel", l.Name, x.Prefix),
					evidence: []string{fmt.Sprintf("ip addr show %s: %s", command.Device(l.Name), x.Prefix), got(q.client(), a)},
					fix:      command.Of("ip addr del % dev %", command.Prefix(x.Prefix), command.Device(l.Name)).And(addAddress(q.vip(), l.Name)),
				}
			}
		}
	}
	return nil
}

// nextHop names who was asked for.
func nextHop(hop, to netip.Addr) string {
	if hop == to {
		return to.String()
	}
	return fmt.Sprintf("the next hop %s to %s", hop, to)
}

func neighbourState(q question) *finding {
	to := q.dst()
	f := host.Flow{Src: q.src(), Dst: to}
	if !q.tunnelled() {
		f = host.Flow{Src: q.Packet.Inner.Src, Dst: to, Proto: q.Packet.Inner.Protocol, Sport: q.Packet.SrcPort, Dport: q.Packet.DstPort}
	}
	a := q.host.Route(f)
	hop := a.Gateway
	if !hop.IsValid() {
		hop = to
	}
	for _, n := range q.host.Neighbours {
		l := q.host.Link(n.Link)
		if n.Addr != hop || l == nil || n.State != "failed" && n.State != "incomplete" {
			continue
		}
		out := &finding{
			summary:  fmt.Sprintf("%s does not answer ARP on %s", nextHop(hop, to), l.Name),
			evidence: []string{got(to, a), fmt.Sprintf("ip neigh show %s: %s", command.Address(hop), n.State)},
		}
		if a.Route != nil && hop != to && reachesWithout(q.host, *a.Route, f) {
			out.fix = deleteRoute(*a.Route)
		}
		return out
	}
	return nil
}

// reachesWithout reports whether there is a way to the destination's own link without that route.
func reachesWithout(s *host.Snapshot, without host.Route, f host.Flow) bool {
	left := *s
	left.Routes = slices.DeleteFunc(slices.Clone(s.Routes), func(r host.Route) bool { return sameRoute(r, without) })
	a := left.Route(f)
	return a.Type == "unicast" && !a.Gateway.IsValid()
}

// sameRoute reports whether ip route del takes the two for one.
func sameRoute(a, b host.Route) bool {
	return a.Table == b.Table && a.Dst == b.Dst && a.Priority == b.Priority && a.Type == b.Type
}

func qdiscState(q question) *finding {
	l := q.link()
	if l == nil {
		return nil
	}
	for _, d := range q.host.Qdiscs {
		if d.Link != l.Index || d.Dropped == 0 || d.Parent == "ingress" {
			continue
		}
		f := &finding{
			summary:  fmt.Sprintf("the queueing discipline %s of %s drops packets", d.Kind, l.Name),
			evidence: []string{fmt.Sprintf("tc -s qdisc show dev %s: %s %s, dropped %d", command.Device(l.Name), d.Kind, d.Handle, d.Dropped)},
		}
		if d.Loss > 0 {
			f.evidence = append(f.evidence, fmt.Sprintf("loss %.4g%%", d.Loss))
		}
		if d.Parent == "root" && d.Handle != "0:" {
			f.fix = command.Of("tc qdisc del dev % root", command.Device(l.Name))
		}
		return f
	}
	return nil
}
