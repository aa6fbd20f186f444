package ruleset

// possible are all that a number of the packet may be, from the first to the last: one, if it is known.
type possible struct{ first, last uint64 }

func exactly(n uint64) possible { return possible{n, n} }

// compared says whether all of them, some or none hold, of a condition that holds of one stretch of numbers, or of all outside.
func (v possible) compared(holds func(uint64) bool, edges ...uint64) match {
	all, none := yes, yes
	for _, n := range append(edges, v.first, v.last) {
		if n < v.first || n > v.last {
			continue
		}
		if holds(n) {
			none = no
		} else {
			all = no
		}
	}
	switch {
	case none == yes:
		return no
	case all == yes:
		return yes
	}
	return may
}

// span compares with the numbers from one to another.
func (v possible) span(from, to uint64) match {
	return v.compared(func(n uint64) bool { return from <= n && n <= to }, from, to)
}

// ttl is the TTL: of a packet that somebody else would send any that comes here.
func (p Packet) ttl() possible {
	if p.Invented {
		return possible{1, 255}
	}
	return exactly(uint64(p.TTL))
}

// length is the IP packet's: no shorter than its headers.
func (p Packet) length() possible {
	if !p.Invented {
		return exactly(uint64(p.Length))
	}
	headers := map[uint8]uint64{4: 48, 6: 40, 17: 28, 1: 28}
	return possible{max(20, headers[p.Proto]), 65535}
}

// sport and dport are its ports. Clients choose none of the well-known ones (RFC 6056).
func (p Packet) sport() possible {
	if p.AnyPort && !p.Answer {
		return possible{1024, 65535}
	}
	return exactly(uint64(p.Sport))
}

func (p Packet) dport() possible {
	if p.AnyPort && p.Answer {
		return possible{1024, 65535}
	}
	return exactly(uint64(p.Dport))
}

// hasLength reports whether more is known of the length than that there is one.
func (p Packet) hasLength() bool { return p.Length != 0 || p.Invented }

// fromService reports whether the service's address and port are those that it comes from.
func (p Packet) fromService() bool { return p.Answer || p.Hook == "output" || p.Hook == "postrouting" }
