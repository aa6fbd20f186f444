package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// asksTunnel4 reports whether the kernel looks for a tunnel of protocol 4: the packet is IPIP, or IPIP inside GUE.
func asksTunnel4(s Subject, _ *State) bool {
	return s.Tunnelled && s.Outer != nil && (s.outerProto() == protoIPIP || s.outerProto() == protoUDP)
}

// taker is the device that takes the tunnelled packet; nil if none does.
func (st *State) taker(s Subject) *host.Link {
	if s.Outer == nil {
		return nil
	}
	return st.TakesIPIP(s.Outer.Src, s.Outer.Dst, st.index(s))
}

// index is the number of the device on which the packet is, 0 if it is not known.
func (st *State) index(s Subject) uint32 {
	if l := st.link(s); l != nil {
		return l.Index
	}
	return 0
}

// unserved reports whether no device for IPv4 takes the packet. sit is asked last: if one of its devices, for IPv6, drops the
// packet, no other took it.
func (st *State) unserved(s Subject) bool {
	l := st.taker(s)
	return l == nil || l.Type == "sit" && !l.TakesIPv4()
}

// asleep is the device that would take the packet if it were up; nil if there is none, or another takes it.
func (st *State) asleep(s Subject) *host.Link {
	if s.Outer == nil || !st.unserved(s) {
		return nil
	}
	awake := &State{Snapshot: &host.Snapshot{Links: slices.Clone(st.Links)}}
	for i := range awake.Links {
		l := &awake.Links[i]
		l.Up = l.Up || l.TakesIPv4()
	}
	l := awake.taker(s)
	if l == nil || !l.TakesIPv4() {
		return nil
	}
	return st.Link(l.Index)
}

// ownTunnels are this namespace's devices of the module ipip, whatever is wrong with them.
func ownTunnels(s *host.Snapshot) (all []host.Link) {
	for _, l := range s.Links {
		if l.Type == "ipip" && l.Tunnel != nil && !l.LinkNetns {
			all = append(all, l)
		}
	}
	return all
}

func moduleState(s Subject, st *State) *finding {
	if slices.Contains(st.Modules, "ipip") || len(ownTunnels(st.Snapshot)) > 0 || !st.unserved(s) || st.asleep(s) != nil {
		return nil
	}
	f := &finding{
		summary:  "the kernel module ipip is not loaded: nothing takes IPIP packets",
		evidence: []evidence{by(host.PartModules, "lsmod: no ipip"), by(host.PartLinks, "ip link show type ipip: none")},
	}
	if why, absent := st.Absent["ipip"]; absent { // what comes behind is asked all the same
		f.summary = "this kernel has no ipip, and nothing takes IPIP packets: " + why + "; it takes another kernel"
		f.evidence[0] = by(host.PartModules, "/sys/module: no ipip")
		f.mend = loadIPIP
		if st.Knows(host.PartAddrs) && !st.Owns(s.vip()) {
			f.mend = together(loadIPIP, giveAddress(s.vip(), "tunl0"))
		}
		return f
	}
	f.fix = command.Of("modprobe ipip")
	if st.lacksFallback() {
		f.evidence = append(f.evidence, st.says(fallbackTunnels))
		add, made := newTunnel(s, st)
		f.fix, f.mend = f.fix.And(add), together(addModule("ipip"), made)
		return f
	}
	f.fix, f.mend = f.fix.Then("ip link set tunl0 up"), loadIPIP
	if st.Knows(host.PartAddrs) && !st.Owns(s.vip()) {
		f.fix, f.mend = f.fix.And(addAddress(s.vip(), "tunl0")), together(loadIPIP, giveAddress(s.vip(), "tunl0"))
	}
	return f
}

// fallbackTunnels decides, when a namespace or the module comes, which namespaces get tunl0: 0 all, 1 the first, 2 none
// (net_has_fallback_tunnels).
const fallbackTunnels = "net/core/fb_tunnels_only_for_init_net"

// lacksFallback reports whether the module ipip makes no tunl0 in this namespace.
func (st *State) lacksFallback() bool {
	only, ok := st.Sysctl(fallbackTunnels)
	return ok && (only == 1 && !st.Initial || only >= 2)
}

// absentState: the module is there, and this namespace has no device of it.
func absentState(s Subject, st *State) *finding {
	if !slices.Contains(st.Modules, "ipip") || len(ownTunnels(st.Snapshot)) > 0 || !st.unserved(s) || st.asleep(s) != nil {
		return nil
	}
	f := &finding{
		summary:  "this network namespace has no tunnel device for IPIP packets",
		evidence: []evidence{by(host.PartModules, "lsmod: ipip"), by(host.PartLinks, "ip link show type ipip: none")},
	}
	if st.lacksFallback() {
		where := "in no namespace"
		if only, _ := st.Sysctl(fallbackTunnels); only == 1 {
			where = "in the first one alone"
		}
		f.summary += fmt.Sprintf(": the kernel makes tunl0 %s", where)
		f.evidence = append(f.evidence, st.says(fallbackTunnels))
	}
	f.fix, f.mend = newTunnel(s, st)
	return f
}

