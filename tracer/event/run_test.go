package event

import (
	"net/netip"
	"slices"
	"testing"
)

// TestWhatCameByATunnelIsNotCountedAsDirect: the tunnel's device shows each of its packets a second time.
func TestWhatCameByATunnelIsNotCountedAsDirect(t *testing.T) {
	to := func(port uint16, tunnelled bool, n uint64) Destination {
		return Destination{Addr: netip.MustParseAddr("10.99.0.1"), Port: port, Protocol: 6, Tunnelled: tunnelled, Count: n}
	}
	seen := Totals{Inner: []Destination{
		to(80, false, 4), to(80, true, 4), // all by the tunnel
		to(81, true, 4), to(81, false, 6), // two came without it
		to(82, true, 4), to(82, false, 3), // one was lost between
		to(83, false, 5), // none by the tunnel
	}}
	want := []Destination{to(80, true, 4), to(81, true, 4), to(81, false, 2), to(82, true, 4), to(83, false, 5)}
	if got := seen.Destinations(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
