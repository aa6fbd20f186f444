package diagnose

import (
	"fmt"
	"net/netip"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// inputRoute are the functions in which a packet that came in finds no way, and those that check its source.
var (
	noInputRoute = []string{"ip_error", "ip_route_input_slow", "ip_route_input_noref"}
	sourceCheck  = []string{"ip_rcv_finish_core", "ip_rcv_finish", "ip_list_rcv_finish", "ip_sublist_rcv"}
	lookups      = []host.Part{host.PartRoutes, host.PartRules, host.PartAddrs, host.PartLinks}
)

// routingRows are the causes at the routing decision for a packet that came in.
func routingRows() []row {
	withSysctls := append([]host.Part{host.PartSysctls}, lookups...)
	return []row{
		{
			code: "martian-source", stage: routing, needs: withSysctls,
			seen: func(q question) sight {
				switch {
				case q.reason("IP_LOCAL_SOURCE", "IP_INVALID_SOURCE", "IP_LOCALNET", "IP_INVALID_DEST"):
					return shown
				case q.noReason() && q.droppedIn(sourceCheck...):
					return possible
				}
				return absent
			},
			state: martianState,
			bare: func(q question) finding {
				return finding{summary: fmt.Sprintf("%s may not be the source of a packet that comes in", q.src())}
			},
		},
		{
			code: "rp-filter", stage: routing, needs: withSysctls,
			seen: func(q question) sight {
				switch {
				case q.reason("IP_RPFILTER"):
					return shown
				case q.noReason() && q.droppedIn(sourceCheck...):
					return possible
				}
				return absent
			},
			state: rpFilterState,
			bare: func(q question) finding {
				return finding{summary: fmt.Sprintf("the reverse-path filter of %s drops packets from %s", q.dev(), q.src())}
			},
		},
		{
			code: "source-route", stage: routing, needs: withSysctls,
			seen: func(q question) sight {
				if q.Packet.Options && !q.tunnelled() && q.noReason() && q.Reject == nil && q.droppedIn(sourceCheck...) {
					return possible
				}
				return absent
			},
			state: sourceRouteState,
		},
		{
			code: "route-reject", stage: routing, needs: lookups,
			seen:  atNoRoute,
			state: rejectState,
		},
		{
			code: "vip-missing", stage: routing, needs: lookups,
			seen: func(q question) sight {
				switch {
				case q.reply() || q.tunnelled() || q.redirected():
					return absent
				case q.icmp(11, 0) && q.droppedIn("ip_forward"):
					return possible // it goes in a circle
				}
				return atNoRoute(q)
			},
			state: vipState,
		},
	}
}

func atNoRoute(q question) sight {
	if q.droppedIn(noInputRoute...) {
		return possible
	}
	return absent
}

func martianState(q question) *finding {
	src := q.src()
	c, ok := q.host.CheckSource(q.flow())
	switch {
	case src.IsLoopback() || q.dst().IsLoopback() || src.IsMulticast() || src.IsUnspecified() || q.dst().IsUnspecified() || src == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return &finding{
			summary:  fmt.Sprintf("%s → %s: such addresses do not come in by a device", src, q.dst()),
			evidence: []string{fmt.Sprintf("source %s, destination %s", src, q.dst())},
		}
	case ok && c.Why == "local":
		f := &finding{
			summary:  fmt.Sprintf("the packet's source %s is an address of this host: it is taken for forged", src),
			evidence: []string{got(src, c.Back)},
		}
		for _, l := range q.host.AddrOn(src) {
			f.evidence = append(f.evidence, fmt.Sprintf("ip addr show %s: %s", command.Device(l.Name), src))
			if src != q.vip() {
				f.fix = f.fix.Then("ip addr del %/% dev %", command.Address(src), command.Number(bits(q.host, l.Index, src)), command.Device(l.Name))
			}
		}
		if src == q.vip() {
			f.summary = fmt.Sprintf("the director sends with the VIP %s as outer source, which is an address of this host, too: give its route to this host another source (ip route change … src)", src)
		}
		return f
	}
	return nil
}

// bits is the prefix length that an address has on a device.
func bits(s *host.Snapshot, link uint32, a netip.Addr) int {
	for _, x := range s.AddrsOf(link) {
		if x.Prefix.Addr() == a {
			return x.Prefix.Bits()
		}
	}
	return 32
}

func rpFilterState(q question) *finding {
	flow := q.flow()
	c, ok := q.host.CheckSource(flow)
	if !ok || c.OK || c.Why == "local" {
		return nil
	}
	dev := flow.IIF
	all, own := "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/"+dev+"/rp_filter"
	mode := map[int]string{1: "strict", 2: "loose"}[c.Mode]
	f := &finding{evidence: []string{
		q.says(all), q.says(own), fmt.Sprintf("effective: max(all, %s) = %d (%s)", dev, c.Mode, mode), got(flow.Src, c.Back),
	}}
	unnumbered := len(q.host.AddrsOf(q.host.LinkNamed(dev).Index)) == 0
	switch c.Why {
	case "strict":
		f.summary = fmt.Sprintf("reverse-path filter on %s is strict and %s", dev, wayBack(flow.Src, c.Back))
	case "unnumbered":
		f.summary = fmt.Sprintf("reverse-path filter on %s is loose, which drops all that comes by a device without an IPv4 address", dev)
		f.evidence = append(f.evidence, fmt.Sprintf("ip -4 addr show %s: none", command.Device(dev)))
	default:
		f.summary = fmt.Sprintf("reverse-path filter on %s is loose and there is no way back to %s", dev, flow.Src)
	}
	switch {
	case !c.Back.Refused() && !unnumbered:
		f.fix = command.Of("sysctl -w net.ipv4.conf.%.rp_filter=2", command.DeviceSetting(dev))
	case !c.Back.Refused() && !q.tunnelled():
		if c.Mode != 2 {
			f.fix = command.Of("sysctl -w net.ipv4.conf.%.rp_filter=2", command.DeviceSetting(dev))
		}
		f.fix = f.fix.And(addAddress(q.vip(), dev))
	default:
		// Without any way back no mode but 0 lets it in, and the larger of the two settings counts.
		f.fix = command.Of("sysctl -w net.ipv4.conf.all.rp_filter=0").Then("sysctl -w net.ipv4.conf.%.rp_filter=0", command.DeviceSetting(dev))
	}
	return f
}

// sourceRouteState: both settings have to let such a packet in (IN_DEV_SOURCE_ROUTE).
func sourceRouteState(q question) *finding {
	f := &finding{summary: fmt.Sprintf("the packet has IP options by which its sender chooses its way (source route), and %s does not let such packets in", q.dev())}
	const all = "net/ipv4/conf/all/accept_source_route"
	if on, ok := q.host.Sysctl(all); ok && on == 0 {
		f.evidence = append(f.evidence, q.says(all))
		f.fix = f.fix.Then("sysctl -w net.ipv4.conf.all.accept_source_route=1")
	}
	own := "net/ipv4/conf/" + q.dev() + "/accept_source_route"
	if on, ok := q.host.Sysctl(own); ok && on == 0 {
		f.evidence = append(f.evidence, q.says(own))
		f.fix = f.fix.Then("sysctl -w net.ipv4.conf.%.accept_source_route=1", command.DeviceSetting(q.dev()))
	}
	if len(f.evidence) == 0 {
		return nil
	}
	return f
}

func wayBack(to netip.Addr, a host.Answer) string {
	if a.Refused() {
		return fmt.Sprintf("there is no route back to %s", to)
	}
	return fmt.Sprintf("the route back to %s leaves by %s", to, a.Dev)
}

// rejectState finds the rule or route that was made to refuse the packet.
func rejectState(q question) *finding {
	a := q.host.Route(q.flow())
	if !a.Forbidden() {
		return nil
	}
	f := &finding{evidence: []string{fmt.Sprintf("ip route get %s from %s iif %s: %s", command.Address(q.dst()), command.Address(q.src()), command.Device(q.dev()), a.Type)}}
	if a.Route == nil {
		f.summary = fmt.Sprintf("the routing rule %d refuses the packet (%s)", a.Rule.Priority, a.Type)
		f.evidence = append(f.evidence, fmt.Sprintf("ip rule: %d: %s", a.Rule.Priority, ruleWords(*a.Rule)))
		f.fix = deleteRule(*a.Rule)
		return f
	}
	f.summary = fmt.Sprintf("a route of the type %s for %s refuses the packet", a.Type, a.Route.Dst)
	f.evidence = append(f.evidence, fmt.Sprintf("ip route show table %s: %s %s", tableName(a.Table), a.Type, a.Route.Dst))
	f.fix = deleteRoute(*a.Route)
	return f
}

// tableName is a routing table as ip names it.
func tableName(table uint32) command.Part {
	if name, ok := map[uint32]command.Part{255: command.Say("local"), 254: command.Say("main"), 253: command.Say("default")}[table]; ok {
		return name
	}
	return command.Number(table)
}

func deleteRoute(r host.Route) command.Fix {
	kind, metric := command.Say(""), command.Say("")
	if r.Type != "unicast" {
		kind = command.OneOf("the type of the route", r.Type, "local", "broadcast", "blackhole", "unreachable", "prohibit", "throw", "nat", "multicast")
	}
	if r.Priority != 0 {
		metric = command.Say("metric").And(command.Number(r.Priority))
	}
	return command.Of("ip route del % % table % %", kind, command.Prefix(r.Dst), tableName(r.Table), metric)
}

func deleteRule(r host.Rule) command.Fix {
	return command.Of("ip rule del pref % %", command.Number(r.Priority), ruleWords(r))
}

// ruleWords name a rule for ip rule del, behind its priority.
func ruleWords(r host.Rule) command.Part {
	words := command.Say("")
	if r.Invert {
		words = command.Say("not")
	}
	if r.From.IsValid() && r.From.Bits() > 0 {
		words = words.And(command.Say("from"), command.Prefix(r.From))
	}
	if r.To.IsValid() && r.To.Bits() > 0 {
		words = words.And(command.Say("to"), command.Prefix(r.To))
	}
	if r.IIF != "" {
		words = words.And(command.Say("iif"), command.Device(r.IIF))
	}
	if r.OIF != "" {
		words = words.And(command.Say("oif"), command.Device(r.OIF))
	}
	if r.Mark != 0 {
		words = words.And(command.Say("fwmark"), command.Mark(r.Mark, r.Mask))
	}
	if r.Action == "lookup" {
		return words.And(command.Say("lookup"), tableName(r.Table))
	}
	return words.And(command.OneOf("the action of the rule", r.Action, "blackhole", "unreachable", "prohibit"))
}

// addAddress gives the VIP to a device.
func addAddress(vip netip.Addr, dev string) command.Fix {
	return command.Of("ip addr add %/32 dev %", command.Address(vip), command.Device(dev))
}

// vipState explains why the kernel does not take packets for the VIP as its own.
func vipState(q question) *finding {
	vip := q.vip()
	a := q.host.Route(q.flow())
	if q.host.Owns(vip) || a.Type == "local" || a.Forbidden() {
		return nil
	}
	f := &finding{evidence: []string{got(vip, q.host.Route(host.Flow{Dst: vip}))}}
	f.summary = fmt.Sprintf("the VIP %s is no address of this host", vip)
	f.evidence = append(f.evidence, "ip -4 addr: "+addresses(q.host))
	if l := q.link(); l != nil && l.Tunnel != nil {
		f.fix = addAddress(vip, l.Name)
	} else if q.isDirector() || l != nil && l.Type != "loopback" {
		f.fix = addAddress(vip, "lo")
	}
	return f
}
