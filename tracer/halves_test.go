package tracer

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"ipiptrace/tracer/event"
)

// The kernel half's numbers and layouts are those of its committed object: what it was compiled from says its BTF.

func ofObject[T btf.Type](t *testing.T, name string) (found T) {
	t.Helper()
	spec, err := loadIpiptrace()
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Types.TypeByName(name, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// otherNames are the places that people call otherwise than bpf/event.h does.
var otherNames = map[string]event.Place{
	"PLACE_NONE":          event.NoPlace,
	"PLACE_GRO_MERGED":    event.GroMerged,
	"PLACE_TCP_TIMEWAIT":  event.TCPTimewait,
	"PLACE_UDP_QUEUE_RCV": event.UDPQueueRcv,
	"PLACE_SEND_RESET":    event.SendReset,
}

func TestBothHalvesAgreeOnPlaces(t *testing.T) {
	for _, v := range ofObject[*btf.Enum](t, "place").Values {
		want, ok := otherNames[v.Name]
		if !ok {
			want, ok = event.PlaceNamed(strings.ToLower(strings.TrimPrefix(v.Name, "PLACE_")))
		}
		if !ok || v.Value != uint64(want) {
			t.Errorf("%s is %d in bpf/event.h and %d (%s) in tracer/event", v.Name, v.Value, want, want)
		}
	}
}

func TestBothHalvesAgreeOnNumbers(t *testing.T) {
	for enum, want := range map[string]map[string]uint64{
		"event_flag":   {"EVENT_FIRST": flagFirst, "EVENT_RETURN": flagReturn, "EVENT_REUSED": flagReused},
		"section_type": {"SECTION_PACKET": sectionPacket, "SECTION_DROP": sectionDrop},
		"packet_flag": {
			"PACKET_TUNNELLED": packetTunnelled, "PACKET_QUOTED": packetQuoted, "PACKET_FLOW": packetFlow,
			"PACKET_PORTS": packetPorts, "PACKET_OPTIONS": packetOptions, "PACKET_NO_INNER": packetNoInner,
			"PACKET_FOU": packetFOU,
		},
		"ip_vs_method": {
			"IP_VS_METHOD_NAT": uint64(event.MethodNAT), "IP_VS_METHOD_LOCAL": uint64(event.MethodLocal),
			"IP_VS_METHOD_TUNNEL": uint64(event.MethodTunnel), "IP_VS_METHOD_DIRECT": uint64(event.MethodDirect),
			"IP_VS_METHOD_BYPASS": uint64(event.MethodBypass),
		},
		"tcp_refusal": {
			"TCP_REFUSAL_UNSAID": uint64(event.RefusalUnsaid), "TCP_REFUSAL_PAWS": uint64(event.RefusalPaws),
			"TCP_REFUSAL_SEQUENCE": uint64(event.RefusalSequence),
		},
		"nft_decides": {"NFT_ALWAYS": nftAlways, "NFT_IMMEDIATE": nftImmediate},
	} {
		got := map[string]uint64{}
		for _, v := range ofObject[*btf.Enum](t, enum).Values {
			got[v.Name] = v.Value
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("enum %s is %v in bpf/, %v here", enum, got, want)
		}
	}
}

// laid is a record that is written where the object's BTF has the members, so that decode.go's offsets are held
// against the layout that the kernel half was compiled with.
type laid struct {
	t *testing.T
	b []byte
}

// part is a struct of the kernel half within a record.
type part struct {
	laid
	at int
	of *btf.Struct
}

func (l laid) part(at int, name string) part {
	return part{l, at, ofObject[*btf.Struct](l.t, name)}
}

// offset is where a member begins.
func (p part) offset(member string) int {
	p.t.Helper()
	for _, m := range p.of.Members {
		if m.Name == member {
			return p.at + int(m.Offset.Bytes())
		}
	}
	p.t.Fatalf("struct %s has no member %s", p.of.Name, member)
	return 0
}

// put writes a member in the byte order, as wide as the number is.
func (p part) put(order binary.ByteOrder, member string, number any) {
	p.t.Helper()
	b, err := binary.Append(nil, order, number)
	if err != nil {
		p.t.Fatal(err)
	}
	copy(p.b[p.offset(member):], b)
}

func (p part) header(h event.Header) {
	be := binary.BigEndian
	p.put(be, "saddr", h.Src.As4())
	p.put(be, "daddr", h.Dst.As4())
	p.put(be, "id", h.ID)
	p.put(be, "len", h.Len)
	p.put(be, "frag", h.Frag)
	p.put(be, "ttl", h.TTL)
	p.put(be, "protocol", h.Protocol)
}

func TestBothHalvesAgreeOnLayouts(t *testing.T) {
	for name, want := range map[string]int{"event": eventSize, "packet_section": packetSize, "drop_section": dropSize} {
		if size := ofObject[*btf.Struct](t, name).Size; int(size) != want {
			t.Errorf("struct %s has %d bytes, decode.go takes %d", name, size, want)
		}
	}
	outer := event.Header{Src: netip.MustParseAddr("10.0.0.2"), Dst: netip.MustParseAddr("10.0.0.11"), ID: 0x1122, Len: 0x3344, Frag: 0x5566, TTL: 0x77, Protocol: 17, SrcPort: 0x2324, DstPort: 0x2526, FOU: true}
	inner := event.Header{Src: netip.MustParseAddr("10.0.0.7"), Dst: netip.MustParseAddr("10.99.0.1"), ID: 0x2233, Len: 0x4455, Frag: 0x6677, TTL: 0x88, Protocol: 1}
	want := event.Event{
		Place: event.KfreeSkb, First: true, Reused: true, Value: 5, Time: 0x0102030405060708, Skb: 0x1112131415161718,
		Seen: 0x2122232425262728, ID: 0x3132333435363738, Peer: 0x4142434445464748, Netns: 0x51525354, Ifindex: 0x61626364, CPU: 0x71727374, Aux: 0x01828384,
		Packet: &event.Packet{
			Dev: "tunl0", Outer: &outer, Inner: inner, HasPorts: true, SrcPort: 0x0910, DstPort: 0x0a11, Seq: 0x0b121314, Ack: 0x0c151617,
			TCPFlags: 0x18, ICMPType: 0x19, ICMPCode: 0x1a, UDPLen: 0x1b1c, Segments: 0x1d1e, SkbLen: 0x1f202122,
		},
		Drop: &event.Drop{Function: "0x300", Symbol: "0x300", Reason: "IP_RPFILTER", Stack: []string{"0x100", "0x200"}},
	}

	le, be := binary.LittleEndian, binary.BigEndian
	l := laid{t, make([]byte, eventSize+packetSize+dropSize)}
	e := l.part(0, "event")
	e.put(le, "size", uint16(len(l.b)))
	e.put(le, "place", uint8(want.Place))
	e.put(le, "flags", uint8(flagFirst|flagReused))
	e.put(le, "value", want.Value)
	e.put(le, "time", uint64(want.Time))
	e.put(le, "skb", want.Skb)
	e.put(le, "seen", uint64(want.Seen))
	e.put(le, "id", want.ID)
	e.put(le, "peer", want.Peer)
	e.put(le, "netns", want.Netns)
	e.put(le, "ifindex", want.Ifindex)
	e.put(le, "cpu", want.CPU)
	e.put(le, "aux", want.Aux)

	p := l.part(eventSize, "packet_section")
	s := l.part(p.offset("section"), "section")
	s.put(le, "type", uint16(sectionPacket))
	s.put(le, "size", uint16(packetSize))
	s.put(le, "flags", uint32(packetTunnelled|packetPorts|packetFOU))
	copy(l.b[p.offset("dev"):], want.Packet.Dev)
	l.part(p.offset("outer"), "ip_header").header(outer)
	l.part(p.offset("inner"), "ip_header").header(inner)
	p.put(be, "sport", want.Packet.SrcPort)
	p.put(be, "dport", want.Packet.DstPort)
	p.put(be, "seq", want.Packet.Seq)
	p.put(be, "ack", want.Packet.Ack)
	p.put(be, "tcp_flags", uint8(want.Packet.TCPFlags))
	p.put(be, "icmp_type", want.Packet.ICMPType)
	p.put(be, "icmp_code", want.Packet.ICMPCode)
	p.put(be, "udp_len", want.Packet.UDPLen)
	p.put(le, "segments", want.Packet.Segments)
	p.put(le, "skb_len", want.Packet.SkbLen)
	p.put(be, "outer_sport", outer.SrcPort)
	p.put(be, "outer_dport", outer.DstPort)

	d := l.part(eventSize+packetSize, "drop_section")
	s = l.part(d.offset("section"), "section")
	s.put(le, "type", uint16(sectionDrop))
	s.put(le, "size", uint16(dropSize))
	d.put(le, "location", uint64(0x300))
	d.put(le, "depth", uint64(2))
	d.put(le, "stack", [2]uint64{0x100, 0x200})

	decoder := decoder{symbols: &symbols{proc: t.TempDir()}, reasons: map[uint32]string{5: "IP_RPFILTER"}}
	got, err := decoder.decode(l.b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decoded\n%+v %+v %+v, want\n%+v %+v %+v", got, got.Packet, got.Drop, want, want.Packet, want.Drop)
	}
}
