//go:build native

package ruleset

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// played is a packet that is sent into the kernel, and what is known of it.
type played struct {
	Packet
	// iif is the device by which it comes; empty: it is sent from here.
	iif string
	id  uint16
	raw []byte
	// about is the packet that an ICMP error is about, if it is one of a connection that is known.
	about []byte
	// before are packets that begin its connection, each with the device by which it comes.
	before []sent
}

type sent struct {
	iif string
	raw []byte
}

func (p played) String() string {
	from := p.iif
	if from == "" {
		from = "here"
	}
	return fmt.Sprintf("from %s %v:%d → %v:%d proto %d ttl %d length %d flags %#x icmp %d/%d ct %v", from, p.Src, p.Sport, p.Dst, p.Dport, p.Proto, p.TTL,
		p.Length, p.Flags, p.ICMPType, p.ICMPCode, p.CT)
}

// Of what packets and rules are made: few values, so that they meet.
var (
	farIn   = addrs("10.1.0.2", "10.1.0.7", "192.0.2.7", "192.0.2.200")
	farOut  = addrs("10.2.0.7", "10.2.0.200", "198.51.100.1", "198.51.100.130")
	here    = addrs("10.1.0.1", "10.99.0.1")
	someone = []uint16{22, 53, 80, 81, 90, 443, 1024, 8080, 40000}
)

// values are those that packets have.
type values struct {
	farIn, farOut []netip.Addr
	ports         []uint16
}

var anyValues = values{farIn, farOut, someone}

var (
	addressIn = regexp.MustCompile(`\b(?:10\.[12]|192\.0|198\.51)\.\d+\.\d+\b`)
	portIn    = regexp.MustCompile(`(?:dports?|to-destination [\d.]+:?) \{? ?(\d+)`)
)

// valuesIn are those that a ruleset asks for, too.
func valuesIn(text string) values {
	v := values{slices.Clone(farIn), slices.Clone(farOut), []uint16{22, 81}}
	for _, found := range addressIn.FindAllString(text, -1) {
		switch a := netip.MustParseAddr(found); {
		case slices.Contains(here, a) || strings.HasSuffix(found, ".0"):
		case strings.HasPrefix(found, "10.1.") || strings.HasPrefix(found, "192."):
			v.farIn = append(v.farIn, a)
		default:
			v.farOut = append(v.farOut, a)
		}
	}
	for _, found := range portIn.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.ParseUint(found[1], 10, 16)
		v.ports = append(v.ports, uint16(n))
	}
	return v
}

