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
		}
	}
	if s.IPVS == nil {
		return f
	}
	for _, v := range s.IPVS.Services {
		for _, d := range v.Destinations {
			if v.Mark == 0 && slices.Contains(vips, v.Addr.Addr()) && !s.Owns(d.Addr.Addr()) && len(f.Sends) < maxFacts {
				f.Sends = append(f.Sends, Sending{v.Addr.Addr(), v.Addr.Port(), words[v.Proto], diagnose.SourceTo(s, d.Addr.Addr()), d.Addr.Addr(), sentBy(d), d.TunPort})
			}
		}
	}
	return f
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

// join says what only both ends together show.
func (x service) join(k kind, r *Report) {
	if x.o.Peer == nil {
		return
	}
	var found []diagnose.Finding
	fault := func(how diagnose.Severity, code, summary string, evidence ...string) {
		found = append(found, diagnose.Finding{Severity: how, Cause: diagnose.Cause{Code: code, Certainty: diagnose.Inferred, Summary: summary, Evidence: evidence}})
	}
	asked, own := x.o.Peer, FactsOf(x.s, []netip.Addr{x.vip})
	sends := asked.Sends
	if x.role == Director {
		sends = own.Sends
	}
	sends = slices.DeleteFunc(slices.Clone(sends), func(s Sending) bool { return s.VIP != x.vip || s.Port != k.port || s.Proto != words[k.proto] })
	takes := own.Addresses
	if x.role == Director {
		takes = asked.Addresses
	}
	here := slices.DeleteFunc(slices.Clone(sends), func(s Sending) bool { return !slices.Contains(takes, s.To) })
	switch {
	case len(sends) == 0:
	case len(here) == 0:
		var lines []string
		for _, s := range sends {
			lines = append(lines, fmt.Sprintf("on the director: %s:%d -> %s by %s", s.VIP, s.Port, s.To, s.By))
		}
		fault(diagnose.Lost, "outer-not-local", fmt.Sprintf("the director sends packets for %s:%d to none of the real server's addresses", x.vip, k.port), lines...)
	case tunnelled[here[0].By] == 0:
		fault(diagnose.Noted, "ipvs-wrong-method", fmt.Sprintf("the director sends to %s without IPIP (%s)", here[0].To, here[0].By))
	}
	r.add(x.vip, found, []diagnose.Check{{Code: "outer-not-local", Answer: diagnose.Clear}})
}
