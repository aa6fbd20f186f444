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
				case q.ReplyLost, q.reason("IP_OUTNOROUTES"):
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
				if q.reply() && q.droppedIn("ip_tunnel_xmit", "ipip_tunnel_xmit", "ip_md_tunnel_xmit") {
					return possible
				}
				return absent
			},
			state: prefixState,
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
	left.Routes = slices.DeleteFunc(slices.Clone(s.Routes), func(r host.Route) bool {
		return r.Table == without.Table && r.Dst == without.Dst && r.Priority == without.Priority && r.Type == without.Type
	})
	a := left.Route(f)
	return a.Type == "unicast" && !a.Gateway.IsValid()
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