// newTunnel makes a device of its own for what comes to the outer destination, and gives it the VIP if nothing has that.
func newTunnel(s Subject, st *State) (command.Fix, func(*State)) {
	return newTunnelTo(s, st, host.Tunnel{Proto: host.ProtoIPIP, Local: s.dst()})
}

// newTunnelTo makes one with these ends.
func newTunnelTo(s Subject, st *State, t host.Tunnel) (command.Fix, func(*State)) {
	name := "lvs0"
	for n := 1; st.LinkNamed(name) != nil; n++ {
		name = fmt.Sprintf("lvs%d", n)
	}
	dev := command.Device(name)
	fix := command.Of("ip link add % type ipip %", dev, st.ends(t)).Then("ip link set % up", dev)
	mend := addTunnel(name, t)
	if st.Knows(host.PartAddrs) && !st.Owns(s.vip()) {
		fix, mend = fix.And(addAddress(s.vip(), name)), together(mend, giveAddress(s.vip(), name))
	}
	return fix, mend
}

func downState(s Subject, st *State) *finding {
	l := st.asleep(s)
	if l == nil {
		return nil
	}
	return &finding{
		summary:  fmt.Sprintf("the tunnel device %s is down", l.Name),
		evidence: []evidence{by(host.PartLinks, "ip link show %s: state DOWN", command.Device(l.Name))},
		fix:      command.Of("ip link set % up", command.Device(l.Name)),
		mend:     setUp(l.Index, true),
	}
}

func setUp(index uint32, up bool) func(*State) {
	return changeLink(index, func(l *host.Link) { l.Up, l.Running = up, up })
}

// mismatchState: tunnels are up, and none is for these two addresses. If one that is for them is down, that is another cause.
// tunl0 being down is not: whoever made a tunnel wants to use that one.
func mismatchState(s Subject, st *State) *finding {
	if s.Outer == nil || !st.unserved(s) {
		return nil
	}
	if l := st.asleep(s); l != nil && !l.Tunnel.Fallback {
		return nil
	}
	wrong := slices.DeleteFunc(ownTunnels(st.Snapshot), func(l host.Link) bool { return !l.Up })
	if len(wrong) == 0 {
		return nil
	}
	f := &finding{
		summary: fmt.Sprintf("no tunnel is set up for packets from %s to %s", s.Outer.Src, s.Outer.Dst),
	}
	for _, l := range wrong {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip -d link show %s: ipip remote %s local %s", command.Device(l.Name), anyAddr(l.Tunnel.Remote), anyAddr(l.Tunnel.Local)))
	}
	if fallback := st.LinkNamed("tunl0"); fallback != nil && !fallback.Up {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip link show tunl0: state DOWN"))
	}
	idle := slices.DeleteFunc(wrong, func(l host.Link) bool { return !st.idle(l) })
	if len(idle) == 0 { // those that are there may be other directors': to change one would cut that director off
		f.fix, f.mend = newTunnel(s, st)
		return f
	}
	l := idle[0]
	local, remote := l.Tunnel.Local, l.Tunnel.Remote
	if remote.IsValid() && remote != s.Outer.Src {
		remote = s.Outer.Src
	}
	if local.IsValid() && local != s.Outer.Dst {
		local = s.Outer.Dst
	}
	f.fix = command.Of("ip tunnel change % mode ipip remote % local %", command.Device(l.Name), anyAddr(remote), anyAddr(local))
	f.mend = changeLink(l.Index, func(l *host.Link) {
		t := *l.Tunnel
		t.Remote, t.Local, t.Proto = remote, local, host.ProtoIPIP
		l.Tunnel = &t
	})
	return f
}

// idle reports whether no packet comes by a tunnel: its local end is no address of this host.
func (st *State) idle(l host.Link) bool {
	local := l.Tunnel.Local
	return local.IsValid() && !local.IsUnspecified() && st.Knows(host.PartRoutes) && st.Knows(host.PartRules) && !st.Owns(local)
}

// spare reports whether nobody uses a device, as far as the state tells: it has no address and no master, and no route and no
// rule names it.
func (st *State) spare(l host.Link) bool {
	read := st.Knows(host.PartAddrs) && st.Knows(host.PartRoutes) && st.Knows(host.PartRules)
	return read && len(st.AddrsOf(l.Index)) == 0 && l.Master == 0 && !st.leads(l) &&
		!slices.ContainsFunc(st.Rules, func(r host.Rule) bool { return r.IIF == l.Name || r.OIF == l.Name })
}

