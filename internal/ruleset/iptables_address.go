package ruleset

import (
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// within compares an address, which may not be known, with a network.
func within(prefix string, a netip.Addr) match {
	if !a.IsValid() {
		return may
	}
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		one, err := netip.ParseAddr(prefix)
		if err != nil {
			return masked(prefix, a)
		}
		return is(one == a)
	}
	return is(p.Contains(a))
}

// masked compares with an address and a netmask that is no prefix: 10.0.0.1/255.0.0.255.
func masked(text string, a netip.Addr) match {
	of, mask, _ := strings.Cut(text, "/")
	want, err1 := netip.ParseAddr(of)
	bits, err2 := netip.ParseAddr(mask)
	if err1 != nil || err2 != nil || !want.Is4() || !bits.Is4() || !a.Is4() {
		return may
	}
	return is(asNumber(a)&asNumber(bits) == asNumber(want))
}

func inRange(text string, a netip.Addr) match {
	from, to, ok := strings.Cut(text, "-")
	first, err1 := netip.ParseAddr(from)
	last, err2 := netip.ParseAddr(to)
	if !ok || err1 != nil || err2 != nil || !a.IsValid() {
		return may
	}
	return is(first.Compare(a) <= 0 && a.Compare(last) <= 0)
}

// addrType compares with "LOCAL,BROADCAST".
func (e *evaluation) addrType(list string, a netip.Addr) match {
	if !e.s.Knows(host.PartRoutes) || !a.IsValid() {
		return may
	}
	return is(slices.Contains(strings.Split(strings.ToLower(list), ","), e.addrTypeOf(a, "")))
}

// addrTypeOf is an address's type, looked up once a packet.
func (e *evaluation) addrTypeOf(a netip.Addr, dev string) string {
	asked := addressOn{a, dev}
	kind, known := e.types[asked]
	if !known {
		kind = e.s.AddrType(a, dev)
		if e.types == nil {
			e.types = map[addressOn]string{}
		}
		e.types[asked] = kind
	}
	return kind
}

// addressOn is an address as a device has it.
type addressOn struct {
	addr netip.Addr
	dev  string
}
