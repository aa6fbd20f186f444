package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/tracer/event"
)

// tunnelWord is the tunnel by which a director sends, if that is not IPIP.
func (s Subject) tunnelWord() string {
	switch {
	case s.outerProto() == protoGRE:
		return "GRE"
	case s.Outer != nil && s.Outer.FOU:
		return "FOU"
	}
	return "GUE"
}

// tunnelPort is the UDP port to which the director sends.
func (s Subject) tunnelPort() uint16 {
	if s.Outer == nil || s.Outer.DstPort == 0 {
		return event.DefaultGUEPort
	}
	return s.Outer.DstPort
}

func otherTunnel(s Subject) finding {
	return finding{
		summary:  fmt.Sprintf("the director %s sends by %s, and nothing here takes that; on the director: ipvsadm -e … -i --tun-type ipip", s.src(), s.tunnelWord()),
		evidence: []evidence{seen("outer protocol %d at first sight", s.outerProto())},
	}
}

// greState: no tunnel of GRE is up for these two addresses.
func greState(s Subject, st *State) *finding {
	if !s.Tunnelled || s.outerProto() != protoGRE || st.TunnelFor("gre", s.Outer.Src, s.Outer.Dst, st.index(s)) != nil {
		return nil
	}
	f, none := otherTunnel(s), true
	for _, l := range st.Links {
		if l.Type != "gre" || l.Tunnel == nil || !l.Up {
			continue
		}
		none = false
		key := command.Say("")
		if l.Tunnel.Keyed {
			key = command.Say("with a key")
		}
		f.evidence = append(f.evidence, by(host.PartLinks, "ip -d link show %s: gre remote %s local %s %s", command.Device(l.Name), anyAddr(l.Tunnel.Remote), anyAddr(l.Tunnel.Local), key))
	}
	if none {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip link show type gre: none that is up"))
	}
	for _, l := range ownTunnels(st.Snapshot) {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip -d link show %s: %s", command.Device(l.Name), l.Type))
	}
	return &f
}

// takes reports whether the kernel unpacks what comes to the packet's port there (udp_sk(sk)->encap_rcv).
func (st *State) takes(p host.FOUPort, s Subject) bool {
	return st.hasPort(p, s) && (!p.Local.IsValid() || p.Local == s.Outer.Dst) && (!p.Peer.IsValid() || p.Peer == s.Outer.Src) &&
		(p.PeerPort == 0 || p.PeerPort == s.Outer.SrcPort) && (p.Link == 0 || p.Link == st.index(s))
}

// hasPort reports whether it is the packet's port, for whichever address.
func (st *State) hasPort(p host.FOUPort, s Subject) bool { return p.Port == s.tunnelPort() && !p.V6 }

// unpacks reports whether that makes an IPv4 packet of it: GUE takes what has no header of its own, too (gue_udp_recv,
// version 1), FOU (fou_udp_recv) takes nothing off but UDP.
func unpacks(p host.FOUPort, s Subject) bool {
	return p.Kind == "gue" || s.Outer.FOU && p.Proto == protoIPIP
}

// gueState: nothing unpacks the packet behind the port to which the director sends.
func gueState(s Subject, st *State) *finding {
	if !s.Tunnelled || s.Outer == nil || s.outerProto() != protoUDP {
		return nil
	}
	taking := slices.IndexFunc(st.FOU, func(p host.FOUPort) bool { return st.takes(p, s) })
	if taking >= 0 && unpacks(st.FOU[taking], s) {
		return nil
	}
	f := &finding{evidence: []evidence{seen("outer protocol %d, port %d, at first sight", s.outerProto(), s.tunnelPort())}}
	what, advice := "nothing here unpacks it", "give the kernel that port"
	if taking >= 0 {
		what, advice = "the kernel unpacks something else", "give "+s.tunnelWord()+" that port"
	}
	if !f.givePort(s, st) {
		advice = "that port is somebody else's here, so choose another one for the director"
	}
	f.summary = fmt.Sprintf("the director %s sends by %s to port %d, behind which %s: %s, or, on the director: ipvsadm -e … -i --tun-type ipip", s.Outer.Src, s.tunnelWord(), s.tunnelPort(), what, advice)
	for _, p := range st.FOU {
		f.evidence = append(f.evidence, by(host.PartFOU, "ip fou show: %s", fouWords(st, p)))
	}
	if len(st.FOU) == 0 {
		f.evidence = append(f.evidence, by(host.PartFOU, "ip fou show: none"))
	}
	if l := st.asleep(s); l != nil && f.mend != nil {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip link show %s: state DOWN", command.Device(l.Name)))
		f.fix = f.fix.Then("ip link set % up", command.Device(l.Name))
		f.mend = together(f.mend, setUp(l.Index, true))
	}
	return f
}

// givePort has the kernel unpack what comes to the packet's port; ok is false if somebody else has it. A socket of another
// local address stays beside one of ours. One of FOU becomes one of GUE, which takes IPv4 by FOU, too.
func (f *finding) givePort(s Subject, st *State) (ok bool) {
	given := host.FOUPort{Port: s.tunnelPort(), Kind: "gue"}
	if s.Outer.FOU {
		given.Kind, given.Proto = "fou", protoIPIP
	}
	fix := command.Of("modprobe fou") // unlike others `ip fou` does not load it
	var replaced []host.FOUPort
	for _, p := range st.FOU {
		switch {
		case !st.hasPort(p, s):
		case p.Local.IsValid() && p.Local != s.Outer.Dst:
			given.Local = s.Outer.Dst
		case p == host.FOUPort{Port: p.Port, Local: p.Local, Kind: "fou", Proto: protoIPIP}:
			fix, replaced = fix.Then("ip fou del %", fouSocket(st, p)), append(replaced, p)
			given.Local = cmp.Or(given.Local, p.Local)
		default:
			return false
		}
	}
	f.fix = fix.Then("ip fou add %", fouSocket(st, given).And(fouKind(given)))
	f.mend = func(st *State) {
		others := slices.DeleteFunc(slices.Clone(st.whole.FOU), func(p host.FOUPort) bool { return slices.Contains(replaced, p) })
		st.whole.FOU = append(others, given)
	}
	return true
}

// fouWords are a port as ip fou shows it.
func fouWords(st *State, p host.FOUPort) string { return fmt.Sprint(fouSocket(st, p).And(fouKind(p))) }

// fouKind is what is unpacked behind a port, as ip fou takes it.
func fouKind(p host.FOUPort) command.Part {
	if p.Kind == "fou" {
		return command.Say("ipproto").And(command.Number(uint32(p.Proto)))
	}
	return command.Say("gue")
}

// fouSocket names the socket of a port, as ip fou takes it.
func fouSocket(st *State, p host.FOUPort) command.Part {
	words := command.Say("port").And(command.Number(uint32(p.Port)))
	if p.V6 {
		words = words.And(command.Say("-6"))
	}
	if p.Local.IsValid() {
		words = words.And(command.Say("local"), command.Address(p.Local))
	}
	if p.Peer.IsValid() {
		words = words.And(command.Say("peer"), command.Address(p.Peer))
	}
	if p.PeerPort != 0 {
		words = words.And(command.Say("peer_port"), command.Number(uint32(p.PeerPort)))
	}
	if l := st.Link(p.Link); l != nil {
		words = words.And(command.Say("dev"), command.Device(l.Name))
	}
	return words
}
