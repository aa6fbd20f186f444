package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// Source is whose facts they are.
type Source struct {
	Host string `json:"host"`
	// Netns is the namespace's inode number, Name what `ip netns` calls it, empty if nothing does.
	Netns uint32 `json:"netns"`
	Name  string `json:"name,omitempty"`
	// Time is when the state had been read (RFC 3339), Version the program's.
	Time    string `json:"time"`
	Version string `json:"version"`
}

// Facts are what the other end has to know of a machine: how a director sends, and what a real server takes.
type Facts struct {
	// Of is nil in reports of older versions.
	Of *Source `json:"of,omitempty"`
	// Addresses are the machine's own, without loopback and the VIPs.
	Addresses []netip.Addr `json:"addresses"`
	// Sends are the ways of a director's services to their real servers.
	Sends []Sending `json:"sends"`
	// Lacks are those of the VIPs that are no address of the machine.
	Lacks []netip.Addr `json:"lacks,omitempty"`
	// Takes is what the machine unpacks: "ipip", "gre", "gue 6080", "fou 5555"; none where that was not read.
	Takes []string `json:"takes,omitempty"`
	// MTUs are those of the devices that have Addresses.
	MTUs []MTU `json:"mtus,omitempty"`
	// MACs are the Ethernet addresses of its devices.
	MACs []string `json:"macs,omitempty"`
}

// MTU is how long packets for an address may be where they come in, in bytes.
type MTU struct {
	Addr netip.Addr `json:"addr"`
	MTU  uint32     `json:"mtu"`
}

// Sending is a way of one service to one real server.
type Sending struct {
	VIP   netip.Addr `json:"vip"`
	Port  uint16     `json:"port"`
	Proto string     `json:"proto"`
	// From is the outer source, To the real server, By "ipip", "gre", "gue", "fou", "masq" or "route".
	From netip.Addr `json:"from"`
	To   netip.Addr `json:"to"`
	By   string     `json:"by"`
	// Device is the tunnel's into which IPVS routes the packets; empty if it tunnels them itself.
	Device string `json:"device,omitempty"`
	// TunPort is the UDP port of "gue" and "fou".
	TunPort uint16 `json:"tun_port,omitempty"`
	// MTU is that of the way, in bytes, 0 if it is not known.
	MTU uint32 `json:"mtu,omitempty"`
	// MAC is the Ethernet address that the director has for To, if no router is between them, Permanent: somebody has set it.
	MAC       string `json:"mac,omitempty"`
	Permanent bool   `json:"permanent,omitempty"`
	// AtRest: its weight is 0, and it gets no new connections.
	AtRest bool `json:"at_rest,omitempty"`
}

// maxFacts bounds what is told, and what is taken.
const maxFacts = 1024

// FactsOf are those of a state.
func FactsOf(s *host.Snapshot, vips []netip.Addr) (f Facts) {
	f.Addresses, f.Sends = []netip.Addr{}, []Sending{}
	for _, a := range s.Addrs {
		at := a.Prefix.Addr()
		if at.Is4() && !at.IsLoopback() && !slices.Contains(vips, at) && len(f.Addresses) < maxFacts {
			f.Addresses = append(f.Addresses, at)
			if l := s.Link(a.Link); l != nil && l.MTU > 0 {
				f.MTUs = append(f.MTUs, MTU{at, l.MTU})
			}
		}
	}
	for _, vip := range vips {
		if s.Knows(host.PartAddrs) && s.Knows(host.PartRoutes) && !s.Owns(vip) && len(s.AddrOn(vip)) == 0 {
			f.Lacks = append(f.Lacks, vip)
		}
	}
	for _, l := range s.Links {
		if l.MAC != "" && l.Tunnel == nil && l.Type != "loopback" && !slices.Contains(f.MACs, l.MAC) && len(f.MACs) < maxFacts {
			f.MACs = append(f.MACs, l.MAC)
		}
	}
	f.Takes = takes(s)
	if s.IPVS == nil {
		return f
	}
	for _, v := range s.IPVS.Services {
		for _, d := range v.Destinations {
			if v.Mark == 0 && slices.Contains(vips, v.Addr.Addr()) && !s.Owns(d.Addr.Addr()) && len(f.Sends) < maxFacts {
				f.Sends = append(f.Sends, sendingOf(s, v, d))
			}
		}
	}
	return f
}

