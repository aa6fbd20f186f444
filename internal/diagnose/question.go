package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// IP protocol numbers.
const (
	protoICMP = 1
	protoIPIP = 4
	protoTCP  = 6
	protoUDP  = 17
	protoGRE  = 47
)

// droppedIn reports whether the packet was freed in one of the functions.
func (q question) droppedIn(functions ...string) bool {
	return q.Drop != nil && slices.Contains(functions, q.Drop.Function)
}

// for reports whether the kernel gave one of the reasons.
func (q question) reason(reasons ...string) bool {
	return q.Drop != nil && slices.Contains(reasons, q.Drop.Reason)
}

// noReason reports whether the kernel has, or gave, none.
func (q question) noReason() bool { return q.reason("", "NOT_SPECIFIED") }

// icmp reports whether the kernel answered with that error; a negative code is any.
func (q question) icmp(kind uint8, code int) bool {
	r := q.Reject
	return r != nil && r.By == journey.ByICMP && r.Type == kind && (code < 0 || int(r.Code) == code)
}

func (q question) reset() bool { return q.Reject != nil && q.Reject.By == journey.ByRST }

// tunnelled reports whether the packet still had its outer header when it was lost.
func (q question) tunnelled() bool {
	last, ok := q.Last()
	if !ok {
		return q.Outer != nil
	}
	return last.Tunnelled || q.Drop != nil && q.Drop.Tunnelled
}

// reply reports whether it is an answer of the service.
func (q question) reply() bool { return q.Direction == journey.Reply }

// isSYN reports whether the packet opens a connection.
func (q question) isSYN() bool {
	return q.Packet.Inner.Protocol == protoTCP && q.Packet.TCPFlags&(event.SYN|event.ACK) == event.SYN
}

func (q question) proto() string {
	switch q.Packet.Inner.Protocol {
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	}
	return ""
}

// vip is the service's address, client its peer's.
func (q question) vip() netip.Addr {
	if q.reply() {
		return q.Packet.Inner.Src
	}
	return q.Packet.Inner.Dst
}

func (q question) client() netip.Addr {
	if q.reply() {
		return q.Packet.Inner.Dst
	}
	return q.Packet.Inner.Src
}

func (q question) port() uint16 {
	if q.reply() {
		return q.Packet.SrcPort
	}
	return q.Packet.DstPort
}

func (q question) clientPort() uint16 {
	if q.reply() {
		return q.Packet.DstPort
	}
	return q.Packet.SrcPort
}

func (q question) service() netip.AddrPort { return netip.AddrPortFrom(q.vip(), q.port()) }

// asked is where a request goes after NAT.
func (q question) asked() netip.AddrPort {
	p := q.now()
	return netip.AddrPortFrom(p.Inner.Dst, p.DstPort)
}

// redirected reports whether NAT gave a request another destination.
func (q question) redirected() bool { return !q.reply() && q.asked() != q.service() }

// dev is the device on which the packet was lost.
func (q question) dev() string {
	if q.Drop != nil && q.Drop.Dev != "" {
		return q.Drop.Dev
	}
	last, _ := q.Last()
	return last.Dev
}

// link is that device; nil if it is not known.
func (q question) link() *host.Link {
	if q.host == nil {
		return nil
	}
	return q.host.LinkNamed(q.dev())
}

// now is the packet as NAT left it.
func (q question) now() event.Packet {
	if q.Changed != nil {
		return *q.Changed
	}
	return q.Packet
}

// src and dst are the addresses of the header that the kernel was looking at.
func (q question) src() netip.Addr {
	if q.tunnelled() && q.Outer != nil {
		return q.Outer.Src
	}
	return q.now().Inner.Src
}

func (q question) dst() netip.Addr {
	if q.tunnelled() && q.Outer != nil {
		return q.Outer.Dst
	}
	return q.now().Inner.Dst
}

// flow is the lookup that the kernel made for the packet coming in.
func (q question) flow() host.Flow {
	p := q.now()
	f := host.Flow{Src: q.src(), Dst: q.dst(), IIF: q.dev(), Proto: p.Inner.Protocol, Sport: p.SrcPort, Dport: p.DstPort}
	if q.tunnelled() {
		f.Proto, f.Sport, f.Dport = q.outerProto(), 0, 0
	}
	return f
}

// outerProto is the protocol by which the packet is tunnelled: IPIP, or GRE.
func (q question) outerProto() uint8 {
	if q.Outer == nil {
		return protoIPIP
	}
	return q.Outer.Protocol
}

// back is the lookup for an answer to the client.
func (q question) back() host.Flow {
	return host.Flow{Src: q.vip(), Dst: q.client(), Proto: q.Packet.Inner.Protocol, Sport: q.port(), Dport: q.clientPort()}
}

// isDirector reports whether the state has virtual services.
func (q question) isDirector() bool {
	return q.host != nil && q.host.IPVS != nil && len(q.host.IPVS.Services) > 0
}

// directs reports whether the packet was lost where it should have been sent on: IPVS is there, it came as its
// client sent it, and the VIP is not on a tunnel's device.
func (q question) directs() bool {
	if q.host == nil || q.host.IPVS == nil || q.Outer != nil || q.reply() {
		return false
	}
	return !q.behindTunnel()
}

// behindTunnel reports whether the VIP is on a tunnel's device, as on a real server.
func (q question) behindTunnel() bool {
	return slices.ContainsFunc(q.host.AddrOn(q.vip()), func(l host.Link) bool { return l.Tunnel != nil })
}

// virtual is the IPVS service for the packet, nil if there is none.
func (q question) virtual() *host.Service {
	if q.host == nil || q.host.IPVS == nil {
		return nil
	}
	for i := range q.host.IPVS.Services {
		s := &q.host.IPVS.Services[i]
		if s.Mark == 0 && s.Proto == q.Packet.Inner.Protocol && s.Addr.Addr() == q.vip() && (s.Addr.Port() == q.port() || s.Addr.Port() == 0) {
			return s
		}
	}
	return nil
}

// setting is a sysctl as people write it.
func setting(name string) string {
	// A dot in a device's name is a slash there.
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}

// says is a line of evidence about a sysctl.
func (q question) says(name string) string {
	value, ok := q.host.Sysctls[name]
	if !ok {
		value = "(not there)"
	}
	return fmt.Sprintf("%s = %s", setting(name), value)
}

// counted is a line of evidence about a counter.
func (q question) counted(name string) string {
	how := "%d"
	if q.host.Compared {
		how = "has risen by %d"
	}
	return fmt.Sprintf("nstat -az %s: "+how, strings.ReplaceAll(name, ".", ""), q.host.Counted(name))
}

// got is what `ip route get` says.
func got(to netip.Addr, a host.Answer) string {
	s := fmt.Sprintf("ip route get %s: ", command.Address(to))
	switch {
	case a.Type == host.NoRoute:
		return s + "Network is unreachable"
	case a.Type != "unicast":
		return s + a.Type
	case a.Gateway.IsValid():
		return s + fmt.Sprintf("via %s dev %s", a.Gateway, a.Dev)
	}
	return s + "dev " + a.Dev
}

func list[T fmt.Stringer](all []T) string {
	words := make([]string, len(all))
	for i, x := range all {
		words[i] = x.String()
	}
	return strings.Join(words, ", ")
}
