package host

import (
	"maps"
	"slices"
)

// Only is the state with the named parts alone: its reader cannot use another part by mistake. The parts themselves are not
// copied. Conntrack, sockets and counters keep the fields that say how they were read.
func (s *Snapshot) Only(parts ...Part) *Snapshot {
	own := &Snapshot{Begun: s.Begun, Done: s.Done, Netns: s.Netns, Initial: s.Initial, Name: s.Name, Path: s.Path}
	for _, u := range s.Unread {
		if u.Part == PartAll || slices.Contains(parts, u.Part) {
			own.Unread = append(own.Unread, u)
		}
	}
	for _, p := range parts {
		if take, ok := takes[p]; ok {
			take(own, s)
		}
	}
	return own
}

// Parts are all parts that can be read, or not.
func Parts() []Part { return slices.Sorted(maps.Keys(takes)) }

// takes copies each part from one state to another.
var takes = map[Part]func(to, from *Snapshot){
	PartLinks:      func(to, from *Snapshot) { to.Links = from.Links },
	PartAddrs:      func(to, from *Snapshot) { to.Addrs = from.Addrs },
	PartRoutes:     func(to, from *Snapshot) { to.Routes, to.index = from.Routes, from.index },
	PartRules:      func(to, from *Snapshot) { to.Rules = from.Rules },
	PartNeighbours: func(to, from *Snapshot) { to.Neighbours = from.Neighbours },
	PartExceptions: func(to, from *Snapshot) { to.Exceptions = from.Exceptions },
	PartSysctls:    func(to, from *Snapshot) { to.Sysctls = from.Sysctls },
	PartModules:    func(to, from *Snapshot) { to.Modules, to.Absent, to.LSMs = from.Modules, from.Absent, from.LSMs },
	PartNft:        func(to, from *Snapshot) { to.Nft, to.NftOutline, to.Hooks = from.Nft, from.NftOutline, from.Hooks },
	PartIPTables:   func(to, from *Snapshot) { to.IPTables = from.IPTables },
	PartSockets:    func(to, from *Snapshot) { to.Sockets, to.Coarse = from.Sockets, from.Coarse },
	PartConntrack:  func(to, from *Snapshot) { to.Conntrack = from.Conntrack },
	PartIPVS:       func(to, from *Snapshot) { to.IPVS = from.IPVS },
	PartXFRM:       func(to, from *Snapshot) { to.XFRM = from.XFRM },
	PartFilters:    func(to, from *Snapshot) { to.Qdiscs, to.Filters = from.Qdiscs, from.Filters },
	PartCgroups:    func(to, from *Snapshot) { to.Cgroups = from.Cgroups },
	PartFOU:        func(to, from *Snapshot) { to.FOU = from.FOU },
	PartQueues:     func(to, from *Snapshot) { to.Queues = from.Queues },
	PartLookups:    func(to, from *Snapshot) { to.Lookups = from.Lookups },
	PartCounters: func(to, from *Snapshot) {
		to.Counters, to.Compared, to.Risen = from.Counters, from.Compared, from.Risen
	},
}
