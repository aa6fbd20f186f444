package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// The words in the table for what is there, whatever is found of it.
const (
	tunnelsCode   = "tunnels"
	inEffectCode  = "in-effect"
	vipCode       = "vip"
	listenersCode = "listeners"
	servicesCode  = "virtual-services"
)

// describe says what there is of a service: which tunnels, which settings are in effect, where the VIP is, who serves it.
func (x service) describe(r *Report) {
	links := []host.Part{host.PartLinks}
	if x.role == RealServer {
		x.lines(r, stepTunnel, tunnelsCode, links, x.tunnelLines)
		x.lines(r, stepSettings, inEffectCode, []host.Part{host.PartSysctls, host.PartLinks, host.PartRoutes, host.PartRules}, x.inEffect)
		x.lines(r, stepService, listenersCode, []host.Part{host.PartSockets}, x.listeners)
	}
	x.lines(r, stepService, vipCode, []host.Part{host.PartAddrs, host.PartLinks, host.PartSysctls}, x.whereVIP)
	if x.role == Director {
		x.lines(r, stepDirector, servicesCode, []host.Part{host.PartIPVS, host.PartRoutes, host.PartLinks}, x.virtualServices)
	}
}

// lines says under a word what was read of some parts of the state, and which of them were not.
func (x service) lines(r *Report, step int, code string, parts []host.Part, says func() []string) {
	if !x.o.Asks(step) {
		return
	}
	r.say(step, code, says()...)
	for _, u := range x.s.Unread {
		if slices.Contains(parts, u.Part) || u.Part == host.PartAll {
			r.open(code, fmt.Sprintf("%s: %s", u.Part, u.Why))
		}
	}
}

// few are no more than maxShown lines, and how many there are besides.
func few(lines []string, of string) []string {
	if len(lines) <= maxShown {
		return lines
	}
	return append(slices.Clone(lines[:maxShown]), fmt.Sprintf("and %d more %s", len(lines)-maxShown, of))
}

// tunnelLines are the tunnels of IPv4, the ports behind which the kernel unpacks, and who takes the directors' packets.
func (x service) tunnelLines() (lines []string) {
	for _, l := range x.s.Links {
		if l.Tunnel != nil && (l.TakesIPv4() || l.Type == "gre" || l.Type == "ipip") {
			lines = append(lines, tunnelLine(x.s, l))
		}
	}
	for _, p := range x.s.FOU {
		lines = append(lines, fmt.Sprintf("the kernel unpacks %s behind UDP port %d", p.Kind, p.Port))
	}
	lines = few(lines, "tunnels")
	if len(lines) == 0 {
		lines = []string{"none is here"}
	}
	for _, t := range x.taken() {
		if x.knowsDirectors() {
			lines = append(lines, fmt.Sprintf("IPIP from the director %s to %s is taken by %s", t.director, t.to, t.by))
		}
	}
	if on, ok := x.s.Sysctl("net/ipv4/ip_forward"); ok {
		lines = append(lines, fmt.Sprintf("net.ipv4.ip_forward = %d: for packets that come out of a tunnel for an address of this machine it is of no account", on))
	}
	return lines
}

