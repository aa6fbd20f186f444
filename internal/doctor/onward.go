package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// Forwarder is the role of a machine that passes a director's packets on, to a container or over a bridge: nothing of the
// service is there, and nothing needs to be.
const Forwarder = "forwarder"

// Elsewhere is another network namespace of the machine that has a VIP: its devices and addresses.
type Elsewhere struct {
	State *host.Snapshot
}

// onward is where a machine passes a director's packets on, and how that is known.
type onward struct {
	// to is the real server behind it; invalid where it is not known, as on a bridge.
	to  netip.Addr
	why string
}

// passesOn says whether a machine without the VIP passes on what a director sends.
func (x service) passesOn() (to onward, ok bool) {
	if x.s.Owns(x.vip) || len(x.s.AddrOn(x.vip)) > 0 || !x.s.Knows(host.PartAddrs) || !x.s.Knows(host.PartRoutes) || !x.s.Knows(host.PartLinks) {
		return to, false
	}
	for _, look := range []func() (onward, bool){x.toNamespace, x.byTracking, x.byRoute, x.overBridge} {
		if to, ok = look(); ok {
			return to, true
		}
	}
	return to, false
}

// beyond is the device by which this machine would pass a packet on to an address; empty if it would not, or back to where it
// has come from.
func (x service) beyond(a, director netip.Addr) string {
	if x.s.Owns(a) || a == x.vip {
		return ""
	}
	way := x.s.Output(host.Flow{Dst: a})
	if way.Type != "unicast" || way.Dev == "" || way.Dev == x.faces(director) {
		return ""
	}
	return way.Dev
}

// sender is the director, as far as it is known.
func (x service) sender() netip.Addr {
	if x.o.Director.IsValid() {
		return x.o.Director
	}
	return somebody
}

// toNamespace: another namespace has the VIP, and a tunnel that is up; this one leads to another address of it, at the other
// end of a wire.
func (x service) toNamespace() (to onward, ok bool) {
	for _, e := range x.o.Elsewhere {
		tunnelled := slices.ContainsFunc(e.State.Links, func(l host.Link) bool { return l.Up && l.Tunnel != nil && l.TakesIPv4() })
		if len(e.State.AddrOn(x.vip)) == 0 || !tunnelled {
			continue
		}
		for _, a := range e.State.Addrs {
			at := a.Prefix.Addr()
			if !at.Is4() || at.IsLoopback() || x.beyond(at, x.sender()) == "" {
				continue
			}
			if next := x.s.Output(host.Flow{Dst: at}).Gateway; !next.IsValid() || len(e.State.AddrOn(next)) > 0 {
				return onward{at, fmt.Sprintf("%s is in the network namespace %s, to which this one leads by %s: ask doctor there, too (--netns)", x.vip, called(e.State), at)}, true
			}
		}
	}
	return to, false
}

// called is what a namespace is called.
func called(s *host.Snapshot) string {
	switch {
	case s.Name != "":
		return s.Name
	case s.Path != "":
		return s.Path
	}
	return fmt.Sprint(s.Netns)
}

// byTracking: connection tracking has IPIP that was passed on.
func (x service) byTracking() (to onward, ok bool) {
	if x.s.Conntrack == nil {
		return to, false
	}
	for _, c := range x.s.Conntrack.Conns {
		at := c.To.Addr()
		if c.Proto == protoIPIP && (!x.o.Director.IsValid() || c.From.Addr() == x.o.Director) && x.beyond(at, c.From.Addr()) != "" {
			return onward{at, fmt.Sprintf("connection tracking has IPIP from %s that was passed on to %s", c.From.Addr(), at)}, true
		}
	}
	return to, false
}

// byRoute: of a network in which this machine is one address alone is routed elsewhere, so that whoever sends to that gets
// beyond this machine.
func (x service) byRoute() (to onward, ok bool) {
	for _, r := range x.s.Routes {
		if r.Type != "unicast" || r.Dst.Bits() != 32 || len(r.Hops) != 1 {
			continue
		}
		at := r.Dst.Addr()
		inside := func(a host.Addr) bool {
			l := x.s.Link(a.Link)
			return l != nil && x.isWire(*l) && a.Link != r.Hops[0].Link && a.Prefix.Bits() < 32 && a.Prefix.Contains(at)
		}
		if slices.ContainsFunc(x.s.Addrs, inside) && x.beyond(at, x.sender()) != "" {
			return onward{at, fmt.Sprintf("ip route: %s, of a network in which this machine is, leads elsewhere: as if the real server were behind it", r.Dst.Addr())}, true
		}
	}
	return to, false
}

// overBridge: a bridge that has no address takes part in nothing.
func (x service) overBridge() (to onward, ok bool) {
	bridged := false
	for _, l := range x.s.Links {
		bridged = bridged || l.Up && l.Type == "bridge"
	}
	for _, a := range x.s.Addrs {
		if !a.Prefix.Addr().IsLoopback() {
			return to, false
		}
	}
	return onward{why: "a bridge is here, and no address: frames pass, and the service is elsewhere"}, bridged
}

// pass asks about what a machine passes on.
func (x service) pass(to onward, rules *ruleset.Ruleset, r *Report) {
	r.check(diagnose.Check{Code: "vip-missing", Answer: diagnose.Clear}, nil)
	r.say(step("vip-missing"), "vip-missing", fmt.Sprintf("%s need not be here: %s", x.vip, to.why))
	if !to.to.IsValid() {
		x.cross(rules, r)
		return
	}
	for _, k := range x.passedKinds() {
		var all []answer
		for _, client := range x.clients() {
			q := diagnose.Supposition{
				Proto: k.proto, Client: netip.AddrPortFrom(client, port(k)), Service: netip.AddrPortFrom(x.vip, k.port),
				Dev: x.faces(x.sender()), OuterSrc: x.sender(), OuterDst: to.to, OuterProto: protoIPIP, Onward: true, Late: x.o.Late,
			}
			found, checks := q.Examine(x.s, rules)
			all = append(all, answer{x.sender(), client, found, checks})
		}
		for _, a := range all {
			found, checks := x.merged(a, answers{samples: all})
			r.add(x.vip, x.sampled(found, all, false), checks)
		}
	}
}

// passedKinds are the protocols and ports that were asked for: nothing here says which are served.
func (x service) passedKinds() (all []kind) {
	protos := []uint8{protoTCP}
	if x.o.Proto != 0 {
		protos = []uint8{x.o.Proto}
	}
	ports := x.o.Ports
	if len(ports) == 0 || x.o.Proto == protoICMP {
		ports = []uint16{0}
	}
	for _, proto := range protos {
		for _, port := range ports {
			all = append(all, kind{proto, port})
		}
	}
	return all
}
