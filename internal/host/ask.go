package host

import (
	"net/netip"
	"strconv"
)

// Link is the device with that index; nil if there is none, or links were not read.
func (s *Snapshot) Link(index uint32) *Link {
	for i := range s.Links {
		if s.Links[i].Index == index {
			return &s.Links[i]
		}
	}
	return nil
}

// LinkNamed is the device with that name; nil if there is none, or links were not read.
func (s *Snapshot) LinkNamed(name string) *Link {
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

// Flow is what the kernel looks a route up with. Zero fields are any, or none.
type Flow struct {
	Src, Dst netip.Addr
	// IIF is the device that the packet came by, empty for one that is sent from here; OIF what it is bound to.
	IIF, OIF     string
	Mark         uint32
	TOS          uint8
	Proto        uint8
	Sport, Dport uint16
}

// Answer is what a lookup found, as `ip route get` says it.
type Answer struct {
	// Route is nil if no rule led to one.
	Route *Route
	// Rule is the policy rule that decided, also one that refuses by itself.
	Rule *Rule
	// Type is the route's, or the rule's: "unicast", "local", "blackhole", "unreachable", "prohibit"; "none" if nothing matched.
	Type string
	// Dev and Gateway are where a unicast packet goes next; Gateway is invalid on the link itself. With several
	// hops they are the first one's, and Hops has all.
	Dev     string
	Gateway netip.Addr
	Hops    []Hop
	Table   uint32
}