func tunnelLine(s *host.Snapshot, l host.Link) string {
	words := []string{l.Name + ": " + l.Type}
	add := func(is bool, format string, args ...any) {
		if is {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	end := func(a netip.Addr) string {
		if !a.IsValid() || a.IsUnspecified() {
			return "any"
		}
		return a.String()
	}
	add(l.Up, "up")
	add(!l.Up, "down")
	add(!l.TakesIPv4() && l.Type != "gre", "in a mode that takes no IPv4")
	add(true, "remote %s, local %s", end(l.Tunnel.Remote), end(l.Tunnel.Local))
	add(l.Tunnel.Keyed, "with a key")
	add(l.Tunnel.Collect, "for every tunnel's packets (external)")
	if under := s.Link(l.Tunnel.Link); under != nil {
		add(!l.LinkNetns, "by %s alone", under.Name)
	}
	add(l.LinkNetns, "for packets of another network namespace")
	return strings.Join(words, ", ")
}

// inEffect are the settings that decide over what comes out of the tunnel, and over ARP for the VIP, as the kernel uses them.
func (x service) inEffect() (lines []string) {
	for _, dev := range x.inner() {
		if mode, ok := x.s.Effective(dev, "rp_filter"); ok {
			lines = append(lines, fmt.Sprintf("what comes out of %s: rp_filter %s, %s, %s", dev,
				x.larger(mode, dev, "rp_filter"), x.either(dev, "src_valid_mark"), x.either(dev, "accept_local")))
		}
	}
	for _, dev := range x.facing() {
		ignore, ok1 := x.s.Effective(dev, "arp_ignore")
		announce, ok2 := x.s.Effective(dev, "arp_announce")
		if ok1 && ok2 {
			lines = append(lines, fmt.Sprintf("ARP on %s: arp_ignore %s, arp_announce %s", dev, x.larger(ignore, dev, "arp_ignore"), x.larger(announce, dev, "arp_announce")))
		}
	}
	return lines
}

// taken is IPIP from a director to a real server's address, and the device that takes it.
type taken struct {
	director, to netip.Addr
	by           string
}

// taken is what is taken of the directors' packets.
func (x service) taken() (all []taken) {
	for _, director := range x.directors() {
		in := x.s.LinkNamed(x.faces(director))
		if in == nil {
			continue
		}
		to := x.realServer(director, in.Name)
		if l := x.s.TakesIPIP(director, to, in.Index); l != nil {
			all = append(all, taken{director, to, l.Name})
		}
	}
	return all
}

// inner are the devices by which packets come out of tunnels.
func (x service) inner() (all []string) {
	for _, t := range x.taken() {
		all = withNew(all, []string{t.by})
	}
	return all
}

// larger is a setting of which the larger of two counts (IN_DEV_MAXCONF).
func (x service) larger(value int, dev, setting string) string {
	all, _ := x.s.Sysctl("net/ipv4/conf/all/" + setting)
	own, _ := x.s.Sysctl("net/ipv4/conf/" + dev + "/" + setting)
	if all == own {
		return fmt.Sprint(value)
	}
	return fmt.Sprintf("%d, the larger of %d (all) and %d (%s)", value, all, own, dev)
}

// either is a setting that is on if one of two is (IN_DEV_ORCONF).
func (x service) either(dev, setting string) string {
	if x.s.Either(dev, setting) {
		return setting + " on"
	}
	return setting + " off"
}

// whereVIP is where the VIP is, and whether this machine answers ARP for it.
func (x service) whereVIP() (lines []string) {
	for _, a := range x.s.Addrs {
		l := x.s.Link(a.Link)
		if a.Prefix.Addr() != x.vip || l == nil {
			continue
		}
		line := fmt.Sprintf("%s is on %s", a.Prefix, l.Name)
		if a.Scope != "" && a.Scope != "global" {
			line += ", scope " + a.Scope
		}
		if vrf := x.s.Link(l.Master); vrf != nil && l.MasterKind == "vrf" {
			line += ", in the VRF " + vrf.Name
		}
		if !l.Up {
			line += ", which is down: the address counts all the same"
		}
		lines = append(lines, line)
	}
	owned := x.s.Owns(x.vip)
	switch {
	case len(lines) > 0:
	case owned:
		lines = append(lines, fmt.Sprintf("no device has %s, and a local route takes it", x.vip))
	case x.role == Director && x.s.IPVS != nil && x.s.IPVS.Backup:
		lines = append(lines, fmt.Sprintf("no device has %s: this director is a backup (ipvsadm -L --daemon), and need not have it", x.vip))
	default:
		lines = append(lines, fmt.Sprintf("no device has %s", x.vip))
	}
	for _, e := range x.o.Elsewhere {
		if on := e.State.AddrOn(x.vip); len(on) > 0 {
			lines = append(lines, fmt.Sprintf("the network namespace %s has it, on %s", called(e.State), on[0].Name))
		}
	}
	if !owned {
		return lines
	}
	return append(lines, x.answersARP()...)
}

// answersARP says on which of the devices that face clients this machine answers ARP for the VIP.
func (x service) answersARP() (lines []string) {
	for _, dev := range x.facing() {
		l := x.s.LinkNamed(dev)
		if l == nil {
			continue
		}
		switch answers, ok := diagnose.AnswersARP(x.s, x.vip, *l); {
		case !ok:
		case answers:
			lines = append(lines, fmt.Sprintf("this machine answers ARP for it on %s", l.Name))
		case x.role == Director:
			lines = append(lines, fmt.Sprintf("this machine answers no ARP for it on %s: only a route leads clients here", l.Name))
		default:
			lines = append(lines, fmt.Sprintf("this machine answers no ARP for it on %s", l.Name))
		}
	}
	return lines
}

// listeners are the sockets on the services' ports, those that are alike in one line.
func (x service) listeners() (lines []string) {
	for _, k := range x.kinds() {
		type likeness struct {
			local  netip.AddrPort
			device uint32
			v6Only bool
		}
		alike := map[likeness][]host.Socket{}
		var order []likeness
		for _, sock := range x.s.Sockets {
			if sock.Proto != words[k.proto] || sock.Local.Port() != k.port || sock.Remote.IsValid() {
				continue
			}
			is := likeness{sock.Local, sock.Device, sock.V6Only}
			if alike[is] == nil {
				order = append(order, is)
			}
			alike[is] = append(alike[is], sock)
		}
		for _, is := range order {
			lines = append(lines, x.listenerLine(alike[is]))
		}
	}
	if len(lines) == 0 {
		return []string{"none is here"}
	}
	return few(lines, "sockets")
}

func (x service) listenerLine(group []host.Socket) string {
	first := group[0]
	line := fmt.Sprintf("%s %s", first.Proto, first.Local)
	if l := x.s.Link(max(first.Device, first.Told)); l != nil {
		line += "%" + l.Name
	}
	if first.V6 && first.Local.Addr().IsUnspecified() {
		line += map[bool]string{true: ", IPv6 alone", false: ", and IPv4"}[first.V6Only]
	}
	var who []string
	for _, s := range group {
		for _, p := range s.Owners {
			if !slices.Contains(who, p.Name) && len(who) < maxShown {
				who = append(who, p.Name)
			}
		}
	}
	if len(who) > 0 {
		line += " of " + strings.Join(who, ", ")
	}
	if len(group) > 1 {
		line += fmt.Sprintf(", %d sockets", len(group))
	}
	fullest := slices.MaxFunc(group, func(a, b host.Socket) int { return int(a.RecvQueue) - int(b.RecvQueue) })
	switch {
	case first.Proto != "tcp":
		line += fmt.Sprintf(", %d bytes wait", fullest.RecvQueue)
	case x.s.Coarse:
		line += fmt.Sprintf(", %d wait to be accepted", fullest.RecvQueue)
	default:
		line += fmt.Sprintf(", %d of at most %d wait to be accepted", fullest.RecvQueue, fullest.SendQueue)
	}
	if len(group) > 1 {
		line += " at the fullest"
	}
	return line
}
