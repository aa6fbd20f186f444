package host

import (
	"net/netip"
	"slices"
)

// SourceCheck is the kernel's judgement of a packet's source when it comes in (fib_validate_source).
type SourceCheck struct {
	// OK: it may come in.
	OK bool
	// Why is why not: "local" (the source is an address of this host), "martian" (it is a broadcast or multicast
	// address), "strict" (the way back leads out of another device), "loose" (there is no way back), "unnumbered" (there
	// is none by that device, and it has no address).
	Why string
	// Mode is the effective rp_filter, max(all, dev).
	Mode int
	// Back is the lookup of the way back, Asked the packet for which it was made.
	Back  Answer
	Asked Flow
	// Unread says why there is no answer.
	Unread string
}

// Impossible reports whether no packet with such addresses may come in by f.IIF, whatever the routes say (ip_route_input_slow).
// Of 0.0.0.0/8 that is only 0.0.0.0 (ipv4_is_zeronet, since Linux 5.3).
func (s *Snapshot) Impossible(f Flow) bool {
	none, all := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case f.Src.IsMulticast(), f.Src == all:
		return true
	case f.Dst == all, f.Src == none && f.Dst == none:
		return false
	case f.Src == none, f.Dst == none:
		return true
	}
	return (f.Src.IsLoopback() || f.Dst.IsLoopback()) && !s.Either(f.IIF, "route_localnet")
}

// CheckSource says whether a packet of that flow may come in by f.IIF. ok is false if the settings were not read, or the
// rules do not say it: then c.Unread is why.
func (s *Snapshot) CheckSource(f Flow) (c SourceCheck, ok bool) {
	c.Mode, ok = s.Effective(f.IIF, "rp_filter")
	dev := s.LinkNamed(f.IIF)
	if !ok || dev == nil {
		return c, false
	}
	c.Asked = s.wayBack(f, dev)
	c.Back = s.Route(c.Asked)
	accept := s.Either(f.IIF, "accept_local")
	circles := c.Asked.IIF == f.IIF && s.Either(f.IIF, "send_redirects") // it may have to tell the sender
	if c.Mode == 0 && !circles && (accept || !s.custom()) {
		// Only the addresses are asked, not the tables (inet_lookup_ifaddr_rcu).
		c.OK = accept || len(s.AddrOn(f.Src)) == 0
		if !c.OK {
			c.Why = "local"
		}
		return c, true
	}
	if c.Unread = c.Back.Unread; c.Back.Type == Undecided {
		return c, false
	}
	c.Why = s.refusal(c, dev, accept)
	c.OK = c.Why == ""
	return c, true
}

// refusal says why __fib_validate_source refuses a packet that came by dev and has that way back; empty if it does not.
func (s *Snapshot) refusal(c SourceCheck, dev *Link, accept bool) string {
	by := func(h Hop) bool {
		l := s.Link(h.Link)
		return h.Link == dev.Index || l != nil && l.MasterKind == "vrf" && l.Master == dev.Index
	}
	switch refused := c.Back.Refused(); {
	case c.Back.Type == "local" && !accept:
		return "local"
	case !refused && c.Back.Type != "unicast" && c.Back.Type != "local":
		return "martian"
	case c.Mode == 0, !refused && slices.ContainsFunc(c.Back.Hops, by), c.Back.Type == "local" && dev.Type == "loopback":
		return ""
	case c.Mode == 1:
		return "strict"
	case refused:
		return "loose"
	case len(s.AddrsOf(dev.Index)) == 0:
		return "unnumbered"
	}
	return ""
}

// wayBack is the lookup by which __fib_validate_source finds the way to a packet's source: as if an answer were sent by lo,
// or, for a packet that is forwarded, came in by the device that it leaves by; a
// broadcast has no address to answer from. Marks count only with src_valid_mark, on
// all or on the device, and what no rule asks for is not looked at in the packet.
func (s *Snapshot) wayBack(f Flow, dev *Link) Flow {
	back := Flow{Src: f.Dst, Dst: f.Src, TOS: f.TOS, Unknown: f.Unknown &^ (FieldMark | FieldUID)}
	if s.Either(f.IIF, "src_valid_mark") {
		back.Mark, back.Unknown = f.Mark, back.Unknown|f.Unknown&FieldMark
	}
	if slices.ContainsFunc(s.Rules, Rule.dissects) {
		back.Proto, back.Sport, back.Dport = f.Proto, f.Dport, f.Sport
	}
	switch {
	case dev.Type == "vrf":
		back.VRF = dev.Name
	case dev.MasterKind == "vrf":
		if vrf := s.Link(dev.Master); vrf != nil {
			back.VRF = vrf.Name
		}
	}
	switch on := s.Route(f); on.Type {
	case "unicast":
		back.IIF = on.Dev
	case "broadcast":
		back.Src = netip.Addr{}
	}
	return back
}

// Either reports whether a setting below net/ipv4/conf is on for all devices or for this one (IN_DEV_ORCONF).
func (s *Snapshot) Either(dev, setting string) bool {
	all, _ := s.Sysctl("net/ipv4/conf/all/" + setting)
	own, _ := s.Sysctl("net/ipv4/conf/" + dev + "/" + setting)
	return all != 0 || own != 0
}

// dissects reports whether a rule makes the kernel read packets' protocols and ports (fib_rule_requires_fldissect).
func (r Rule) dissects() bool {
	return r.IIF != "lo" && (r.IPProto != 0 || r.Sport != [2]uint16{} || r.Dport != [2]uint16{})
}

// custom reports whether there are rules, or routes to own addresses, beside those that every namespace has. In a namespace
// that once had some, the kernel looks at all tables for ever; with the usual rules that gives the same answer.
func (s *Snapshot) custom() bool {
	return s.customRules() || slices.ContainsFunc(s.Routes, func(r Route) bool { return r.Type == "local" && r.Protocol != byKernel })
}

// customRules reports whether there are rules beside the usual ones.
func (s *Snapshot) customRules() bool {
	usual := []Rule{
		{Action: "lookup", Table: tableLocal, Suppress: -1}, {Priority: 0x7ffe, Action: "lookup", Table: tableMain, Suppress: -1},
		{Priority: 0x7fff, Action: "lookup", Table: tableDefault, Suppress: -1},
	}
	return slices.ContainsFunc(s.Rules, func(r Rule) bool { return !slices.Contains(usual, r) })
}