// sendingOf is the way from a director to a real server of a service.
func sendingOf(s *host.Snapshot, v host.Service, d host.Destination) Sending {
	to := d.Addr.Addr()
	way := Sending{
		VIP: v.Addr.Addr(), Port: v.Addr.Port(), Proto: words[v.Proto], From: diagnose.SourceTo(s, to), To: to,
		By: sentBy(d), TunPort: d.TunPort, AtRest: d.Weight == 0,
	}
	if d.Method == "route" {
		way.into(s.LinkNamed(s.Output(host.Flow{Dst: to}).Dev))
	}
	out := s.Output(host.Flow{Dst: way.To})
	way.MTU, _ = service{s: s}.mtuOf(way.To, out)
	if l := s.LinkNamed(out.Dev); l != nil && !out.Gateway.IsValid() {
		for _, n := range s.Neighbours {
			if n.Addr == way.To && n.Link == l.Index && slices.Contains([]string{"permanent", "reachable", "stale", "delay", "probe"}, n.State) {
				way.MAC, way.Permanent = n.MAC, n.State == "permanent"
			}
		}
	}
	return way
}

// TUNNEL_ENCAP_* of linux/if_tunnel.h.
const (
	encapNone = iota
	encapFOU
	encapGUE
)

// into is the way of what is routed into a tunnel's device; as it was, if that is none whose other end it tells.
func (s *Sending) into(l *host.Link) {
	if l == nil || l.Tunnel == nil || l.LinkNetns || l.Tunnel.Keyed || l.Tunnel.Collect || !l.Tunnel.Remote.IsValid() || l.Tunnel.Remote.IsUnspecified() {
		return
	}
	by := ""
	switch t := l.Tunnel; {
	case l.Type == "gre" && t.EncapType == encapNone:
		by = "gre"
	case l.Type != "ipip":
	case t.EncapType == encapNone:
		by = "ipip"
	case t.EncapType == encapFOU:
		by = "fou"
	case t.EncapType == encapGUE:
		by = "gue"
	}
	if by == "" {
		return
	}
	s.By, s.Device, s.TunPort, s.To = by, l.Name, l.Tunnel.EncapPort, l.Tunnel.Remote
	if l.Tunnel.Local.IsValid() && !l.Tunnel.Local.IsUnspecified() {
		s.From = l.Tunnel.Local
	}
}

// takes is what a machine unpacks; none if that was not read.
func takes(s *host.Snapshot) (all []string) {
	if !s.Knows(host.PartLinks) || !s.Knows(host.PartFOU) {
		return nil
	}
	add := func(is bool, word string) {
		if is && !slices.Contains(all, word) {
			all = append(all, word)
		}
	}
	for _, l := range s.Links {
		up := l.Up && l.Tunnel != nil && !l.LinkNetns
		add(up && l.TakesIPv4() && l.Type != "gre", "ipip")
		add(up && l.Type == "gre" && !l.Tunnel.Keyed, "gre")
	}
	for _, p := range s.FOU {
		add(p.Kind == "gue" && !p.V6, fmt.Sprintf("gue %d", p.Port))
		add(p.Kind == "fou" && p.Proto == protoIPIP && !p.V6, fmt.Sprintf("fou %d", p.Port))
	}
	return all
}

// sentBy is how a director sends to a real server.
func sentBy(d host.Destination) string {
	switch {
	case d.Method != "tunnel":
		return d.Method
	case d.TunType == "":
		return "ipip"
	}
	return d.TunType
}

// tunnelled are the protocols of the words in Sending.By.
var tunnelled = map[string]uint8{"ipip": protoIPIP, "gre": protoGRE, "gue": protoUDP, "fou": protoUDP}

// sent are the ways by which the peer sends what is asked about to this machine; those at rest only if there are no others.
func (x service) sent(k kind) (ways []Sending) {
	if x.o.Peer == nil {
		return nil
	}
	var resting []Sending
	for _, s := range x.o.Peer.Sends {
		switch {
		case s.VIP != x.vip || s.Port != k.port || s.Proto != words[k.proto] || !x.s.Owns(s.To):
		case s.AtRest:
			resting = append(resting, s)
		default:
			ways = append(ways, s)
		}
	}
	if len(ways) == 0 {
		return resting
	}
	return ways
}

// IsOwn reports whether facts are of the machine and namespace themselves that are asked about: their addresses are the same.
func (f Facts) IsOwn(s *host.Snapshot, vips []netip.Addr) bool {
	own := FactsOf(s, vips).Addresses
	other := func(a netip.Addr) bool { return !slices.Contains(own, a) }
	return len(own) > 0 && len(own) == len(f.Addresses) && !slices.ContainsFunc(f.Addresses, other)
}
