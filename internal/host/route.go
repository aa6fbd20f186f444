package host

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
)

// The numbers of the tables that every namespace has (rtnetlink(7)).
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// NoRoute is the type of an answer where no table that was asked has a route.
const NoRoute = "none"

// refusals are the types of routes, and actions of rules, that answer with an error.
var refusals = []string{"blackhole", "unreachable", "prohibit"}

// Forbidden reports whether a route or a rule was made to refuse the packet.
func (a Answer) Forbidden() bool { return slices.Contains(refusals, a.Type) }

// Refused reports whether the lookup found no way to send the packet, or to take it in.
func (a Answer) Refused() bool { return a.Type == NoRoute || a.Forbidden() }

// Route looks a packet up as the kernel does (fib_lookup): rules by priority, and in each table the longest
// prefix that is alive. What the rules say of marks is compared with f.Mark. Each route is looked at once, not once a rule.
func (s *Snapshot) Route(f Flow) Answer {
	best := sync.OnceValue(func() map[uint32]*Route { return s.bestRoutes(f) })
	vrf := sync.OnceValue(func() []uint32 { return s.vrfTables(f) })
	rules := s.Rules
	if !slices.IsSortedFunc(rules, byPriority) {
		rules = slices.Clone(rules)
		slices.SortStableFunc(rules, byPriority)
	}
	for i := 0; i < len(rules); i++ {
		r := &rules[i]
		if r.matches(f) == r.Invert {
			continue
		}
		switch r.Action {
		case "nop":
			continue
		case "goto":
			next, _ := slices.BinarySearchFunc(rules, r.Goto, func(x Rule, priority uint32) int { return cmp.Compare(x.Priority, priority) })
			if next <= i {
				continue
			}
			i = next - 1
			continue
		case "lookup":
			tables := []uint32{r.Table}
			if r.L3mdev {
				tables = vrf()
			}
			for _, table := range tables {
				if a, ok := s.answer(best()[table], r.Suppress); ok {
					a.Rule = r
					return a
				}
			}
		default:
			return Answer{Rule: r, Type: r.Action}
		}
	}
	return Answer{Type: NoRoute}
}

// byPriority is the order in which the kernel asks rules.
func byPriority(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) }

func (r *Rule) matches(f Flow) bool {
	in := func(p netip.Prefix, a netip.Addr) bool {
		return !p.IsValid() || p.Bits() == 0 || a.IsValid() && p.Contains(a)
	}
	ports := func(want [2]uint16, port uint16) bool {
		return want == [2]uint16{} || want[0] <= port && port <= want[1]
	}
	iif := f.IIF
	if iif == "" {
		iif = "lo" // what is sent from here
	}
	return in(r.From, f.Src) && in(r.To, f.Dst) &&
		(r.IIF == "" || r.IIF == iif) && (r.OIF == "" || r.OIF == f.OIF) &&
		(r.Mark == 0 && r.Mask == 0 || f.Mark&r.mask() == r.Mark) &&
		(r.TOS == 0 || r.TOS == f.TOS) && (r.IPProto == 0 || r.IPProto == f.Proto) &&
		ports(r.Sport, f.Sport) && ports(r.Dport, f.Dport)
}

func (r *Rule) mask() uint32 {
	if r.Mask == 0 {
		return ^uint32(0)
	}
	return r.Mask
}

// vrfTables are the tables of the VRF that a packet's device belongs to; a snapshot does not say their numbers,
// so every table that has a route by a device of that VRF counts.
func (s *Snapshot) vrfTables(f Flow) (tables []uint32) {
	dev := s.LinkNamed(f.IIF)
	if dev == nil {
		dev = s.LinkNamed(f.OIF)
	}
	if dev == nil || dev.MasterKind != "vrf" {
		return nil
	}
	members := map[uint32]bool{}
	for _, l := range s.Links {
		members[l.Index] = l.Master == dev.Master || l.Index == dev.Master
	}
	seen := map[uint32]bool{tableDefault: true, tableMain: true, tableLocal: true}
	for _, r := range s.Routes {
		if !seen[r.Table] && slices.ContainsFunc(r.Hops, func(h Hop) bool { return members[h.Link] }) {
			seen[r.Table] = true
			tables = append(tables, r.Table)
		}
	}
	return tables
}

// bestRoutes are the routes that each table has for the flow.
func (s *Snapshot) bestRoutes(f Flow) map[uint32]*Route {
	best := map[uint32]*Route{}
	out := s.LinkNamed(f.OIF)
	for i := range s.Routes {
		r := &s.Routes[i]
		if !r.Dst.Contains(f.Dst) || r.TOS != 0 && r.TOS != f.TOS || !r.usable(f, out) {
			continue
		}
		if b := best[r.Table]; b == nil || r.before(b) {
			best[r.Table] = r
		}
	}
	return best
}

