package diagnose

import (
	"fmt"
	"net/netip"
	"strings"

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
			f.evidence = append(f.evidence, fmt.Sprintf("ip addr show %s: %s", l.Name, src))
			if src != q.vip() {
				f.fix = append(f.fix, command("ip", "addr", "del", src.String()+"/"+bits(q.host, l.Index, src), "dev", l.Name))
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
func bits(s *host.Snapshot, link uint32, a netip.Addr) string {
	for _, x := range s.AddrsOf(link) {
		if x.Prefix.Addr() == a {
			return fmt.Sprint(x.Prefix.Bits())
		}
	}
	return "32"
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
		f.evidence = append(f.evidence, fmt.Sprintf("ip -4 addr show %s: none", dev))
	default:
		f.summary = fmt.Sprintf("reverse-path filter on %s is loose and there is no way back to %s", dev, flow.Src)
	}
	switch {
	case !c.Back.Refused() && !unnumbered:
		f.fix = []string{command("sysctl", "-w", setting(own)+"=2")}
	case !c.Back.Refused() && !q.tunnelled():
		f.fix = []string{command("sysctl", "-w", setting(own)+"=2"), command("ip", "addr", "add", q.vip().String()+"/32", "dev", dev)}
		if c.Mode == 2 {
			f.fix = f.fix[1:]
		}
	default:
		// Without any way back no mode but 0 lets it in, and the larger of the two settings counts.
		f.fix = []string{command("sysctl", "-w", setting(all)+"=0"), command("sysctl", "-w", setting(own)+"=0")}
	}
	return f
}

// sourceRouteState: both settings have to let such a packet in (IN_DEV_SOURCE_ROUTE).
func sourceRouteState(q question) *finding {
	f := &finding{summary: fmt.Sprintf("the packet has IP options by which its sender chooses its way (source route), and %s does not let such packets in", q.dev())}
	for _, dev := range []string{"all", q.dev()} {
		name := "net/ipv4/conf/" + dev + "/accept_source_route"
		if on, ok := q.host.Sysctl(name); ok && on == 0 {
			f.evidence = append(f.evidence, q.says(name))
			f.fix = append(f.fix, command("sysctl", "-w", setting(name)+"=1"))
		}
	}
	if len(f.fix) == 0 {
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
	f := &finding{evidence: []string{fmt.Sprintf("ip route get %s from %s iif %s: %s", q.dst(), q.src(), q.dev(), a.Type)}}
	if a.Route == nil {
		f.summary = fmt.Sprintf("the routing rule %d refuses the packet (%s)", a.Rule.Priority, a.Type)
		f.evidence = append(f.evidence, "ip rule: "+ruleText(*a.Rule))
		f.fix = []string{"ip rule del " + strings.Join(ruleWords(*a.Rule), " ")}
		return f
	}
	f.summary = fmt.Sprintf("a route of the type %s for %s refuses the packet", a.Type, a.Route.Dst)
	f.evidence = append(f.evidence, fmt.Sprintf("ip route show table %s: %s %s", tableName(a.Table), a.Type, a.Route.Dst))
	f.fix = []string{deleteRoute(*a.Route)}
	return f
}

func tableName(table uint32) string {
	if name, ok := map[uint32]string{255: "local", 254: "main", 253: "default"}[table]; ok {
		return name
	}
	return fmt.Sprint(table)
}

func deleteRoute(r host.Route) string {
	words := []string{"ip", "route", "del"}
	if r.Type != "unicast" {
		words = append(words, r.Type)
	}
	words = append(words, r.Dst.String(), "table", tableName(r.Table))
	if r.Priority != 0 {
		words = append(words, "metric", fmt.Sprint(r.Priority))
	}
	return command(words...)
}

func ruleText(r host.Rule) string {
	return fmt.Sprintf("%d: %s", r.Priority, strings.Join(ruleWords(r)[2:], " "))
}

// ruleWords name a rule for ip rule del.
func ruleWords(r host.Rule) (words []string) {
	words = []string{"pref", fmt.Sprint(r.Priority)}
	add := func(name, value string) { words = append(words, name, command(value)) }
	if r.Invert {
		words = append(words, "not")
	}
	if r.From.IsValid() && r.From.Bits() > 0 {
		add("from", r.From.String())
	}
	if r.To.IsValid() && r.To.Bits() > 0 {
		add("to", r.To.String())
	}
	if r.IIF != "" {
		add("iif", r.IIF)
	}
	if r.OIF != "" {
		add("oif", r.OIF)
	}
	if r.Mark != 0 {
		add("fwmark", fmt.Sprintf("%#x/%#x", r.Mark, r.Mask))
	}
	return append(words, r.Action)
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
		f.fix = []string{command("ip", "addr", "add", vip.String()+"/32", "dev", l.Name)}
	} else if q.isDirector() || l != nil && l.Type != "loopback" {
		f.fix = []string{command("ip", "addr", "add", vip.String()+"/32", "dev", "lo")}
	}
	return f
}
