package read

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"

	"ipiptrace/internal/host"
)

func TestWhatNetlinkSaysOfAServiceIsRead(t *testing.T) {
	word := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	rip := netip.MustParseAddrPort("10.0.0.11:80")
	s := service{&host.Service{Scheduler: "sh", Timeout: 90, Destinations: []host.Destination{{Addr: rip, Method: "tunnel"}}}}
	s.settings(attributes{
		svcFlags: append(word(host.ServicePersistent|host.ServiceFallback), word(0xffffffff)...), svcTimeout: word(360),
		svcNetmask: {255, 255, 255, 0}, svcEngine: []byte("sip\x00"),
	})
	detail(&s.Destinations[0], attributes{
		destAddr: {10, 0, 0, 11}, destPort: {0, 80}, destUpper: word(9), destLower: word(3), destPersistent: word(2),
		destTunType: {1}, destTunPort: {0x17, 0xc0}, destTunFlags: binary.NativeEndian.AppendUint16(nil, 1),
	})
	want := host.Service{
		Scheduler: "sh", Flags: host.ServicePersistent | host.ServiceFallback, Timeout: 360, Netmask: netip.MustParseAddr("255.255.255.0"), Engine: "sip",
		Destinations: []host.Destination{{Addr: rip, Method: "tunnel", TunType: "gue", TunPort: 6080, TunFlags: 1, Upper: 9, Lower: 3, Persistent: 2}},
	}
	if !reflect.DeepEqual(*s.Service, want) {
		t.Errorf("%+v\nwant %+v", *s.Service, want)
	}
	s.settings(attributes{svcFlags: word(host.ServiceOnePacket), svcTimeout: word(360)})
	if s.Timeout != 0 || s.Flags != host.ServiceOnePacket {
		t.Errorf("without persistence: timeout %d, flags %#x", s.Timeout, s.Flags)
	}
}