// before reports whether a table has the route asked before the other one.
func (r *Route) before(o *Route) bool {
	return cmp.Or(cmp.Compare(o.Dst.Bits(), r.Dst.Bits()), cmp.Compare(o.TOS, r.TOS), cmp.Compare(r.Priority, o.Priority)) < 0
}

// answer is what a table answers whose best route that is; ok is false if it has none, or says that the next table
// is to be asked.
func (s *Snapshot) answer(best *Route, suppress int) (a Answer, ok bool) {
	if best == nil || best.Type == "throw" || suppress >= 0 && best.Dst.Bits() <= suppress {
		return a, false
	}
	a = Answer{Route: best, Type: best.Type, Table: best.Table, Hops: best.Hops}
	for _, h := range best.Hops {
		if !h.Dead {
			a.Gateway = h.Gateway
			if l := s.Link(h.Link); l != nil {
				a.Dev = l.Name
			}
			break
		}
	}
	return a, true
}

// usable reports whether one of the route's hops is alive, and by the device that is asked for, if that is there.
func (r *Route) usable(f Flow, out *Link) bool {
	return len(r.Hops) == 0 || slices.ContainsFunc(r.Hops, func(h Hop) bool {
		return !h.Dead && (f.OIF == "" || out != nil && out.Index == h.Link)
	})
}

// Owns reports whether the kernel takes packets for the address as its own: there is a local route for it.
func (s *Snapshot) Owns(addr netip.Addr) bool { return s.Route(Flow{Dst: addr}).Type == "local" }

// AddrType is what the kernel takes an address for (inet_dev_addr_type): "local", "broadcast" or "multicast", if the table
// of local addresses says so; else "unicast". With dev only what it says of that device counts.
func (s *Snapshot) AddrType(addr netip.Addr, dev string) string {
	switch {
	case !addr.Is4():
		return "unicast"
	case addr.IsMulticast():
		return "multicast"
	case addr.As4()[0] == 0, addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "broadcast"
	}
	a, ok := s.answer(s.bestRoutes(Flow{Dst: addr})[tableLocal], -1)
	if !ok || dev != "" && dev != a.Dev {
		return "unicast"
	}
	return a.Type
}

// AddrOn are the devices that have the address, whether or not they are up.
func (s *Snapshot) AddrOn(addr netip.Addr) (on []Link) {
	for _, a := range s.Addrs {
		if a.Prefix.Addr() != addr {
			continue
		}
		if l := s.Link(a.Link); l != nil {
			on = append(on, *l)
		}
	}
	return on
}

// SourceCheck is what the kernel says of a packet's source when it comes in (fib_validate_source).
type SourceCheck struct {
	// OK: it may come in.
	OK bool
	// Why is why not: "local" (the source is an address of this host), "strict" (the way back leads out of another
	// device), "loose" (there is no way back), "unnumbered" (there is none by that device, and it has no address).
	Why string
	// Mode is the effective rp_filter, max(all, dev).
	Mode int
	// Back is the lookup of the way back.
	Back Answer
}

// CheckSource says whether a packet of that flow may come in by f.IIF. ok is false if the settings were not read.
func (s *Snapshot) CheckSource(f Flow) (c SourceCheck, ok bool) {
	c.Mode, ok = s.Effective(f.IIF, "rp_filter")
	dev := s.LinkNamed(f.IIF)
	if !ok || dev == nil {
		return c, false
	}
	back := s.Route(Flow{Src: f.Dst, Dst: f.Src, Proto: f.Proto, Sport: f.Dport, Dport: f.Sport})
	c.Back = back
	accept, _ := s.Sysctl("net/ipv4/conf/" + f.IIF + "/accept_local")
	all, _ := s.Sysctl("net/ipv4/conf/all/accept_local")
	switch {
	case back.Type == "local" && accept == 0 && all == 0:
		c.Why = "local"
	case c.Mode == 0, back.Type == "unicast" && slices.ContainsFunc(back.Hops, func(h Hop) bool { return h.Link == dev.Index && !h.Dead }):
		c.OK = true
	case c.Mode == 1:
		c.Why = "strict"
	case back.Refused():
		c.Why = "loose"
	case len(s.AddrsOf(dev.Index)) == 0:
		c.Why = "unnumbered"
	default:
		c.OK = true
	}
	return c, true
}