// leads reports whether a route that somebody has made leads by a device.
func (st *State) leads(l host.Link) bool {
	return slices.ContainsFunc(st.Routes, func(r host.Route) bool {
		return r.Table != tableLocal && r.Protocol != 2 && slices.ContainsFunc(r.Hops, func(h host.Hop) bool { return h.Link == l.Index })
	})
}

func anyAddr(a netip.Addr) command.Part {
	if !a.IsValid() || a.IsUnspecified() {
		return command.Say("any")
	}
	return command.Address(a)
}

// modeState: a device takes the packet, and does not want IPv4 in it.
func modeState(s Subject, st *State) *finding {
	l := st.taker(s)
	if l == nil || l.TakesIPv4() || st.unserved(s) {
		return nil
	}
	if l.Type == "vti" {
		return stolenByIPsec(*l, st)
	}
	f := &finding{
		summary:  fmt.Sprintf("the tunnel %s takes another protocol than IPv4", l.Name),
		evidence: []evidence{by(host.PartLinks, "ip -d link show %s: mode %d, not 4 (ipip) or 0 (any)", command.Device(l.Name), l.Tunnel.Proto)},
	}
	own := host.Tunnel{Proto: host.ProtoIPIP, Local: s.Outer.Dst, Remote: s.Outer.Src, Link: l.Tunnel.Link}
	switch named := slices.ContainsFunc(st.AddrsOf(l.Index), func(a host.Addr) bool { return a.Prefix.Addr() == s.vip() }); {
	case named && l.Master == 0 && !st.leads(*l): // it was made for the service
		f.fix, f.mend = st.remade(*l), changeLink(l.Index, func(l *host.Link) {
			t := *l.Tunnel
			t.Proto = host.ProtoIPIP
			l.Tunnel = &t
		})
	case l.Tunnel.Local != own.Local || l.Tunnel.Remote != own.Remote: // one with both ends is asked before it
		f.fix, f.mend = newTunnelTo(s, st, own)
	default:
		f.summary += ", between the same two addresses, and may have its own use: make it anew in the mode any, which takes both, or let the director send to another address of this host"
	}
	return f
}

// stolenByIPsec: a tunnel of IPsec is asked first (vti_rcv_tunnel), and no tunnel of IPIP comes before it. Only the module's own
// device, which takes what is for no other, can go without harm to anybody.
func stolenByIPsec(l host.Link, st *State) *finding {
	dev := command.Device(l.Name)
	f := &finding{
		summary: fmt.Sprintf("the IPsec tunnel %s is asked before those of IPIP and takes the packet, which did not come by IPsec", l.Name),
		evidence: []evidence{
			by(host.PartLinks, "ip -d link show %s: vti remote %s local %s, up", dev, anyAddr(l.Tunnel.Remote), anyAddr(l.Tunnel.Local)),
		},
	}
	switch {
	case l.Tunnel.Fallback && st.spare(l):
		f.fix, f.mend = command.Of("ip link set % down", dev), setUp(l.Index, false)
	case l.Tunnel.Fallback:
		f.summary += ": it is in use, so make a tunnel with the addresses of its peer for that, and set this one down"
	case l.Tunnel.Remote.IsValid() && !l.Tunnel.Remote.IsUnspecified():
		f.summary += ": let the director send to another address of this host than the tunnel's, or from another one"
	default:
		f.summary += ": make it anew with the address of its peer, or let the director send to another address of this host"
	}
	return f
}

// ends are those of a tunnel, as ip names them.
func (st *State) ends(t host.Tunnel) command.Part {
	ends := command.Say("")
	if t.Local.IsValid() {
		ends = ends.And(command.Say("local"), command.Address(t.Local))
	}
	if t.Remote.IsValid() {
		ends = ends.And(command.Say("remote"), command.Address(t.Remote))
	}
	if l := st.Link(t.Link); l != nil && t.Link != 0 {
		ends = ends.And(command.Say("dev"), command.Device(l.Name))
	}
	return ends
}

// remade makes a tunnel anew, in the mode ipip: the kernel changes the mode of none that is there.
func (st *State) remade(l host.Link) command.Fix {
	dev := command.Device(l.Name)
	fix := command.Of("ip link del %", dev).Then("ip link add % type ipip mode ipip %", dev, st.ends(*l.Tunnel)).Then("ip link set % up", dev)
	for _, a := range st.AddrsOf(l.Index) {
		fix = fix.Then("ip addr add % dev %", command.Prefix(a.Prefix), dev)
	}
	return fix
}
