package diagnose

import (
	"net/netip"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
	"ipiptrace/tracer/event"
)

// A Supposition is a request of a client as it would be: nobody has to send it. What it meets is asked of the same rows
// that a lost packet is.
type Supposition struct {
	// Client sends to Service by Proto, an IP protocol number.
	Proto           uint8
	Client, Service netip.AddrPort
	// Dev is the device by which it comes.
	Dev string
	// Outer are the addresses around it, the director's and this host's; invalid on a director, where it comes as its
	// client has sent it.
	OuterSrc, OuterDst netip.Addr
	// OuterProto is the protocol by which it is tunnelled, OuterPort the director's port, if that is UDP.
	OuterProto uint8
	OuterPort  uint16
	// OuterFOU: behind that port follows IPv4 at once, as FOU has it, and no header of GUE.
	OuterFOU bool
	// Late reports that there is no time left to ask; nil is never.
	Late func() bool
	// Onward: OuterDst is behind this host, which passes the packet on in its outer header, and the answer back.
	Onward bool
	// Over is the bridge over which the packet passes, in its outer header, and the answer; nothing else of this host has to do with
	// them. Addresses that are not known are invalid.
	Over string
	// Open: it belongs to a connection that is open already, which began with these addresses and ports.
	Open bool
}

// Of packets that would be, as their senders make them: 40 bytes of headers, and the largest TTL that there is after one
// hop, the director.
const (
	supposedLength = 60
	supposedTTL    = 254
)

// packet is the request itself, in its outer header if it has one.
func (q Supposition) packet(flags event.TCPFlags) Subject {
	s := Subject{Dev: q.Dev, Supposed: true, Invented: true, AnyPort: !q.Open}
	s.Packet = event.Packet{
		Inner:   event.Header{Src: q.Client.Addr(), Dst: q.Service.Addr(), Protocol: q.Proto, TTL: supposedTTL, Len: supposedLength},
		SkbLen:  supposedLength,
		SrcPort: q.Client.Port(), DstPort: q.Service.Port(), HasPorts: q.Proto == protoTCP || q.Proto == protoUDP,
	}
	switch q.Proto {
	case protoTCP:
		s.Packet.TCPFlags = flags
	case protoICMP:
		s.Packet.ICMPType = 8 // echo
	}
	if q.OuterSrc.IsValid() || q.Over != "" {
		s.Outer = &event.Header{Src: q.OuterSrc, Dst: q.OuterDst, Protocol: q.OuterProto, TTL: supposedTTL, Len: supposedLength + 20, DstPort: q.OuterPort, FOU: q.OuterFOU}
		s.Packet.SkbLen += 20
		s.Tunnelled = true
	}
	s.Now = s.Packet
	return s
}

// point is a supposed packet at one point of its way, and the rows that are asked there.
type point struct {
	supposed
	asks func(row) bool
	// partly: only some of the service's packets come to its socket here.
	partly bool
}

// Rows are asked where they belong: of all that a request passes, those of filters at hooks, those of the way back about
// the request, and about what leaves those of filters and devices.
func every(row) bool        { return true }
func none(row) bool         { return false }
func filtering(r row) bool  { return r.stage == filter }
func answering(r row) bool  { return r.stage == replying && !sending(r) }
func leaving(r row) bool    { return r.stage == filter || r.stage == link || sending(r) }
func sending(r row) bool    { return r.code == "neighbour-failed" || r.code == "qdisc-drop" }
func beforeHome(r row) bool { return r.stage < transport }
func beforeSocket(r row) bool {
	return r.stage < transport && r.code != "vip-missing"
}
func openAlready(r row) bool { return r.code == "ipvs-destination-removed" }

// way is where the request passes in a state, and then its answer.
func (q Supposition) way(st *State) (all []point) {
	if q.Open {
		s := q.packet(event.ACK)
		s.Supposed = false
		return []point{{supposed: supposed{s, directorSide}, asks: openAlready}}
	}
	first := q.packet(event.SYN)
	if first.Outer == nil {
		return q.directed(first, st)
	}
	if q.Onward {
		return q.passed(first, st)
	}
	if q.Over != "" {
		return q.crossing(first, st)
	}
	first.Tracked = ruleset.New // nothing of IPIP goes back: it never is more
	all = append(all, points(first, outerSide, every, "ingress", "prerouting", "input")...)
	in := first
	in.Tunnelled, in.Dev, in.Under = false, q.comesOut(first, st), first.Dev
	if in.Dev == "" {
		return all
	}
	return append(all, q.served(in, st)...)
}

// onTheWay are the rows that are asked about what is passed on: those of filters, devices and the outer header's route.
func onTheWay(r row) bool {
	return r.stage == filter || r.stage == link || r.code == "ip-forward-off" || r.code == "rp-filter" || r.code == "martian-source" || r.code == "route-reject"
}

