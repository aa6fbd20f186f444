package ruleset

import (
	"cmp"
	"net/netip"
	"slices"

	"ipiptrace/internal/host"
)

// field is what is known of the packet under a name.
type field struct {
	known bool
	// none: the packet has no such field.
	none   bool
	number uint64
	// to is the last of what the number may be, if that is more than one.
	to uint64
	// also is the number as nft shows it, if that is another: the bytes of meta protocol are in the packet's order.
	also uint64
	// name is valid with text: a device's; number is its index then, if names is not nil.
	name string
	text bool
	addr netip.Addr
	// names are other ways to write the number.
	names map[string]uint64
	// fragment: ip frag-off, of which only the offset is known.
	fragment bool
	// clear are bits of a number that is not known otherwise: these are 0.
	clear uint64
}

var (
	tcpFlagNames = map[string]uint64{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
	nfprotoNames = map[string]uint64{"ipv4": 2, "ipv6": 10}
	etherNames   = map[string]uint64{"ip": 0x0800, "arp": 0x0806, "ip6": 0x86dd, "vlan": 0x8100}
	packetNames  = map[string]uint64{"unicast": 0, "host": 0, "broadcast": 1, "multicast": 2, "other": 3}
	icmpNames    = map[string]uint64{
		"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8, "router-advertisement": 9,
		"router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13, "timestamp-reply": 14,
	}
	addrTypes = map[string]uint64{
		"unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7, "prohibit": 8,
	}
)

// left is what an expression reads of the packet.
func (e *evaluation) left(l *left) field {
	if e.p.ARP != nil {
		return e.arp(l)
	}
	switch l.name {
	case "payload":
		f := e.payload(l.protocol, l.field)
		switch {
		case e.hasChanged("protocol"):
			return field{}
		case e.hasChanged(l.field):
			return field{none: f.none} // whatever it is now: no other protocol has it
		}
		return f
	case "meta":
		return e.meta(l.key)
	case "ct":
		if l.key == "state" {
			e.asked = true
			return field{known: e.ct.single(), number: uint64(e.ct), names: ctNames}
		}
		f := field{none: e.ct == Invalid || e.ct == Untracked} // no connection that could have it
		if l.key == "status" {
			e.asked, f.names = true, statusNames
			if e.redirected() == no {
				f.clear = statusDNAT
			}
		}
		return f
	case "tcp option":
		return field{none: e.p.Proto != 6 || e.p.Fragment}
	case "fib":
		return e.fib(l.result, l.flags)
	}
	return field{}
}

func (e *evaluation) meta(key string) field {
	p := e.p
	switch key {
	case "iifname", "iif":
		name := p.IIF
		if p.Hook == "egress" {
			name = "" // nf_hook_egress tells its chains of no device from which the packet came
		}
		return e.dev(name, p.hasIIF(), key == "iif")
	case "oifname", "oif":
		return e.dev(p.OIF, p.hasOIF(), key == "oif")
	case "ibrname", "bri_iifname":
		return e.dev(cmp.Or(p.Over, e.masterOf(p.IIF)), e.p.Bridged && p.hasIIF(), false)
	case "obrname", "bri_oifname":
		return e.dev(cmp.Or(p.Over, e.masterOf(p.OIF)), e.p.Bridged && p.hasOIF(), false)
	case "l4proto":
		return field{known: true, number: uint64(p.Proto), names: protocolNumbers}
	case "nfproto":
		return field{known: true, number: nfprotoNames["ipv4"], names: nfprotoNames}
	case "protocol":
		return field{known: true, number: etherNames["ip"], also: 8, names: etherNames}
	case "length":
		return field{known: p.hasLength()}.of(p.length())
	case "mark":
		return field{known: e.marked, number: uint64(e.mark)}
	case "pkttype":
		// What comes out of a tunnel is for this host (skb_scrub_packet).
		l := e.s.LinkNamed(p.IIF)
		return field{known: l != nil && l.Tunnel != nil && p.Hook != "ingress", names: packetNames}
	}
	return field{}
}

// of is the field with these values.
func (f field) of(v possible) field {
	f.number, f.to = v.first, v.last
	return f
}

// possible are all that the number may be.
func (f field) possible() possible { return possible{f.number, max(f.number, f.to)} }

// vague: its number is known no better than from where to where.
func (f field) vague() bool { return f.to > f.number }

// masterOf is the bridge that a port belongs to.
func (e *evaluation) masterOf(port string) string {
	if l := e.s.LinkNamed(port); l != nil && l.Master != 0 {
		if master := e.s.Link(l.Master); master != nil {
			return master.Name
		}
	}
	return ""
}

// dev is a device; must says that a packet at this hook has one: without a name it is not known which.
func (e *evaluation) dev(name string, must, byIndex bool) field {
	f := field{known: name != "" || !must, name: name, text: true}
	if !byIndex {
		return f
	}
	if l := e.s.LinkNamed(name); l != nil || name == "" {
		f.names = map[string]uint64{}
		if l != nil {
			f.number = uint64(l.Index)
		}
	}
	return f
}

// hasIIF and hasOIF say that a packet at this hook has such a device.
func (p Packet) hasIIF() bool {
	return slices.Contains([]string{"ingress", "prerouting", "input", "forward"}, p.Hook)
}

func (p Packet) hasOIF() bool {
	return slices.Contains([]string{"forward", "output", "postrouting", "egress"}, p.Hook)
}

func (e *evaluation) payload(protocol, name string) field {
	p := e.p
	l4 := func(proto uint8, value uint64) field {
		return field{known: true, none: p.Proto != proto || p.Fragment, number: value}
	}
	numbers := map[string]uint8{"tcp": 6, "udp": 17}
	switch protocol + " " + name {
	case "ip saddr":
		return field{known: p.Src.IsValid(), addr: p.Src}
	case "ip daddr":
		return field{known: p.Dst.IsValid() && !e.natted, addr: p.Dst}
	case "ip protocol":
		return field{known: true, number: uint64(p.Proto), names: protocolNumbers}
	case "ip ttl":
		return field{known: true}.of(p.ttl())
	case "ip length":
		return field{known: p.hasLength()}.of(p.length())
	case "ip version":
		return field{known: true, number: 4}
	case "ip frag-off":
		return field{fragment: true}
	case "tcp sport", "udp sport":
		return l4(numbers[protocol], 0).of(p.sport())
	case "tcp dport", "udp dport":
		f := l4(numbers[protocol], 0).of(p.dport())
		f.known = !e.natted
		return f
	case "th sport":
		return field{known: p.HasPorts, none: p.Fragment}.of(p.sport())
	case "th dport":
		return field{known: p.HasPorts && !e.natted, none: p.Fragment}.of(p.dport())
	case "tcp flags":
		f := l4(6, uint64(p.Flags))
		f.names = tcpFlagNames
		return f
	case "icmp type":
		f := l4(1, uint64(p.ICMPType))
		f.names = icmpNames
		return f
	case "icmp code":
		return l4(1, uint64(p.ICMPCode))
	}
	number, isL4 := protocolNumbers[protocol]
	return field{none: isL4 && uint64(p.Proto) != number || protocol == "ip6" || protocol == "icmpv6" || protocol == "arp"}
}

// fib is what the kernel finds of an address in its routes (nft_fib4_eval, nft_fib4_eval_type).
func (e *evaluation) fib(result string, flags []string) field {
	p := e.p
	if !e.s.Knows(host.PartRoutes) || !e.s.Knows(host.PartRules) || has(flags, "mark") || has(flags, "daddr") && e.natted {
		return field{}
	}
	of, other, dev := p.Dst, p.Src, ""
	if has(flags, "saddr") {
		of, other = p.Src, p.Dst
	}
	if has(flags, "iif") {
		dev = p.IIF
	} else if has(flags, "oif") {
		dev = p.OIF
	}
	if dev == "" && (has(flags, "iif") || has(flags, "oif")) || !p.Src.IsValid() || !p.Dst.IsValid() {
		return field{}
	}
	if result == "type" {
		return field{known: true, number: addrTypes[e.addrTypeOf(of, dev)], names: addrTypes}
	}
	if p.Hook == "forward" && dev != "" {
		return field{}
	}
	back := e.s.Route(host.Flow{Src: other, Dst: of})
	by := ""
	for _, h := range back.Hops {
		if l := e.s.Link(h.Link); l != nil && back.Type == "unicast" && (dev == "" && l.Name == back.Dev || l.Name == dev) {
			by = l.Name
		}
	}
	return e.dev(by, false, result == "oif")
}
