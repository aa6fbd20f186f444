package read

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// TestTemplatesOfPersistenceAreKept: they explain what becomes of a client, however many connections there are.
func TestTemplatesOfPersistenceAreKept(t *testing.T) {
	dir := t.TempDir()
	lines := "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
	for i := range 2 * maxConnections {
		lines += fmt.Sprintf("TCP 0A000007 %04X 0A630001 0050 0A00000%s 0050 SYN_RECV         60\n", 1000+i, []string{"B", "C"}[i%2])
	}
	lines += "TCP 0A000007 0000 0A630001 0050 0A00000C 0050 NONE        300\n"
	net := filepath.Join(dir, "proc/thread-self/net")
	if err := os.MkdirAll(net, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(net, "ip_vs_conn"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParseAddr("10.99.0.1")
	service := host.Service{Proto: 6, Addr: netip.AddrPortFrom(vip, 80), Destinations: []host.Destination{{Addr: netip.MustParseAddrPort("10.0.0.11:80")}}}
	r := &reader{ctx: t.Context(), files: root(dir), options: Options{VIPs: []netip.Addr{vip}}, s: &host.Snapshot{IPVS: &host.IPVS{Services: []host.Service{service}}}}
	if err := r.ipvsConnections(); err != nil {
		t.Fatal(err)
	}
	v := r.s.IPVS
	if len(v.Conns) != maxConnections+1 || v.MoreConns != maxConnections || v.Conns[0].Client.Port() != 0 || strings.Contains(v.Conns[1].Dest.String(), "10.0.0.11") {
		t.Errorf("%d connections and %d more, first %+v, %+v", len(v.Conns), v.MoreConns, v.Conns[0], v.Conns[1])
	}
}