// passed is where a host passes the packet on in its outer header, and the answer back. It has seen the request in its tunnel
// alone: to connection tracking an answer of TCP is none of a connection's (tcp_new), others begin one.
func (q Supposition) passed(first Subject, st *State) (all []point) {
	first.Tracked = ruleset.New
	all = points(first, outerSide, onTheWay, "ingress", "prerouting", "forward")
	a := st.whole.Route(host.Flow{Src: first.Outer.Src, Dst: first.Outer.Dst, IIF: first.Dev, Proto: first.Outer.Protocol})
	if a.Type != "unicast" {
		return all
	}
	all = append(all, goesOn(first, outerSide, a.Dev)...)
	in := first
	in.Tunnelled = false
	back := in.answer()
	back.Leaving, back.Dev, back.Tracked = false, a.Dev, ruleset.New
	if q.Proto == protoTCP {
		back.Tracked = ruleset.Invalid
	}
	if st.exempts() {
		back.Tracked = 0
	}
	all = append(all, points(back, replySide, none, "ingress", "prerouting", "forward")...)
	b := st.whole.Route(host.Flow{Src: back.Now.Inner.Src, Dst: back.Now.Inner.Dst, IIF: back.Dev, Proto: q.Proto})
	return append(all, goesOn(back, replySide, b.Dev)...)
}

// goesOn is where a forwarded packet leaves by a device; nothing if that is not known.
func goesOn(s Subject, on side, dev string) []point {
	if dev == "" {
		return nil
	}
	s.Leaving, s.Came, s.Dev = true, s.Dev, dev
	return points(s, on, func(r row) bool { return r.code == "tc-drop" }, "postrouting", "egress")
}

// comesOut is the device by which the packet leaves its tunnel: the one that takes it, or, where none does and no repair
// is known, one that is for that.
func (q Supposition) comesOut(s Subject, st *State) string {
	taker := st.taker(s)
	if s.outerProto() == protoGRE {
		taker = st.whole.TunnelFor("gre", s.Outer.Src, s.Outer.Dst, st.index(s))
	}
	if taker != nil && (taker.TakesIPv4() || taker.Type == "gre") {
		return taker.Name
	}
	return ""
}

// points are a packet between hooks, where the rows are asked that belong there, and at each of them.
func points(s Subject, on side, asks func(row) bool, hooks ...string) []point {
	all := []point{{supposed: supposed{s, on}, asks: asks}}
	for _, hook := range hooks {
		x := s
		x.Hook = hook
		all = append(all, point{supposed: supposed{x, on}, asks: filtering})
	}
	return all
}

// served is a request on its way to its socket here, and the answer. Behind NAT it is followed no further than to the hooks.
func (q Supposition) served(in Subject, st *State) (all []point) {
	in.Tracked = ruleset.New
	hooks, asks := []string{"ingress", "prerouting", "input"}, every
	to := st.translated(in)
	if to.rule != nil || to.undecided != "" {
		asks = beforeSocket
		if to.undecided == "" {
			in.Now.Inner.Dst, in.Now.DstPort = to.addr.Addr(), to.addr.Port()
		}
		if in.redirected() && !st.whole.Owns(in.Now.Inner.Dst) {
			hooks[2] = "forward"
		}
	}
	away := to.rule != nil || to.undecided != ""
	if !away && st.livesBehind(in, st.whole.Route(st.arrives(in))) {
		away, asks, hooks[2] = true, beforeHome, "forward"
	}
	all = points(in, innerSide, asks, hooks...)
	if q.Proto == protoTCP || q.Proto == protoUDP {
		next := in
		if q.Proto == protoTCP {
			next.Packet.TCPFlags, next.Now.TCPFlags = event.ACK, event.ACK
		}
		next.Tracked = ruleset.Established
		all = append(all, points(next, innerSide, none, hooks[1:]...)...)
	}
	if away {
		if hooks[2] == "forward" {
			all = append(all, goesOn(in, innerSide, st.whole.Route(st.arrives(in)).Dev)...)
		}
		return all
	}
	all = append(all, point{supposed: supposed{in, replySide}, asks: answering})
	back := in.answer()
	back.Tracked = st.answerTracked()
	if a, _, undecided := st.wayOut(in); undecided == nil && a.Dev != "" {
		back.Dev = a.Dev
	}
	return append(all, points(back, replySide, leaving, "output", "postrouting", "egress")...)
}

// answerTracked is what connection tracking makes of an answer: where a rule exempts packets the request may not have been
// tracked, and then the answer belongs to nothing.
func (st *State) answerTracked() ruleset.CT {
	if st.exempts() {
		return 0
	}
	return ruleset.Established
}

