package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// Facts are what the other end has to know of a machine: how a director sends, and what a real server takes.
type Facts struct {
	// Addresses are the machine's own, without loopback and the VIPs.
	Addresses []netip.Addr `json:"addresses"`
	// Sends are the ways of a director's services to their real servers.
	Sends []Sending `json:"sends"`
	// Lacks are those of the VIPs that are no address of the machine.
	Lacks []netip.Addr `json:"lacks,omitempty"`
	// Takes is what the machine unpacks: "ipip", "gre", "gue 6080"; none where that was not read.
	Takes []string `json:"takes,omitempty"`
	// MTUs are those of the devices that have Addresses.
	MTUs []MTU `json:"mtus,omitempty"`
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
	// From is the outer source, To the real server, By "ipip", "gre", "gue", "masq" or "route".
	From netip.Addr `json:"from"`
	To   netip.Addr `json:"to"`
	By   string     `json:"by"`
	// TunPort is the UDP port of "gue".
	TunPort uint16 `json:"tun_port,omitempty"`
	// MTU is that of the way, in bytes, 0 if it is not known.
	MTU uint32 `json:"mtu,omitempty"`
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
	f.Takes = takes(s)
	if s.IPVS == nil {
		return f
	}
	for _, v := range s.IPVS.Services {
		for _, d := range v.Destinations {
			if v.Mark == 0 && slices.Contains(vips, v.Addr.Addr()) && !s.Owns(d.Addr.Addr()) && len(f.Sends) < maxFacts {
				mtu, _ := service{s: s}.mtuOf(d.Addr.Addr(), s.Output(host.Flow{Dst: d.Addr.Addr()}))
				f.Sends = append(f.Sends, Sending{
					VIP: v.Addr.Addr(), Port: v.Addr.Port(), Proto: words[v.Proto], From: diagnose.SourceTo(s, d.Addr.Addr()), To: d.Addr.Addr(),
					By: sentBy(d), TunPort: d.TunPort, MTU: mtu, AtRest: d.Weight == 0,
				})
			}
		}
	}
	return f
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
var tunnelled = map[string]uint8{"ipip": protoIPIP, "gre": protoGRE, "gue": protoUDP}

// sent is how the peer sends what is asked about to this machine; ok is false if the peer is none that does.
func (x service) sent(k kind) (to Sending, ok bool) {
	if x.o.Peer == nil {
		return to, false
	}
	for _, s := range x.o.Peer.Sends {
		if s.VIP == x.vip && s.Port == k.port && s.Proto == words[k.proto] && x.s.Owns(s.To) {
			return s, true
		}
	}
	return to, false
}
