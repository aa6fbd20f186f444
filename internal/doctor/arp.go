package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// Asked is what came of asking on a device who has a VIP.
type Asked struct {
	VIP netip.Addr
	Dev string
	// MACs are the Ethernet addresses that answered, this machine's own not among them.
	MACs []string
	// Why it could not be asked, empty if it was.
	Why string
}

// Question is a VIP and a device on which to ask who has it.
type Question struct {
	VIP netip.Addr
	Dev string
}

// Questions are the devices that face the clients, for each VIP.
func Questions(s *host.Snapshot, o Options) (all []Question) {
	for _, vip := range o.VIPs {
		x := service{s: s, o: o, vip: vip, role: role(s, o, vip)}
		for _, dev := range x.facing() {
			if l := s.LinkNamed(dev); l != nil && !l.NoARP {
				all = withNew(all, []Question{{vip, dev}})
			}
		}
	}
	return all
}

// asked says who answered.
func (r *Report) asked(s *host.Snapshot, all []Asked) {
	const code = "vip-arp-conflict"
	for _, a := range all {
		r.say(step(code), code)
		if a.Why != "" {
			r.open(code, fmt.Sprintf("asking who has %s on %s: %s", a.VIP, a.Dev, a.Why))
			continue
		}
		var who []string
		for _, mac := range a.MACs {
			who = append(who, whose(s, a.Dev, mac))
		}
		line := fmt.Sprintf("arping -D -I %s %s: nobody else answers", a.Dev, a.VIP)
		if len(who) > 0 {
			line = fmt.Sprintf("arping -D -I %s %s: %s", a.Dev, a.VIP, strings.Join(who, ", "))
		}
		r.say(step(code), code, line)
		if f, ok := r.rivals(a, who, line); ok {
			r.add(a.VIP, []diagnose.Finding{f}, []diagnose.Check{{Code: code, Answer: diagnose.Fault}})
		}
	}
}

// whose is an Ethernet address with the IP addresses that this machine knows there.
func whose(s *host.Snapshot, dev, mac string) string {
	l := s.LinkNamed(dev)
	var ips []string
	for _, n := range s.Neighbours {
		if l != nil && n.Link == l.Index && n.MAC == mac {
			ips = append(ips, n.Addr.String())
		}
	}
	if len(ips) == 0 {
		return mac
	}
	return fmt.Sprintf("%s (%s)", mac, strings.Join(ips, ", "))
}

// rivals is the finding that others answer for a VIP: of a director's anybody, elsewhere the second, as one has to be the
// director.
func (r *Report) rivals(a Asked, who []string, line string) (f diagnose.Finding, ok bool) {
	directs := slices.ContainsFunc(r.Services, func(s Summary) bool { return s.VIP == a.VIP && s.Role == Director })
	summary := fmt.Sprintf("%d machines answer ARP for the VIP %s on %s: %s: whoever hears another than the director first sends past it", len(who), a.VIP, a.Dev, strings.Join(who, ", "))
	if directs {
		summary = fmt.Sprintf("another machine answers ARP for the VIP %s on %s: %s: whoever hears it first sends past this director; set arp_ignore=1 and arp_announce=2 there", a.VIP, a.Dev, strings.Join(who, ", "))
	}
	if len(who) == 0 || len(who) == 1 && !directs {
		return f, false
	}
	return diagnose.Finding{Severity: diagnose.AtRisk, Cause: diagnose.Cause{
		Code: "vip-arp-conflict", Certainty: diagnose.Observed, Summary: summary, Evidence: []string{line},
	}}, true
}
