package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/host"
)

// A scheduler is asked for each new connection (ip_vs_schedule). Most take some real server that is available; those
// that hash have one in mind, and where they may take no other the packet is lost although others are healthy.

// lack is why a real server takes no new connection.
type lack uint8

const (
	available lack = iota
	atRest         // weight 0
	isFull         // as many connections as its upper threshold, or with ovf its weight, allows
)

// lacks says why a scheduler passes over a real server; with ovf the weight is the number of connections, too.
func lacks(v *host.Service, d host.Destination) lack {
	switch {
	case d.Weight <= 0:
		return atRest
	case full(d), v.Scheduler == "ovf" && int64(d.Active) >= int64(d.Weight):
		return isFull
	}
	return available
}

// full reports whether a real server may take no new connection: it had as many as it may have, and has not fallen
// below the lower threshold since, or below three quarters (ip_vs_unbind_dest).
func full(d host.Destination) bool {
	n := uint64(d.Active) + uint64(d.Inactive)
	switch {
	case d.Upper == 0:
		return false
	case n >= uint64(d.Upper):
		return true
	case d.Lower != 0:
		return n >= uint64(d.Lower)
	}
	return n*4 >= uint64(d.Upper)*3
}

// tableBits is the size of the tables of sh and dh (CONFIG_IP_VS_SH_TAB_BITS, CONFIG_IP_VS_DH_TAB_BITS), as every
// distribution has it.
const tableBits = 8

// sourceTable is the table of sh: each real server fills as many buckets as it has weight, and one with weight 0, in
// turn (ip_vs_sh_reassign). Real servers behind the 256th have none.
func sourceTable(all []host.Destination) []*host.Destination {
	table := make([]*host.Destination, 0, 1<<tableBits)
	for len(all) > 0 {
		for i := range all {
			for range max(all[i].Weight, 1) {
				if len(table) == 1<<tableBits {
					return table
				}
				table = append(table, &all[i])
			}
		}
	}
	return table
}

// destinationTable is the table of dh: the real servers in turn, whatever their weights (ip_vs_dh_reassign).
func destinationTable(all []host.Destination) []*host.Destination {
	table := make([]*host.Destination, 0, 1<<tableBits)
	for i := 0; len(all) > 0 && i < 1<<tableBits; i++ {
		table = append(table, &all[i%len(all)])
	}
	return table
}

// bucket is that of an address and a port (ip_vs_sh_hashkey, ip_vs_dh_hashkey: hash_32, since 4.18).
func bucket(a netip.Addr, port uint16) int {
	const golden = 0x61c88647 // GOLDEN_RATIO_32
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	return int((n + uint32(port)) * golden >> (32 - tableBits))
}

// choice is what a scheduler may do with a packet.
type choice struct {
	// among are the real servers of which it takes one that is available, if there is one.
	among []*host.Destination
	// sticks: it takes one of them, available or not: that of the hash, if there is only one.
	sticks bool
}

// chooses is what the service's scheduler may do with the packet, if no template of persistence decides.
func chooses(v *host.Service, s Subject) choice {
	hashes := func(table []*host.Destination, at int) choice { return choice{table[at : at+1], true} }
	switch falls := v.Flags&host.ServiceFallback != 0; {
	case len(v.Destinations) == 0:
		return choice{}
	case v.Scheduler == "sh" && falls: // the whole table is searched (ip_vs_sh_get_fallback)
		table := sourceTable(v.Destinations)
		return choice{slices.DeleteFunc(pointers(v.Destinations), func(d *host.Destination) bool { return !slices.Contains(table, d) }), false}
	case v.Scheduler == "sh":
		port := s.Now.SrcPort
		if v.Flags&host.ServicePort == 0 {
			port = 0
		}
		return hashes(sourceTable(v.Destinations), bucket(s.Now.Inner.Src, port))
	case v.Scheduler == "dh":
		return hashes(destinationTable(v.Destinations), bucket(s.Now.Inner.Dst, 0))
	}
	// mh hashes with the weights that real servers had before they were at rest, which are nowhere to be read.
	return choice{pointers(v.Destinations), v.Scheduler == "mh" && v.Flags&host.ServiceFallback == 0}
}

func pointers(all []host.Destination) []*host.Destination {
	to := make([]*host.Destination, len(all))
	for i := range all {
		to[i] = &all[i]
	}
	return to
}

// refusal is why the service takes no new connection of the packet's.
type refusal struct {
	// by are the real servers that refuse, each for its lack.
	by []*host.Destination
	// hashed: the scheduler asks no other, although there may be. guessed: it may have asked another one.
	hashed, guessed bool
}

// refuses says whether the scheduler finds no real server for the packet because of that lack; ok is false if it finds one,
// or if none has that lack.
func refuses(v *host.Service, s Subject, why lack) (r refusal, ok bool) {
	c := chooses(v, s)
	lacking := func(l lack) (some []*host.Destination) {
		for _, d := range c.among {
			if lacks(v, *d) == l {
				some = append(some, d)
			}
		}
		return some
	}
	rest, busy, free := lacking(atRest), lacking(isFull), lacking(available)
	r = refusal{hashed: c.sticks && len(v.Destinations) > 1, guessed: len(free) > 0}
	switch {
	case len(free) > 0 && !c.sticks:
		return r, false
	case why == isFull:
		r.by = busy
	case len(busy) == 0 || r.guessed: // of those that are full it is said that they are
		r.by = rest
	}
	return r, len(r.by) > 0
}

// says is a sentence on a scheduler that hashes the packet to a real server that takes no new connection.
func (r refusal) says(v *host.Service, s Subject, lacks string) string {
	if r.guessed {
		return fmt.Sprintf("the scheduler %s asks one real server for each client, and no other where that one takes no new connections: %s %s", v.Scheduler, r.by[0].Addr, lacks)
	}
	whom := s.client().String()
	if v.Scheduler == "dh" {
		whom = "everybody"
	}
	return fmt.Sprintf("the scheduler %s asks for %s the real server %s alone, which %s, although there are others", v.Scheduler, whom, r.by[0].Addr, lacks)
}

// shows is the evidence for that sentence.
func (r refusal) shows(v *host.Service, s Subject) []evidence {
	first := by(host.PartIPVS, "ipvsadm -Ln: %s %s", called(v), v.Scheduler)
	if r.guessed {
		return []evidence{first}
	}
	hashed := s.Now.Inner.Src
	if v.Scheduler == "dh" {
		hashed = s.Now.Inner.Dst
	}
	return []evidence{first, by(host.PartIPVS, "the hash of %s: -> %s", hashed, r.by[0].Addr)}
}

// helped reports whether a fallback would help: the scheduler has such a flag, and another real server is available.
func (r refusal) helped(v *host.Service) bool {
	return r.hashed && (v.Scheduler == "sh" || v.Scheduler == "mh") &&
		slices.ContainsFunc(v.Destinations, func(d host.Destination) bool { return lacks(v, d) == available })
}
