package read

import (
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
)

// TestASocketThatMayTakeAPacketIsReadBesideManyConnections has more connections than are kept, and UDP come after TCP.
func TestASocketThatMayTakeAPacketIsReadBesideManyConnections(t *testing.T) {
	at := netip.MustParseAddrPort("10.99.0.1:80")
	r := reader{
		ctx: t.Context(), files: rootOf(t, nil), options: Options{VIPs: []netip.Addr{at.Addr()}}, modules: modules{any: true}, s: &host.Snapshot{},
		kernel: kernel{sockets: func(proto string) (all []host.Socket, err error) {
			for range 2 * maxSockets {
				all = append(all, host.Socket{Proto: proto, Local: at, Remote: netip.MustParseAddrPort("10.0.0.7:4000"), State: "established"})
			}
			return append(all, host.Socket{Proto: proto, Local: at, State: map[string]string{"tcp": "listen", "udp": "close"}[proto]}), nil
		}},
	}
	if err := r.sockets(); err != nil || len(r.s.Sockets) != maxSockets+2 {
		t.Fatalf("%v, %d sockets", err, len(r.s.Sockets))
	}
	for _, proto := range []string{"tcp", "udp"} {
		if serving, _ := r.s.Serves(proto, at, nil); len(serving) != 1 {
			t.Errorf("%s is served by %+v", proto, serving)
		}
	}
}
