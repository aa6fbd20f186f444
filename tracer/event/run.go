package event

import (
	"net/netip"
	"time"
)

// Run describes one run of the tracer: what was asked, of which kernel, and what could be watched.
// A recording begins with it.
type Run struct {
	// Start is the wall clock at the moment that Mono is on the kernel's monotonic clock, which events carry.
	Start time.Time     `json:"start"`
	Mono  time.Duration `json:"mono"`
	// Kernel is the release (uname -r), for people only: nothing is decided by it.
	Kernel string `json:"kernel"`
	// Reasons says that the kernel names the reason of a drop. One that does frees with an event whatever TCP drops.
	Reasons bool    `json:"reasons"`
	Filter  Filter  `json:"filter"`
	Probes  []Probe `json:"probes"`
}

// Wall is the wall clock at a moment of the monotonic clock.
func (r Run) Wall(mono time.Duration) time.Time { return r.Start.Add(mono - r.Mono) }

// Filter says which packets are followed. It is applied in the kernel, on the inner header of a
// tunnelled packet and the only header of any other; a reply, whose source is the VIP, matches too.
type Filter struct {
	VIPs []netip.Addr `json:"vips"`
	// Ports are service ports of TCP and UDP; empty: every port.
	Ports []uint16 `json:"ports,omitempty"`
	// Client holds the peers; the zero Prefix: everybody.
	Client netip.Prefix `json:"client"`
	// Proto is the IP protocol number, 0 for any.
	Proto uint8 `json:"proto,omitempty"`
	// Netns is the inode number of the only network namespace to watch, 0 for all.
	Netns uint32 `json:"netns,omitempty"`
}

// Probe is one place and how it is watched, or why it is not.
type Probe struct {
	Place Place `json:"-"`
	// Name is the place's name.
	Name string `json:"place"`
	// Mechanism is tracepoint, fentry, fexit, kprobe or kretprobe; empty if the place is skipped.
	Mechanism string `json:"mechanism,omitempty"`
	// Symbol is the kernel symbol or tracepoint that was attached to.
	Symbol string `json:"symbol,omitempty"`
	// Why says why the place is skipped.
	Why string `json:"why,omitempty"`
}

// Attached reports whether the place is watched.
func (p Probe) Attached() bool { return p.Mechanism != "" }

// Totals are what the kernel half counted over a run.
type Totals struct {
	// Lost is the number of events that did not fit into the ring, or were not read.
	Lost uint64 `json:"lost"`
	// Unread is how many of them were not read, since the run had to end.
	Unread uint64 `json:"unread,omitempty"`
	// Missed is how often a probe was not run although its place was passed; nil where the kernel does not count.
	Missed *uint64 `json:"missed,omitempty"`
	// Untracked is the number of matching packets that could not be followed: too many at once.
	Untracked uint64 `json:"untracked"`
	// IPIP is the number of IPIP packets seen arriving, whether or not they matched.
	IPIP uint64 `json:"ipip"`
	// NotIPv4 is how many of them carried no IPv4 packet and had other addresses than those that carry the service's.
	NotIPv4 uint64 `json:"not_ipv4,omitempty"`
	// Inner counts arriving packets (of IPIP the inner header) that did not match, by destination; the most frequent first, at most ten.
	Inner []Destination `json:"inner,omitempty"`
}

// Destinations are Inner without what the kernel half counts twice: a packet that came in IPIP is seen again without it,
// on the tunnel's device.
func (t Totals) Destinations() []Destination {
	decapsulated := map[Destination]uint64{}
	for _, d := range t.Inner {
		if d.Tunnelled {
			n := d.Count
			d.Tunnelled, d.Count = false, 0
			decapsulated[d] += n
		}
	}
	var all []Destination
	for _, d := range t.Inner {
		if !d.Tunnelled {
			key := d
			key.Count = 0
			if d.Count <= decapsulated[key] {
				continue
			}
			d.Count -= decapsulated[key]
		}
		all = append(all, d)
	}
	return all
}

// Destination is where packets went that did not match.
type Destination struct {
	Addr     netip.Addr `json:"addr"`
	Port     uint16     `json:"port"`
	Protocol uint8      `json:"protocol"`
	// Tunnelled: the packets came in IPIP.
	Tunnelled bool   `json:"tunnelled"`
	Count     uint64 `json:"count"`
}