// directed is a client's request on a director, and the packet that goes to the real server.
func (q Supposition) directed(s Subject, st *State) (all []point) {
	s.Tracked = ruleset.New
	asks, home, away := every, 0, 0
	if whole := st.entire(); whole.virtual(s) != nil {
		for _, d := range whole.chosen(whole.virtual(s), s) {
			if st.whole.Owns(d.Addr.Addr()) {
				home++
			} else {
				away++
			}
		}
	}
	if away > 0 && home == 0 || !st.whole.Knows(host.PartIPVS) {
		asks = beforeHome // no socket here is asked, or it is not known whether one is
	}
	all = points(s, innerSide, asks, "ingress", "prerouting", "input")
	all[0].partly = home > 0 && away > 0
	next := s
	next.Packet = q.packet(event.ACK).Packet
	next.Now, next.Tracked = next.Packet, st.trackedByIPVS()
	if q.Proto == protoTCP || q.Proto == protoUDP {
		all = append(all, points(next, innerSide, none, "prerouting", "input")...)
	}
	all = append(all, point{supposed: supposed{s, directorSide}, asks: every})
	if st.atHome(s) {
		return append(all, point{supposed: supposed{s, replySide}, asks: answering})
	}
	return append(all, q.sentOn(s, st)...)
}

// maxSupposed bounds the real servers to which packets are supposed to be sent.
const maxSupposed = 64

// unsent is how many real servers are not supposed to be sent anything.
func (q Supposition) unsent(st *State) int {
	s := q.packet(event.SYN)
	whole := &State{Snapshot: st.whole}
	if v := whole.virtual(s); s.Outer == nil && v != nil {
		return max(0, len(whole.chosen(v, s))-maxSupposed)
	}
	return 0
}

// sentOn are the packets to the real servers that IPVS may choose.
func (q Supposition) sentOn(s Subject, st *State) (all []point) {
	whole := st.entire()
	v := whole.virtual(s)
	if v == nil {
		return nil
	}
	chosen := whole.chosen(v, s)
	for _, d := range chosen[:min(len(chosen), maxSupposed)] {
		a := st.whole.Output(host.Flow{Dst: d.Addr.Addr()})
		if d.Method != "tunnel" || a.Refused() || a.Type != "unicast" {
			continue
		}
		x := s
		x.Outer = &event.Header{Src: st.sourceTo(a), Dst: d.Addr.Addr(), Protocol: tunnelProto(d), TTL: supposedTTL, Len: supposedLength + 20, DstPort: d.TunPort}
		x.Tunnelled, x.Leaving, x.Dev, x.Tracked = true, true, a.Dev, ruleset.New
		all = append(all, points(x, replySide, leaving, "output", "postrouting", "egress")...)
	}
	return all
}

// tunnelProto is the protocol by which a real server is sent to.
func tunnelProto(d host.Destination) uint8 {
	switch d.TunType {
	case "gre":
		return protoGRE
	case "gue":
		return protoUDP
	}
	return protoIPIP
}

// sourceTo is the address with which this host sends by a route; invalid if it is not known. Without one that the route names
// it is the device's first in the next hop's network, else its first, of those that are good for the route's scope
// (inet_select_addr).
func (st *State) sourceTo(a host.Answer) (first netip.Addr) {
	if a.Route != nil && a.Route.Source.IsValid() {
		return a.Route.Source
	}
	l := st.whole.LinkNamed(a.Dev)
	if l == nil {
		return first
	}
	for _, x := range st.whole.AddrsOf(l.Index) {
		if narrow := x.Scope == "link" || x.Scope == "host"; narrow && (a.Route == nil || a.Route.Scope == "global") {
			continue
		}
		if !a.Gateway.IsValid() || x.Prefix.Contains(a.Gateway) {
			return x.Prefix.Addr()
		}
		if !first.IsValid() {
			first = x.Prefix.Addr()
		}
	}
	return first
}

// SourceTo is the address with which a machine in that state sends to another; invalid if that is not known.
func SourceTo(s *host.Snapshot, to netip.Addr) netip.Addr {
	st := &State{Snapshot: s, whole: s}
	return st.sourceTo(s.Output(host.Flow{Dst: to}))
}

// trackedByIPVS is what connection tracking makes of a later packet of a connection that IPVS has: without vs.conntrack
// it takes each packet out of its hands (ip_vs_nat_send_or_cont, nf_reset_ct), so that each is a new one.
func (st *State) trackedByIPVS() ruleset.CT {
	if on, ok := st.whole.Sysctl("net/ipv4/vs/conntrack"); !ok || on != 0 {
		return ruleset.New | ruleset.Established
	}
	return ruleset.New
}
