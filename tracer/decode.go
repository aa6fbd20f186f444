package tracer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipiptrace/tracer/event"
)

// Sizes and numbers of bpf/event.h.
const (
	eventSize  = 64
	packetSize = 88
	dropSize   = 24 + 8*24

	flagFirst  = 1
	flagReturn = 2
	flagReused = 4

	sectionPacket = 1
	sectionDrop   = 2

	packetTunnelled = 1
	packetQuoted    = 2
	packetFlow      = 4
	packetPorts     = 8
	packetOptions   = 16
	packetNoInner   = 32
	packetFOU       = 64
)

// decoder turns records of the ring into events.
type decoder struct {
	symbols *symbols
	reasons map[uint32]string
}

// decode reads one record as bpf/event.h lays it out.
func (d *decoder) decode(record []byte) (event.Event, error) {
	if len(record) < eventSize {
		return event.Event{}, fmt.Errorf("decode event: %d bytes are too few", len(record))
	}
	le := binary.LittleEndian
	size := int(le.Uint16(record))
	if size < eventSize || size > len(record) {
		return event.Event{}, fmt.Errorf("decode event: size %d of %d bytes", size, len(record))
	}
	flags := record[3]
	e := event.Event{
		Place:    event.Place(record[2]),
		First:    flags&flagFirst != 0,
		Returned: flags&flagReturn != 0,
		Reused:   flags&flagReused != 0,
		Value:    int32(le.Uint32(record[4:])),
		Time:     time.Duration(le.Uint64(record[8:])),
		Skb:      le.Uint64(record[16:]),
		Seen:     time.Duration(le.Uint64(record[24:])),
		ID:       le.Uint64(record[32:]),
		Peer:     le.Uint64(record[40:]),
		Netns:    le.Uint32(record[48:]),
		Ifindex:  le.Uint32(record[52:]),
		CPU:      le.Uint32(record[56:]),
		Aux:      le.Uint32(record[60:]),
	}
	return e, d.sections(&e, record[eventSize:size])
}

func (d *decoder) sections(e *event.Event, b []byte) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return fmt.Errorf("decode section: %d bytes are too few", len(b))
		}
		kind, size := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if size < 8 || size > len(b) {
			return fmt.Errorf("decode section %d: size %d of %d bytes", kind, size, len(b))
		}
		switch {
		case kind == sectionPacket && size == packetSize:
			e.Packet = decodePacket(b)
		case kind == sectionDrop && size == dropSize:
			e.Drop = d.drop(b, uint32(e.Value))
			if e.Place == event.ConsumeSkb {
				e.Drop.Reason = "" // it is not for one that the kernel consumes a packet
			}
		default:
			return fmt.Errorf("decode section %d: unknown, %d bytes", kind, size)
		}
		b = b[size:]
	}
	return nil
}

func decodePacket(b []byte) *event.Packet {
	be, flags := binary.BigEndian, binary.LittleEndian.Uint32(b[4:])
	dev, _, _ := strings.Cut(string(b[8:24]), "\x00")
	p := &event.Packet{
		Dev:      dev,
		Inner:    decodeHeader(b[40:]),
		Quoted:   flags&packetQuoted != 0,
		FlowOnly: flags&packetFlow != 0,
		HasPorts: flags&packetPorts != 0,
		Options:  flags&packetOptions != 0,
		NoInner:  flags&packetNoInner != 0,
		Seq:      be.Uint32(b[60:]),
		Ack:      be.Uint32(b[64:]),
		TCPFlags: event.TCPFlags(b[68]),
		UDPLen:   be.Uint16(b[72:]),
		Segments: binary.LittleEndian.Uint16(b[74:]),
		SkbLen:   binary.LittleEndian.Uint32(b[76:]),
	}
	if flags&(packetTunnelled|packetQuoted|packetNoInner) != 0 {
		outer := decodeHeader(b[24:])
		if flags&packetTunnelled != 0 && outer.Protocol == 17 {
			outer.SrcPort, outer.DstPort, outer.FOU = be.Uint16(b[80:]), be.Uint16(b[82:]), flags&packetFOU != 0
		}
		p.Outer = &outer
	}
	if p.HasPorts {
		p.SrcPort, p.DstPort = be.Uint16(b[56:]), be.Uint16(b[58:])
	}
	if p.Quoted || p.Inner.Protocol == 1 {
		p.ICMPType, p.ICMPCode = b[69], b[70]
	}
	return p
}

func decodeHeader(b []byte) event.Header {
	be := binary.BigEndian
	return event.Header{
		Src:      netip.AddrFrom4([4]byte(b[0:4])),
		Dst:      netip.AddrFrom4([4]byte(b[4:8])),
		ID:       be.Uint16(b[8:]),
		Len:      be.Uint16(b[10:]),
		Frag:     be.Uint16(b[12:]),
		TTL:      b[14],
		Protocol: b[15],
	}
}

func (d *decoder) drop(b []byte, reason uint32) *event.Drop {
	le := binary.LittleEndian
	drop := &event.Drop{Reason: reasonName(d.reasons, reason)}
	depth := min(int(le.Uint64(b[16:])), (dropSize-24)/8)
	for i := range depth {
		drop.Stack = append(drop.Stack, d.symbols.symbol(le.Uint64(b[24+8*i:])))
	}
	drop.Stack = sinceFree(drop.Stack)
	if location := le.Uint64(b[8:]); location != 0 {
		drop.Symbol = d.symbols.symbol(location)
	} else if len(drop.Stack) > 0 {
		drop.Symbol = drop.Stack[0]
	}
	name, _, _ := strings.Cut(drop.Symbol, "+")
	drop.Function = plainName(name)
	return drop
}

// freeing are the functions through which a packet is freed: the stack of a drop begins behind them, and
// behind what the tracing itself has put there.
var freeing = []string{"kfree_skb", "kfree_skb_reason", "consume_skb", "sk_skb_reason_drop", "__sk_skb_reason_drop", "kfree_skb_list_reason", "__kfree_skb"}

func sinceFree(stack []string) []string {
	frees := func(symbol string) bool {
		name, _, _ := strings.Cut(symbol, "+")
		return slices.Contains(freeing, plainName(name))
	}
	first := slices.IndexFunc(stack, frees)
	if first < 0 {
		return stack
	}
	stack = stack[first:]
	for len(stack) > 0 && frees(stack[0]) {
		stack = stack[1:]
	}
	return stack
}
