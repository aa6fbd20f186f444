package doctor

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// large is a machine with very much of everything; n is a hundredth of it.
func large(n int) *host.Snapshot {
	directed := netip.MustParseAddr("10.99.0.2")
	return machine(func(s *host.Snapshot) {
		s.Addrs = append(s.Addrs, host.Addr{Link: 1, Prefix: netip.PrefixFrom(directed, 32)})
		s.Routes = append(s.Routes, host.Route{Table: 255, Dst: netip.PrefixFrom(directed, 32), Type: "local", Protocol: 2, Hops: []host.Hop{{Link: 1}}})
		route, from, to := netip.MustParseAddr("11.0.0.1"), netip.MustParseAddr("12.0.0.1"), netip.MustParseAddr("13.0.0.1")
		chain := host.NftChain{Name: "in", Hook: "input", Type: "filter", Policy: "accept"}
		for i := range 500 * n {
			s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.PrefixFrom(route, 32), Type: "unicast", Hops: []host.Hop{{Link: 2, Gateway: netip.MustParseAddr("10.0.0.1")}}})
			chain.Rules = append(chain.Rules, host.NftRule{Handle: uint64(i + 2), Text: fmt.Sprintf("ip saddr %s tcp dport 80 drop", from), Exprs: []json.RawMessage{
				json.RawMessage(fmt.Sprintf(`{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":%q}}`, from)),
				json.RawMessage(`{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":80}}`), json.RawMessage(`{"drop":null}`),
			}})
			route, from = route.Next(), from.Next()
		}
		s.Nft = append(s.Nft, host.NftTable{Family: "inet", Name: "large", Chains: []host.NftChain{chain}})
		for i := range 50 * n {
			s.Links = append(s.Links, host.Link{Index: uint32(10 + i), Name: fmt.Sprintf("d%d", i), Type: "dummy"})
		}
		v := host.Service{Proto: 6, Addr: netip.AddrPortFrom(directed, 80), Scheduler: "rr"}
		for range 100 * n {
			v.Destinations = append(v.Destinations, host.Destination{Addr: netip.AddrPortFrom(to, 80), Method: "tunnel", TunType: "ipip", Weight: 1})
			to = to.Next()
		}
		s.IPVS = &host.IPVS{Services: []host.Service{v}}
		for i := range 200 * n {
			s.Sockets = append(s.Sockets, host.Socket{Proto: "tcp", State: "listen", Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 81), SendQueue: 128, Unbound: true})
		}
	})
}

func BenchmarkExamine(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		s := large(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				r := Examine(s, Options{VIPs: []netip.Addr{vip, netip.MustParseAddr("10.99.0.2")}, Ports: []uint16{80}, Client: client, Director: director})
				if r.Faults() > 0 {
					b.Fatalf("%+v", r.Findings)
				}
			}
		})
	}
}

// TestWhatIsNotSupposedIsUnread: of a hundred real servers not all are sent a packet, and that is said.
func TestWhatIsNotSupposedIsUnread(t *testing.T) {
	r := Examine(large(1), Options{VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.2")}, Ports: []uint16{80}, Client: client})
	if got := said(r, "neighbour-failed"); !strings.Contains(got, "what is sent to 36 of the real servers was not asked about") || r.Faults() > 0 {
		t.Errorf("%d faults, and %q", r.Faults(), got)
	}
	if got := said(r, "ipvs-no-route"); got != "" {
		t.Errorf("all routes were asked for, and it says %q", got)
	}
}

// TestAskingCostsAsMuchAsThereIs: what is asked of many packets is unpacked once, and a machine four times as large costs no more
// than that. Bytes are the same everywhere; of time the thread's own is taken, which others do not lengthen.
func TestAskingCostsAsMuchAsThereIs(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cost := func(n int) (bytes uint64, took time.Duration) {
		s := large(n)
		var before, after runtime.MemStats
		var from, to unix.Timespec
		runtime.ReadMemStats(&before)
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &from)
		Examine(s, Options{VIPs: []netip.Addr{vip, netip.MustParseAddr("10.99.0.2")}, Ports: []uint16{80, 81}})
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &to)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc, time.Duration(to.Nano() - from.Nano())
	}
	small, short := cost(4)
	big, long := cost(16)
	again, took := cost(4)
	small, short = min(small, again), max(short, took)
	t.Logf("2,000 rules and routes: %d KiB, %v; 8,000: %d KiB, %v", small>>10, short, big>>10, long)
	if most := uint64(160 << 20); big > most || big > 4*small {
		t.Errorf("%d bytes for 8,000 rules and routes, at most %d; %d for a quarter of them", big, most, small)
	}
	if long > 8*short {
		t.Errorf("%v for 8,000 rules and routes, %v for a quarter of them", long, short)
	}
}
