package host

import (
	"iter"
	"net/netip"
	"slices"
)

// index finds devices, and the routes to a destination, without a look at each. It is of one slice of either: a state in which
// that is another one has none.
type index struct {
	links []Link
	at    map[uint32]*Link
	named map[string]*Link
	of    []Route
	// lengths are those of the prefixes that there are.
	lengths []int
	routes  map[netip.Prefix][]*Route
}

// Index has lookups in this state, and in copies of it, take a step for a device, and one for each length of a prefix, where
// they would take one for each device and route.
func (s *Snapshot) Index() {
	x := &index{
		links: s.Links, at: make(map[uint32]*Link, len(s.Links)), named: make(map[string]*Link, len(s.Links)),
		of: s.Routes, routes: make(map[netip.Prefix][]*Route, len(s.Routes)),
	}
	for i := range slices.Backward(s.Links) { // of two with one name the first counts
		x.at[s.Links[i].Index], x.named[s.Links[i].Name] = &s.Links[i], &s.Links[i]
	}
	for i := range s.Routes {
		r := &s.Routes[i]
		dst := r.Dst.Masked()
		if x.routes[dst] = append(x.routes[dst], r); !slices.Contains(x.lengths, dst.Bits()) {
			x.lengths = append(x.lengths, dst.Bits())
		}
	}
	s.index = x
}

// indexed reports whether the index is of these routes, linked whether it is of these devices.
func (s *Snapshot) indexed() bool { return s.index != nil && same(s.index.of, s.Routes) }

func (s *Snapshot) linked() bool { return s.index != nil && same(s.index.links, s.Links) }

// same reports whether two slices are one.
func same[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// routesTo are the routes whose prefix has the address.
func (s *Snapshot) routesTo(dst netip.Addr) iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		if !s.indexed() {
			for i := range s.Routes {
				if r := &s.Routes[i]; r.Dst.Contains(dst) && !yield(r) {
					return
				}
			}
			return
		}
		for _, bits := range s.index.lengths {
			p, err := dst.Prefix(bits)
			if err != nil {
				continue
			}
			for _, r := range s.index.routes[p] {
				if !yield(r) {
					return
				}
			}
		}
	}
}
