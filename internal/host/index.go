package host

import (
	"iter"
	"net/netip"
	"slices"
)

// routeIndex finds the routes to a destination without a look at every route of a router. It is of one slice of routes: a
// state whose routes were changed has none.
type routeIndex struct {
	of []Route
	// lengths are those of the prefixes that there are.
	lengths []int
	routes  map[netip.Prefix][]*Route
}

// Index has lookups in this state, and in copies of it, take a step for each length of a prefix, and not for each route.
func (s *Snapshot) Index() {
	x := &routeIndex{of: s.Routes, routes: make(map[netip.Prefix][]*Route, len(s.Routes))}
	for i := range s.Routes {
		r := &s.Routes[i]
		dst := r.Dst.Masked()
		if x.routes[dst] = append(x.routes[dst], r); !slices.Contains(x.lengths, dst.Bits()) {
			x.lengths = append(x.lengths, dst.Bits())
		}
	}
	s.index = x
}

// indexed reports whether the index is of these routes.
func (s *Snapshot) indexed() bool {
	x := s.index
	return x != nil && len(x.of) == len(s.Routes) && (len(x.of) == 0 || &x.of[0] == &s.Routes[0])
}

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