func addrs(list ...string) (all []netip.Addr) {
	for _, a := range list {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

func one[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

const (
	protoICMP, protoIPIP, protoTCP, protoUDP, protoGRE = 1, 4, 6, 17, 47

	flagFIN, flagSYN, flagRST, flagPSH, flagACK = 1, 2, 4, 8, 16
)

// The packets of a ruleset have identifications of their own from firstID on, those that begin a connection from beginID
// further on.
const (
	firstID = 0x4a00
	beginID = 0x1000
)

// packets are some that differ in what connection tracking knows them by.
func packets(r *rand.Rand, n int, tracked bool, from values) (all []played) {
	seen := map[string]bool{}
	for len(all) < n {
		p := newPlayed(r, uint16(len(all)+1), tracked, from)
		key := fmt.Sprint(p.Proto, p.Src, p.Dst, p.Sport, p.Dport, p.ICMPType)
		back := fmt.Sprint(p.Proto, p.Dst, p.Src, p.Dport, p.Sport, p.ICMPType)
		if seen[key] || seen[back] {
			continue
		}
		seen[key] = true
		all = append(all, p)
	}
	return all
}

func newPlayed(r *rand.Rand, n uint16, tracked bool, from values) (p played) {
	p.id = firstID + n
	p.TTL = one(r, []uint8{2, 3, 63, 64, 128, 255})
	switch r.IntN(7) {
	case 0, 1:
		p.iif, p.Src, p.Dst = "in0", one(r, from.farIn), one(r, here)
	case 2, 3:
		p.iif, p.Src, p.Dst = "in0", one(r, from.farIn), one(r, from.farOut)
	case 4:
		p.iif, p.Src, p.Dst = "out0", one(r, from.farOut), one(r, slices.Concat(from.farIn, here))
	default:
		p.Src, p.Dst = one(r, here), one(r, slices.Concat(from.farIn, from.farOut))
	}
	p.Proto = one(r, []uint8{protoTCP, protoTCP, protoTCP, protoUDP, protoUDP, protoICMP, protoIPIP, protoGRE})
	p.CT = New
	switch p.Proto {
	case protoTCP:
		p.Flags = one(r, []uint8{flagSYN, flagSYN, flagACK, flagPSH | flagACK, flagFIN | flagACK, flagSYN | flagACK, flagFIN, 0, flagSYN | flagFIN})
		p.HasPorts, p.Sport, p.Dport = true, one(r, someone), one(r, from.ports)
		if bad := p.Flags&flagACK == 0 && p.Flags != flagSYN || p.Flags == flagSYN|flagACK || p.Flags&(flagSYN|flagFIN) == flagSYN|flagFIN; bad {
			p.CT = Invalid
		}
		if p.Flags == flagFIN|flagACK {
			p.CT = Invalid
		}
	case protoUDP:
		p.HasPorts, p.Sport, p.Dport = true, one(r, someone), one(r, from.ports)
	case protoICMP:
		p.ICMPType = one(r, []uint8{8, 8, 0, 3, 3, 3, 13})
		if p.ICMPType == 3 {
			p.ICMPCode = one(r, []uint8{1, 3, 4})
		}
		if p.ICMPType != 8 && p.ICMPType != 13 {
			p.CT = Invalid
		}
	}
	if p.Proto == protoICMP && p.ICMPType == 3 && p.ICMPCode != 4 && tracked && r.IntN(3) > 0 {
		p.complaint(n)
	}
	payload := one(r, []int{8, 8, 20, 100, 600})
	if p.Proto == protoGRE {
		payload = 8
	}
	if tracked && (p.Proto == protoUDP || p.Proto == protoTCP && p.Flags&flagSYN == 0 && p.CT == New) && r.IntN(2) == 0 {
		p.reply(n)
	}
	p.raw = p.bytes(p.id, payload)
	p.Length = uint16(len(p.raw))
	return p
}

// opposite is a packet the other way.
func (p *played) opposite() (first played) {
	first = *p
	first.Src, first.Dst, first.Sport, first.Dport = p.Dst, p.Src, p.Dport, p.Sport
	switch {
	case p.iif == "":
		first.iif = "in0"
		if first.Src.Is4() && (first.Src.As4()[1] == 2 || first.Src.As4()[0] == 198) {
			first.iif = "out0"
		}
	case p.Dst == here[0] || p.Dst == here[1]:
		first.iif = ""
	case p.iif == "out0":
		first.iif = "in0"
	default:
		first.iif = "out0"
	}
	return first
}

// complaint makes the ICMP error one about a connection that has begun.
func (p *played) complaint(n uint16) {
	first := p.opposite()
	first.Proto, first.Sport, first.Dport = protoUDP, 50000+n, 7
	p.about = first.bytes(firstID+beginID+n, 8)
	p.CT, p.before = Related, append(p.before, sent{first.iif, p.about})
}

// reply makes it the answer within a connection that has begun.
func (p *played) reply(n uint16) {
	first := p.opposite()
	if p.Proto == protoTCP {
		if p.iif == "" {
			return // the kernel would answer the first packet
		}
		first.Flags, p.Flags = flagSYN, flagSYN|flagACK
	}
	p.CT = Established
	p.before = append(p.before, sent{first.iif, first.bytes(firstID+beginID+n, 8)})
}

// bytes is the packet with so much behind its IP header and that of its ports.
func (p *played) bytes(id uint16, payload int) []byte {
	var l4 []byte
	switch p.Proto {
	case protoTCP:
		l4 = make([]byte, 20+payload)
		binary.BigEndian.PutUint16(l4, p.Sport)
		binary.BigEndian.PutUint16(l4[2:], p.Dport)
		binary.BigEndian.PutUint32(l4[4:], 1000)
		if p.Flags&flagACK != 0 {
			binary.BigEndian.PutUint32(l4[8:], 1001)
		}
		l4[12], l4[13] = 5<<4, p.Flags
		binary.BigEndian.PutUint16(l4[14:], 60000)
		binary.BigEndian.PutUint16(l4[16:], p.checksum(l4))
	case protoUDP:
		l4 = make([]byte, 8+payload)
		binary.BigEndian.PutUint16(l4, p.Sport)
		binary.BigEndian.PutUint16(l4[2:], p.Dport)
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
		binary.BigEndian.PutUint16(l4[6:], p.checksum(l4))
	case protoICMP:
		l4 = make([]byte, 8+max(payload, 28))
		l4[0], l4[1] = p.ICMPType, p.ICMPCode
		binary.BigEndian.PutUint16(l4[4:], id)
		switch {
		case p.about != nil:
			copy(l4[8:], p.about[:28])
		case p.ICMPType == 3: // of a connection that nobody knows
			of := played{Packet: Packet{Src: p.Dst, Dst: p.Src, Proto: protoUDP, TTL: 9, Sport: 7, Dport: 7}}
			copy(l4[8:], of.bytes(1, 0))
		}
		binary.BigEndian.PutUint16(l4[2:], sum(l4, 0))
	case protoIPIP:
		of := played{Packet: Packet{Src: p.Src, Dst: p.Dst, Proto: protoUDP, TTL: 9, Sport: 7, Dport: 7}}
		l4 = of.bytes(1, payload)
	case protoGRE:
		l4 = make([]byte, 4+payload)
		binary.BigEndian.PutUint16(l4[2:], 0x6558)
	}
	b := make([]byte, 20, 20+len(l4))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(l4)))
	binary.BigEndian.PutUint16(b[4:], id)
	b[6] = 0x40
	b[8], b[9] = p.TTL, p.Proto
	src, dst := p.Src.As4(), p.Dst.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], sum(b, 0))
	return append(b, l4...)
}

// checksum is that of TCP and UDP.
func (p *played) checksum(l4 []byte) uint16 {
	src, dst := p.Src.As4(), p.Dst.As4()
	pseudo := append(append(src[:], dst[:]...), 0, p.Proto, byte(len(l4)>>8), byte(len(l4)))
	return sum(l4, ^sum(pseudo, 0))
}

func sum(b []byte, begin uint16) uint16 {
	s := uint32(begin)
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
