package host

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

// TestIndexFindsWhatAllRoutesHave: a lookup by the index answers as one that looks at each route, also once the routes were
// changed in a copy.
func TestIndexFindsWhatAllRoutesHave(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(rnd.IntN(2)), byte(rnd.IntN(4)), byte(rnd.IntN(16))})
	}
	for range 200 {
		s := &Snapshot{
			Links: []Link{{Index: 1, Name: "lo", Up: true}, {Index: 2, Name: "eth0", Up: true}},
			Rules: []Rule{{Priority: 0, Action: "lookup", Table: 255, Suppress: -1}, {Priority: 32766, Action: "lookup", Table: 254, Suppress: -1}},
		}
		for range 1 + rnd.IntN(12) {
			r := Route{Table: []uint32{254, 255}[rnd.IntN(2)], Type: []string{"unicast", "local", "blackhole"}[rnd.IntN(3)], Priority: uint32(rnd.IntN(2)), TOS: []uint8{0, 0, 16}[rnd.IntN(3)]}
			r.Dst = netip.PrefixFrom(address(), []int{0, 8, 16, 22, 24, 28, 32}[rnd.IntN(7)])
			r.Hops = []Hop{{Link: uint32(1 + rnd.IntN(2)), Dead: rnd.IntN(4) == 0}}
			s.Routes = append(s.Routes, r)
		}
		own := *s
		own.Index()
		changed := own
		changed.Routes = slices.Clone(own.Routes)[:len(own.Routes)-1]
		shorter := *s
		shorter.Routes = changed.Routes
		for range 20 {
			f := Flow{Dst: address()}
			if got, want := own.Route(f), s.Route(f); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: got %+v, want %+v", f.Dst, got, want)
			}
			if got, want := changed.Route(f), shorter.Route(f); !reflect.DeepEqual(got, want) {
				t.Fatalf("changed, %s: got %+v, want %+v", f.Dst, got, want)
			}
		}
	}
}
