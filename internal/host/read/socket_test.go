package read

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

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

// TestKeysAreToldWithThePeersThatSign reads a listener as inet_diag tells it: with one key, for a network, or without the right to
// be told.
func TestKeysAreToldWithThePeersThatSign(t *testing.T) {
	attribute := func(kind uint16, value []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
		return append(binary.NativeEndian.AppendUint16(b, kind), value...)
	}
	listener := make([]byte, diagMsgSize)
	listener[0], listener[1] = unix.AF_INET, tcpListen
	key := make([]byte, 100)
	copy(key, []byte{unix.AF_INET, 24, 3, 0, 10, 0, 0, 0})
	mark := attribute(diagMark, make([]byte, 4))
	for what, test := range map[string]struct {
		attributes []byte
		want       host.Socket
	}{
		"a key":     {append(attribute(diagMD5, key), mark...), host.Socket{MD5: true, Signs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}},
		"no key":    {mark, host.Socket{}},
		"no rights": {nil, host.Socket{KeysUntold: true}},
	} {
		s, ok := socketOf("tcp", append(slices.Clone(listener), test.attributes...))
		if !ok || s.MD5 != test.want.MD5 || s.KeysUntold != test.want.KeysUntold || !slices.Equal(s.Signs, test.want.Signs) {
			t.Errorf("%s: %+v", what, s)
		}
	}
}
