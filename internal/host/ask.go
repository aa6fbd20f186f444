package host

import (
	"net/netip"
	"strconv"
)

// Link is the device with that index; nil if there is none, or links were not read.
func (s *Snapshot) Link(index uint32) *Link {
	if s.linked() {
		return s.index.at[index]
	}
	for i := range s.Links {
		if s.Links[i].Index == index {
			return &s.Links[i]
		}
	}
	return nil
}

// LinkNamed is the device with that name; nil if there is none, or links were not read.
func (s *Snapshot) LinkNamed(name string) *Link {
	if name == "" {
		return nil
	}
	if s.linked() {
		return s.index.named[name]
	}
	for i := range s.Links {
		if s.Links[i].Name == name {
			return &s.Links[i]
		}
	}
	return nil
}

// AddrsOf are the IPv4 addresses of a device.
func (s *Snapshot) AddrsOf(link uint32) (of []Addr) {
	for _, a := range s.Addrs {
		if a.Link == link {
			of = append(of, a)
		}
	}
	return of
}

// Sysctl is the value of a setting by its name with slashes below /proc/sys; ok is false if it is not there.
func (s *Snapshot) Sysctl(name string) (value int, ok bool) {
	text, ok := s.Sysctls[name]
	if !ok {
		return 0, false
	}
	value, err := strconv.Atoi(text)
	return value, err == nil
}

// Effective is max(all, dev) of a setting below net/ipv4/conf: what the kernel uses of rp_filter, arp_ignore,
// arp_announce (IN_DEV_MAXCONF). ok is false if one of them is not there.
func (s *Snapshot) Effective(dev, setting string) (value int, ok bool) {
	all, ok := s.Sysctl("net/ipv4/conf/all/" + setting)
	own, has := s.Sysctl("net/ipv4/conf/" + dev + "/" + setting)
	return max(all, own), ok && has
}

// Flow is the key with which the kernel looks up a route (struct flowi4). A zero field is not set, except UID: 0 is root, and
// a packet that comes in has that.
type Flow struct {
	Src, Dst netip.Addr
	// IIF is the device by which the packet came in, empty for one that is sent from here. OIF is the device to which it is
	// bound. Either may be a VRF, or a member of one.
	IIF, OIF string
	// VRF is the VRF in which the packet is looked up, where neither IIF nor OIF says it.
	VRF          string
	Mark         uint32
	TOS          uint8
	Proto        uint8
	Sport, Dport uint16
	UID          uint32
	// FromHere: a socket sends it that may send from addresses of this host only, and not from any (IP_TRANSPARENT).
	FromHere bool
	// Unknown are the fields whose values are not known: a rule that tests one of them may apply or not.
	Unknown Field
}

// Field is one that a rule may ask for, or several.
type Field uint8

// The fields of a Flow that may be unknown.
const (
	FieldMark Field = 1 << iota
	FieldTOS
	FieldUID
	FieldPorts
	// FieldFromHere: whether its socket may send from any address.
	FieldFromHere
)

// Answer is what a lookup found, as `ip route get` says it.
type Answer struct {
	// Route is nil if no rule led to one.
	Route *Route
	// Rule is the policy rule that decided, also one that refuses by itself.
	Rule *Rule
	// Type is the route's, or the rule's: "unicast", "local", "blackhole", "unreachable", "prohibit"; NoRoute if nothing
	// matched; Undecided if that cannot be said, with Unread.
	Type string
	// Unread says why there is no answer: "rule 100: attribute 31".
	Unread string
	// Dev and Gateway are where a unicast packet goes next; Gateway is invalid on the link itself. With several
	// hops they are the first one's, and Hops has all.
	Dev     string
	Gateway netip.Addr
	Hops    []Hop
	Table   uint32
	// Unused are the routes that would have won in the tables that were asked, if their devices were alive.
	Unused []Unused
}

// NextHop is who gets a packet for that address: the gateway, or the address itself on its own link.
func (a Answer) NextHop(to netip.Addr) netip.Addr {
	if a.Gateway.IsValid() {
		return a.Gateway
	}
	return to
}

// Unused is a route that matches and that the kernel does not use.
type Unused struct {
	Route *Route
	// Dev is the route's device. NoCarrier: it is up and has no carrier; otherwise it is down.
	Dev       string
	NoCarrier bool
}
