package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// lookups are the parts that a route is looked up with.
var lookups = []host.Part{host.PartRoutes, host.PartRules, host.PartAddrs, host.PartLinks}

// routingRows are the causes at the routing decision for a packet that came in.
func routingRows() []row {
	withSysctls := append([]host.Part{host.PartSysctls}, lookups...)
	return []row{
		{
			code: "martian-source", stage: routing, needs: withSysctls, looks: []host.Part{host.PartSockets},
			asked: outerSide | innerSide,
			at:    append(sure(site.Martian), maybe(site.SourceCheckUnsaid)...),
			check: martianState,
			bare: func(s Subject) finding {
				return finding{summary: fmt.Sprintf("%s may not be the source of a packet that comes in", s.src())}
			},
			doc: Doc{
				Where:  inRouting,
				Means:  "The packet's source is an address of this host itself, or one that can't be a source. If source and destination are the VIP, the director itself has sent it: a connection from the director to its VIP can't work in tunnel mode, and is no test of the service.",
				Kernel: "ip_rcv_finish_core, since 6.13 IP_LOCAL_SOURCE, IP_INVALID_SOURCE or IP_LOCALNET, before that NOT_SPECIFIED.",
				Confirm: []Line{
					{Command: "ip -4 addr show to SOURCE", Says: "the device that has it", Shows: `inet SOURCE/`},
					{Command: "ip route get VIP from SOURCE iif tunl0", Says: "Invalid argument, which newer kernels say of rp_filter, too", Shows: `Invalid argument`, Fails: true},
				},
				Fix: []Line{
					{Command: "ip addr del SOURCE/PREFIX dev DEVICE"},
					{Command: "ip route replace RIP via GATEWAY src DIRECTOR", On: atDirector, Says: "or, if the outer source is the VIP", Lab: "martian-outer-vip"},
				},
				Prevent: "Put the VIP on the director's lo, as /32. Test from a client, never from the director.",
			},
		},
		{
			code: "rp-filter", stage: routing, needs: withSysctls, looks: []host.Part{host.PartSockets},
			asked: outerSide | innerSide,
			at:    append(sure(site.ReversePath), maybe(site.SourceCheckUnsaid)...),
			check: rpFilterState,
			bare: func(s Subject) finding {
				return finding{summary: fmt.Sprintf("the reverse-path filter of %s drops packets from %s", s.Dev, s.src())}
			},
			doc: Doc{
				Where:  inRouting,
				Means:  "The reverse-path filter drops the packet: the way back to its source leaves by another device, or there is none.",
				Kernel: "ip_rcv_finish_core, IP_RPFILTER. What counts is max(conf.all, conf.DEVICE); conf.default does nothing for devices that are there. Connections that were there before survive (early demux).",
				Confirm: []Line{
					{Command: "sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.tunl0.rp_filter", Says: "the higher of the two is in effect: 1 is strict, 2 is loose", Shows: `rp_filter = [12]`},
					{Command: "ip route get CLIENT", Says: "another device than tunl0", Shows: `dev eth0`},
					{Command: "ip route get VIP from CLIENT iif tunl0", Says: "Invalid cross-device link; newer kernels: Invalid argument", Shows: `Invalid (cross-device link|argument)`, Fails: true},
					{Command: "nstat -az TcpExtIPReversePathFilter", Says: "rises with each packet", Shows: `IPReversePathFilter +[1-9]`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.conf.tunl0.rp_filter=2", Says: "loose; tunl0 must have an IPv4 address"},
					{Command: "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tunl0.rp_filter=0", Says: "or off: the greater of the two counts"},
				},
				Prevent: "/etc/sysctl.d/: net.ipv4.conf.all.rp_filter=0, net.ipv4.conf.tunl0.rp_filter=2 (or 0), and 1 on the devices that face the outside. A new device takes net.ipv4.conf.default.rp_filter: load ipip before the settings are applied (/etc/modules-load.d/), or tunl0 has that.",
			},
		},
		{
			code: "source-route", stage: routing, needs: withSysctls,
			at:    maybe(site.SourceCheckUnsaid),
			fits:  func(s Subject, _ *State) bool { return !s.Rejected },
			check: sourceRouteState,
			doc: Doc{
				Where:  inRouting,
				Means:  "The packet's sender has chosen its way by an IP option (source route), which this host does not allow.",
				Kernel: "ip_rcv_options, in ip_rcv_finish_core, NOT_SPECIFIED, no ICMP.",
				Confirm: []Line{
					{Command: "sysctl net.ipv4.conf.all.accept_source_route net.ipv4.conf.tunl0.accept_source_route", Says: "both must be 1 to allow it", Shows: `= 0`},
					{Command: "tcpdump -nvi tunl0 'ip[0] & 0xf > 5'"},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.conf.all.accept_source_route=1 net.ipv4.conf.tunl0.accept_source_route=1"},
				},
				Prevent: "Find out who sends such packets: hardly anybody needs them.",
			},
		},
		{
			code: "route-reject", stage: routing, needs: lookups,
			asked: outerSide | innerSide,
			at:    maybe(site.NoInputRoute),
			check: rejectState,
			doc: Doc{
				Where:  inRouting,
				Means:  "A route or a rule of the type blackhole, unreachable or prohibit refuses the packet.",
				Kernel: "ip_error, IP_INADDRERRORS if forwarding is off. If it is on: ICMP 3/1 for unreachable, ICMP 3/13 for prohibit.",
				Confirm: []Line{
					{Command: "ip rule", Says: "one before lookup local, or in place of it", Shows: `blackhole`},
					{Command: "ip route get VIP from CLIENT iif tunl0", Says: "an error; rp_filter makes one, too (explain rp-filter)", Shows: `^RTNETLINK answers: `, Fails: true},
				},
				Fix: []Line{
					{Command: "ip rule del pref PREF"},
					{Command: "ip route del TYPE VIP/PREFIX table TABLE", Says: "or, if it is a route", Lab: "prohibit-vip"},
				},
				Prevent: "Find who made it: routing daemons make blackhole routes for what they announce.",
			},
		},
		{
			code: "vip-missing", stage: routing, needs: lookups, looks: []host.Part{host.PartIPVS},
			asked: innerSide,
			at:    maybe(site.NoInputRoute),
			check: vipState,
			doc: Doc{
				Where:  inRouting,
				Means:  "The VIP is no address of this host. One on a device that is down is an address all the same.",
				Kernel: "ip_error, IP_INADDRERRORS, no ICMP, if forwarding is off. If it is on, the packet goes back to the director, in a circle.",
				Confirm: []Line{
					{Command: "ip -4 addr show to VIP", Says: "nothing", Shows: Nothing},
					{Command: "ip route get VIP", Says: "does not begin with local", Shows: `^(VIP|RTNETLINK)`, Fails: true},
				},
				Fix: []Line{
					{Command: "ip addr add VIP/32 dev tunl0", Says: "on a real server"},
					{Command: "ip addr add VIP/32 dev lo", Says: "or, if it is a director", Lab: "director-vip-missing"},
				},
				Prevent: "Configure the VIP together with tunl0, not on eth0, and set net.ipv4.conf.all.arp_ignore=1 and arp_announce=2.",
			},
		},
		{
			// It goes in a circle.
			code: "vip-missing", stage: routing, needs: lookups, looks: []host.Part{host.PartIPVS},
			at:    maybe(site.TTL),
			fits:  func(s Subject, _ *State) bool { return s.Forwarding },
			check: vipState,
		},
	}
}

func martianState(s Subject, st *State) *finding {
	src := s.src()
	c, ok := st.CheckSource(st.arrives(s))
	switch {
	case !ok && c.Unread != "":
		return &finding{undecided: "rules: " + c.Unread}
	case s.redirected() && s.dst().IsLoopback() && !src.IsLoopback() && !st.Either(st.arrives(s).IIF, "route_localnet"):
		return toLoopback(s, st)
	case st.Impossible(st.arrives(s)):
		return &finding{
			summary:  fmt.Sprintf("%s → %s: the kernel accepts no packet with such addresses from a device", src, s.dst()),
			evidence: []evidence{seen("source %s, destination %s", src, s.dst())},
		}
	case ok && c.Why == "martian":
		return &finding{
			summary:  fmt.Sprintf("the packet's source %s is a broadcast or multicast address here: it is taken for forged", src),
			evidence: []evidence{got(src, c.Back)},
		}
	case ok && c.Why == "local":
		f := &finding{
			summary:  fmt.Sprintf("the packet's source %s is an address of this host: it is taken for forged", src),
			evidence: []evidence{got(src, c.Back)},
		}
		lives := src != s.vip() && st.lives(s, src)
		var mends []func(*State)
		for _, l := range st.AddrOn(src) {
			f.evidence = append(f.evidence, by(host.PartAddrs, "ip addr show %s: %s", command.Device(l.Name), src))
			if src != s.vip() && !lives {
				fix, mend := st.deleteAddress(netip.PrefixFrom(src, bits(st.Snapshot, l.Index, src)), l)
				f.fix, mends = f.fix.And(fix), append(mends, mend)
			}
		}
		switch {
		case lives:
			f.summary += fmt.Sprintf(", and two hosts have it: this one works with it, on %s, so that the sender needs another", st.AddrOn(src)[0].Name)
		case src == s.vip() && !s.Tunnelled:
			f.summary = fmt.Sprintf("the packet goes from the VIP %s to the VIP: the director itself has sent it, and a connection from there can't work in tunnel mode; test from a client", src)
		case src == s.vip():
			f.summary = fmt.Sprintf("the director sends with the VIP %s as outer source, which is an address of this host, too: give its route to this host another source (ip route change … src)", src)
		}
		f.mend = together(mends...)
		return f
	}
	return nil
}

// toLoopback: NAT has given the packet to a loopback address, which route_localnet has to allow for the device by which the
// request comes (ip_route_input_slow) and for that by which the answer leaves (__mkroute_output). It opens what listens there
// to the network, so that no command does it.
func toLoopback(s Subject, st *State) *finding {
	f := redirection(s)
	f.summary += fmt.Sprintf(", and the kernel takes nothing for a loopback address that comes by %s: let the rule give it to another address of this host; or set route_localnet for %s and the device of the answers, which opens what listens on 127.0.0.1 to their networks", s.Dev, s.Dev)
	own := "net/ipv4/conf/" + s.Dev + "/route_localnet"
	f.evidence = append(f.evidence, st.says("net/ipv4/conf/all/route_localnet"), st.says(own))
	return &f
}

// lives reports whether this host works with one of its addresses: it is no spare one on lo or a dummy device, or a route
// sends with it, or a program is bound to it.
func (st *State) lives(s Subject, a netip.Addr) bool {
	return s.Outer != nil && s.Outer.Dst == a ||
		slices.ContainsFunc(st.AddrOn(a), func(l host.Link) bool { return l.Type != "loopback" && l.Type != "dummy" }) ||
		slices.ContainsFunc(st.Routes, func(r host.Route) bool { return r.Source == a && r.Table != tableLocal }) ||
		slices.ContainsFunc(st.Sockets, func(x host.Socket) bool { return x.Local.Addr() == a })
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

func rpFilterState(s Subject, st *State) *finding {
	flow := st.arrives(s)
	c, ok := st.CheckSource(flow)
	switch {
	case c.Unread != "":
		return &finding{undecided: "rules: " + c.Unread}
	case !ok || c.OK || c.Why == "local" || c.Why == "martian":
		return nil
	}
	dev := flow.IIF
	all, own := "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/"+dev+"/rp_filter"
	mode := map[int]string{1: "strict", 2: "loose"}[c.Mode]
	f := &finding{evidence: []evidence{
		st.says(all), st.says(own), by(host.PartSysctls, "effective: max(all, %s) = %d (%s)", dev, c.Mode, mode), got(flow.Src, c.Back),
	}}
	f.evidence = append(f.evidence, markless(st, flow)...)
	unnumbered := len(st.AddrsOf(st.LinkNamed(dev).Index)) == 0
	switch c.Why {
	case "strict":
		f.summary = fmt.Sprintf("reverse-path filter on %s is strict and %s", dev, wayBack(flow.Src, c.Back))
	case "unnumbered":
		f.summary = fmt.Sprintf("reverse-path filter on %s is loose, which drops all that comes by a device without an IPv4 address", dev)
		f.evidence = append(f.evidence, by(host.PartAddrs, "ip -4 addr show %s: none", command.Device(dev)))
	default:
		f.summary = fmt.Sprintf("reverse-path filter on %s is loose and there is no way back to %s", dev, flow.Src)
	}
	switch unanswered := noReturnState(s, st); {
	case !c.Back.Refused() && !unnumbered:
		f.fix, f.mend = command.Of("sysctl -w net.ipv4.conf.%.rp_filter=2", command.DeviceSetting(dev)), setSysctl(own, 2)
	case !c.Back.Refused() && !s.Tunnelled && st.LinkNamed(dev).Tunnel != nil:
		f.mend = together(setSysctl(own, 2), giveAddress(s.vip(), dev))
		if c.Mode != 2 {
			f.fix = command.Of("sysctl -w net.ipv4.conf.%.rp_filter=2", command.DeviceSetting(dev))
		}
		f.fix = f.fix.And(addAddress(s.vip(), dev))
	case c.Back.Refused() && !s.Tunnelled && unanswered != nil && unanswered.undecided == "":
		// The answer would have no way either: that is to be repaired first, and may be all.
		if rest, plain := strings.CutPrefix(unanswered.summary, fmt.Sprintf("there is no route back to the client %s", flow.Src)); plain {
			f.summary += ", for the answer neither" + rest
		} else {
			f.summary += ", for the answer neither: " + unanswered.summary
		}
		f.evidence = append(f.evidence, unanswered.evidence...)
		f.fix, f.mend = unanswered.fix, unanswered.mend
	default:
		f.fix, f.mend = st.unfiltered(dev, flow)
	}
	return f
}

// maxKept bounds the devices whose filter is kept by a command.
const maxKept = 8

// unfiltered lets packets in by a device whose way back leads elsewhere in any mode, or nowhere: by their mark, if that is
// known and leads back by the device; else by mode 0. As the larger of the two settings counts, the one for all devices has to
// go; others get it as their own.
func (st *State) unfiltered(dev string, flow host.Flow) (command.Fix, func(*State)) {
	valid := "net/ipv4/conf/" + dev + "/src_valid_mark"
	if marked := st.with(valid, "1"); flow.Mark != 0 && flow.Unknown&host.FieldMark == 0 {
		if c, ok := marked.CheckSource(flow); ok && c.OK {
			return command.Of("sysctl -w net.ipv4.conf.%.src_valid_mark=1", command.DeviceSetting(dev)), setSysctl(valid, 1)
		}
	}
	mode := func(name string) int { now, _ := st.Sysctl("net/ipv4/conf/" + name + "/rp_filter"); return now }
	var fix command.Fix
	var mends []func(*State)
	set := func(name string, to command.Fix, value int) {
		if mode(name) != value {
			fix, mends = fix.And(to), append(mends, setSysctl("net/ipv4/conf/"+name+"/rp_filter", value))
		}
	}
	own := func(name string, value int) command.Fix {
		return command.Of("sysctl -w net.ipv4.conf.%.rp_filter=%", command.DeviceSetting(name), command.Number(value))
	}
	if all := mode("all"); all > 0 {
		kept := slices.DeleteFunc(slices.Clone(st.Links), func(l host.Link) bool { return l.Name == dev || mode(l.Name) >= all })
		if len(kept) > maxKept {
			return command.None("the filter is set for all devices, and each of many others would need it as its own first"), nil
		}
		for _, l := range kept {
			set(l.Name, own(l.Name, all), all)
		}
		set("default", command.Of("sysctl -w net.ipv4.conf.default.rp_filter=%", command.Number(all)), max(all, mode("default")))
		set("all", command.Of("sysctl -w net.ipv4.conf.all.rp_filter=0"), 0)
	}
	set(dev, own(dev, 0), 0)
	return fix, together(mends...)
}

// with is the state with another setting.
func (st *State) with(setting, value string) *host.Snapshot {
	other := *st.Snapshot
	other.Sysctls = maps.Clone(st.Sysctls)
	other.Sysctls[setting] = value
	return &other
}

// maxMarks bounds the rules whose marks are tried.
const maxMarks = 8

// markless is evidence that the source check ignores the packet's mark, if a rule would let the packet in by its mark.
func markless(st *State, f host.Flow) (lines []evidence) {
	all, own := "net/ipv4/conf/all/src_valid_mark", "net/ipv4/conf/"+f.IIF+"/src_valid_mark"
	if f.Unknown&host.FieldMark == 0 {
		return nil
	}
	counts := st.with(own, "1")
	f.Unknown &^= host.FieldMark
	tried := 0
	for i, r := range st.Rules {
		if f.Mark = r.Mark; r.Mark == 0 || tried == maxMarks {
			continue
		}
		tried++
		if c, ok := counts.CheckSource(f); ok && c.OK {
			lines = append(lines, ruleShown(&st.Rules[i])...)
		}
	}
	if len(lines) > 0 {
		lines = append(lines, st.says(all), st.says(own), by(host.PartSysctls, "marks do not count for the way back, as both are 0"))
	}
	return lines
}

// sourceRouteState: both settings have to let such a packet in (IN_DEV_SOURCE_ROUTE).
func sourceRouteState(s Subject, st *State) *finding {
	if !s.Packet.Options || s.Tunnelled {
		return nil
	}
	f := &finding{summary: fmt.Sprintf("the packet has IP options by which its sender chooses its way (source route), and %s does not let such packets in", s.Dev)}
	const all = "net/ipv4/conf/all/accept_source_route"
	var mends []func(*State)
	if on, ok := st.Sysctl(all); ok && on == 0 {
		f.evidence, mends = append(f.evidence, st.says(all)), append(mends, setSysctl(all, 1))
		f.fix = f.fix.Then("sysctl -w net.ipv4.conf.all.accept_source_route=1")
	}
	own := "net/ipv4/conf/" + s.Dev + "/accept_source_route"
	if on, ok := st.Sysctl(own); ok && on == 0 {
		f.evidence, mends = append(f.evidence, st.says(own)), append(mends, setSysctl(own, 1))
		f.fix = f.fix.Then("sysctl -w net.ipv4.conf.%.accept_source_route=1", command.DeviceSetting(s.Dev))
	}
	if len(f.evidence) == 0 {
		return nil
	}
	f.mend = together(mends...)
	return f
}

func wayBack(to netip.Addr, a host.Answer) string {
	if a.Refused() {
		return fmt.Sprintf("there is no route back to %s", to)
	}
	return fmt.Sprintf("the route back to %s leaves by %s", to, a.Dev)
}

// rejectState finds the rule or route that was made to refuse the packet.
func rejectState(s Subject, st *State) *finding {
	a := st.Route(st.arrives(s))
	switch {
	case a.Type == host.Undecided:
		return &finding{undecided: "rules: " + a.Unread}
	case !a.Forbidden(), st.catches(a, s):
		return nil
	}
	f := &finding{evidence: []evidence{by(host.PartRoutes, "ip route get %s from %s iif %s: %s", command.Address(s.dst()), command.Address(s.src()), command.Device(s.Dev), a.Type)}}
	if a.Route == nil {
		f.summary = fmt.Sprintf("the routing rule %d refuses the packet (%s)", a.Rule.Priority, a.Type)
		f.evidence = append(f.evidence, by(host.PartRules, "ip rule: %d: %s", a.Rule.Priority, ruleWords(*a.Rule)))
		f.fix, f.mend = st.deleteRule(*a.Rule)
		return f
	}
	f.summary = fmt.Sprintf("a route of the type %s for %s refuses the packet", a.Type, a.Route.Dst)
	f.evidence = append(f.evidence, by(host.PartRoutes, "ip route show table %s: %s %s", tableName(a.Table), a.Type, a.Route.Dst))
	f.fix, f.mend = st.deleteRoute(*a.Route)
	return f
}

// catches reports whether a route refuses the packet only because this host does not have its destination: a local route, if it
// had, would come first. It is one for a whole network, as an aggregate's or the default that closes a table.
func (st *State) catches(a host.Answer, s Subject) bool {
	return a.Route != nil && a.Forbidden() && a.Route.Dst.Bits() < 32 && a.Route.Table != tableLocal &&
		!s.Reply && !s.redirected() && !st.Owns(s.dst())
}

// The numbers of the table of local addresses and of the main one.
const (
	tableLocal = 255
	tableMain  = 254
)

// tableName is a routing table as ip names it.
func tableName(table uint32) command.Part {
	if name, ok := map[uint32]command.Part{255: command.Say("local"), 254: command.Say("main"), 253: command.Say("default")}[table]; ok {
		return name
	}
	return command.Number(table)
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
	if mask := cmp.Or(r.Mask, ^uint32(0)); r.Mark != 0 || r.Mask != 0 {
		words = words.And(command.Say("fwmark"), command.Mark(r.Mark, mask))
	}
	if r.TOS != 0 {
		words = words.And(command.Say("tos"), command.Number(r.TOS))
	}
	if r.IPProto != 0 {
		words = words.And(command.Say("ipproto"), command.Number(r.IPProto))
	}
	if r.Sport != [2]uint16{} {
		words = words.And(command.Say("sport"), command.Range(r.Sport[0], r.Sport[1]))
	}
	if r.Dport != [2]uint16{} {
		words = words.And(command.Say("dport"), command.Range(r.Dport[0], r.Dport[1]))
	}
	if r.UIDEnd != 0 {
		words = words.And(command.Say("uidrange"), command.Numbers(r.UIDFirst, r.UIDEnd-1))
	}
	if r.L3mdev {
		return words.And(command.Say("l3mdev"))
	}
	if r.Action == "lookup" {
		return words.And(command.Say("lookup"), tableName(r.Table))
	}
	return words.And(command.OneOf("the action of the rule", r.Action, "blackhole", "unreachable", "prohibit"))
}

// livesBehind reports whether a route leads to somebody on this machine who has the VIP, a container or a virtual machine: by a
// bridge that has only such ports, or by one's own wire, if the route is for the VIP alone.
func (st *State) livesBehind(s Subject, a host.Answer) bool {
	l, under := st.LinkNamed(a.Dev), st.LinkNamed(s.Under)
	if l == nil || a.Route == nil || a.Type != "unicast" || a.Route.Dst.Bits() == 0 || a.Dev == s.Dev || a.Dev == s.Under || under != nil && under.Master == l.Index {
		return false
	}
	guest := func(l host.Link) bool { return l.Type == "tun" || l.Type == "veth" && l.LinkNetns }
	ports := slices.DeleteFunc(slices.Clone(st.Links), func(p host.Link) bool { return p.Master != l.Index })
	outside := func(p host.Link) bool { return !guest(p) }
	return guest(*l) && a.Route.Dst.Bits() == 32 || l.Type == "bridge" && len(ports) > 0 && !slices.ContainsFunc(ports, outside)
}

// addAddress gives the VIP to a device.
func addAddress(vip netip.Addr, dev string) command.Fix {
	return command.Of("ip addr add %/32 dev %", command.Address(vip), command.Device(dev))
}

// vipState explains why the kernel does not take packets for the VIP as its own.
func vipState(s Subject, st *State) *finding {
	vip := s.vip()
	a := st.Route(st.arrives(s))
	directs := s.Supposed && s.Outer == nil
	if s.Reply || s.Tunnelled || s.redirected() || st.Owns(vip) || a.Type == "local" || a.Type == host.Undecided || a.Forbidden() && !st.catches(a, s) || st.livesBehind(s, a) {
		return nil
	}
	switch {
	case directs && st.IPVS == nil:
		return &finding{undecided: "ipvs: whether this director is a backup, which need not have the VIP"}
	case directs && st.IPVS.Backup:
		return nil
	}
	f := &finding{evidence: []evidence{got(vip, st.Route(host.Flow{Dst: vip}))}}
	f.summary = fmt.Sprintf("the VIP %s is no address of this host", vip)
	if f.doubtful = directs; directs { // a packet that has come says more
		f.summary += ": what comes for it is lost, but on a director that stands by (VRRP), to which nothing comes, that is as it should be"
	}
	f.evidence = append(f.evidence, addressesOf(st.Snapshot))
	if there := st.AddrOn(vip); len(there) > 0 {
		on := there[0]
		vrf := st.Link(on.Master)
		if on.Type == "vrf" {
			vrf = st.LinkNamed(on.Name)
		}
		if vrf != nil && vrf.Type == "vrf" {
			f.summary = fmt.Sprintf("the VIP %s is on %s, in the VRF %s, and the packet comes by %s, which is not in that VRF: put that device, the VIP and the service into one", vip, on.Name, vrf.Name, s.Dev)
			return f
		}
		f.summary = fmt.Sprintf("the VIP %s is on %s, and no local route leads to it", vip, on.Name)
		f.fix = command.Of("ip route replace local % dev % table local", command.Address(vip), command.Device(on.Name))
		f.mend = func(st *State) {
			st.whole.Routes = append(slices.Clip(st.whole.Routes), host.Route{Table: tableLocal, Dst: netip.PrefixFrom(vip, 32), Type: "local", Hops: []host.Hop{{Link: on.Index}}})
		}
		return f
	}
	if l := st.link(s); l != nil && l.Tunnel != nil {
		f.fix, f.mend = addAddress(vip, l.Name), giveAddress(vip, l.Name)
	} else if st.isDirector() || l != nil && l.Type != "loopback" {
		f.fix, f.mend = addAddress(vip, "lo"), giveAddress(vip, "lo")
	}
	return f
}
