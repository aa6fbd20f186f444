package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// onTheWire is a machine whose service's address is the first of its only device, and whose own is a later one of that network.
func onTheWire(changes ...func(*host.Snapshot)) *host.Snapshot {
	net, gateway := netip.MustParsePrefix("10.0.5.0/24"), netip.MustParseAddr("10.0.5.2")
	s := supposedServer(addressed(2, "10.0.5.100/24"), addressed(2, "10.0.5.11/24"))
	s.Addrs, s.Routes = s.Addrs[2:], s.Routes[3:]
	s.Routes = append(s.Routes,
		host.Route{Table: tableMain, Dst: net, Type: "unicast", Protocol: 2, Hops: []host.Hop{{Link: 2}}},
		host.Route{Table: tableMain, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: "unicast", Hops: []host.Hop{{Link: 2, Gateway: gateway}}})
	for _, change := range changes {
		change(s)
	}
	return s
}

// TestAVIPOnTheWireKeepsItsPrefix: the network is there, and the way back to its clients is right.
func TestAVIPOnTheWireKeepsItsPrefix(t *testing.T) {
	q := request()
	q.Service, q.Client = netip.MustParseAddrPort("10.0.5.100:80"), netip.MustParseAddrPort("10.0.5.77:50000")
	q.OuterSrc, q.OuterDst = netip.MustParseAddr("10.0.5.2"), netip.MustParseAddr("10.0.5.11")
	for what, s := range map[string]*host.Snapshot{
		"beside the host's own": onTheWire(),
		"as its only address":   onTheWire(func(s *host.Snapshot) { s.Addrs = s.Addrs[:1] }),
	} {
		found, _ := examined1(q, s)
		for _, line := range saidOf(found) {
			if strings.Contains(line, "vip-wrong-prefix") || strings.Contains(line, "ip addr del") {
				t.Errorf("%s: %s", what, line)
			}
		}
	}
}

// TestNoRepairCutsTheHostOff: what takes a device's last address takes its routes.
func TestNoRepairCutsTheHostOff(t *testing.T) {
	first, later := netip.MustParsePrefix("10.0.5.100/24"), netip.MustParsePrefix("10.0.5.11/24")
	narrow := func(p netip.Prefix) func(*State) {
		return together(takeAddress(p, 2), giveAddress(p.Addr(), "eth0"))
	}
	for what, test := range map[string]struct {
		mend func(*State)
		s    *host.Snapshot
		cuts bool
	}{
		"all of its addresses as /32":           {together(narrow(later), narrow(first)), onTheWire(), true},
		"the first, and later ones go with it":  {takeAddress(first, 2), onTheWire(), true},
		"the first, and later ones come back":   {together(takeAddress(first, 2), givePrefix(first, "eth0"), givePrefix(later, "eth0")), onTheWire(), true},
		"the first as /32, later ones promoted": {narrow(first), onTheWire(set("net/ipv4/conf/eth0/promote_secondaries", "1")), false},
		"a later one as /32":                    {narrow(later), onTheWire(), false},
		"one more":                              {giveAddress(vip, "eth0"), onTheWire(), false},
		"the default route": {func(st *State) {
			st.whole.Routes = slices.Clone(st.whole.Routes[:len(st.whole.Routes)-1])
		}, onTheWire(), true},
		"an address of a tunnel": {takeAddress(netip.PrefixFrom(vip, 32), 3), realServer(), false},
	} {
		if got := stateOf(test.s, nil).cutsOff(test.mend); got != test.cuts {
			t.Errorf("%s: cuts off %v, want %v", what, got, test.cuts)
		}
	}
	f := finding{fix: addAddress(vip, "lo"), mend: takeAddress(first, 2)}
	if f = f.unharmed(stateOf(onTheWire(), nil)); f.mend != nil || !strings.Contains(f.said(), "no command: it would take an address of this host") {
		t.Errorf("a repair that cuts this host off is printed: %s", f.said())
	}
}
