package diagnose

import (
	"fmt"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// otherTunnels name the protocols beside IPIP by which a director tunnels.
var otherTunnels = map[uint8]string{protoGRE: "GRE", protoUDP: "GUE"}

// guePort is the UDP port by which a packet is recognised as GUE (GUE_PORT of bpf/kernel.h): on others it is not.
const guePort = 6080

func otherTunnel(s Subject) finding {
	return finding{
		summary:  fmt.Sprintf("the director %s sends by %s, and nothing here takes that; on the director: ipvsadm -e … -i --tun-type ipip", s.src(), otherTunnels[s.outerProto()]),
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

// unpacks reports whether the kernel unpacks the packet behind that port (udp_sk(sk)->encap_rcv).
func (st *State) unpacks(p host.FOUPort, s Subject) bool {
	return p.Port == guePort && !p.V6 && (!p.Local.IsValid() || p.Local == s.Outer.Dst) && (!p.Peer.IsValid() || p.Peer == s.Outer.Src) &&
		p.PeerPort == 0 && (p.Link == 0 || p.Link == st.index(s))
}

// gueState: nothing unpacks GUE behind the port to which the director sends.
func gueState(s Subject, st *State) *finding {
	if !s.Tunnelled || s.outerProto() != protoUDP || slices.ContainsFunc(st.FOU, func(p host.FOUPort) bool { return st.unpacks(p, s) }) {
		return nil
	}
	f := &finding{
		summary:  fmt.Sprintf("the director %s sends by GUE to port %d, behind which nothing here unpacks it: give the kernel that port, or, on the director: ipvsadm -e … -i --tun-type ipip", s.Outer.Src, guePort),
		evidence: []evidence{seen("outer protocol %d, port %d, at first sight", s.outerProto(), guePort)},
	}
	for _, p := range st.FOU {
		f.evidence = append(f.evidence, by(host.PartFOU, "ip fou show: %s", fouWords(st, p)))
	}
	if len(st.FOU) == 0 {
		f.evidence = append(f.evidence, by(host.PartFOU, "ip fou show: none"))
	}
	f.fix = command.Of("modprobe fou") // unlike others `ip fou` does not load it
	for _, p := range st.FOU {
		if p.Port == guePort && !p.V6 { // two sockets can't have one port
			f.fix = f.fix.Then("ip fou del %", fouSocket(st, p))
		}
	}
	f.fix = f.fix.Then("ip fou add port 6080 gue")
	f.mend = func(st *State) {
		others := slices.DeleteFunc(slices.Clone(st.whole.FOU), func(p host.FOUPort) bool { return p.Port == guePort && !p.V6 })
		st.whole.FOU = append(others, host.FOUPort{Port: guePort, Kind: "gue"})
	}
	if l := st.asleep(s); l != nil {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip link show %s: state DOWN", command.Device(l.Name)))
		f.fix = f.fix.Then("ip link set % up", command.Device(l.Name))
		f.mend = together(f.mend, setUp(l.Index, true))
	}
	return f
}

// fouWords are a port as ip fou shows it.
func fouWords(st *State, p host.FOUPort) string {
	kind := command.Say("gue")
	if p.Kind == "fou" {
		kind = command.Say("ipproto").And(command.Number(uint32(p.Proto)))
	}
	return fmt.Sprint(fouSocket(st, p).And(kind))
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
