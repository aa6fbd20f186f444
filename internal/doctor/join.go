package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/diagnose"
)

// ends are both ends of the ways of one service: how the director sends, and what it and the real server tell of themselves.
type ends struct {
	x                    service
	k                    kind
	director, realServer Facts
	found                []diagnose.Finding
}

// join says what only both ends together show.
func (x service) join(k kind, r *Report) {
	if x.o.Peer == nil {
		return
	}
	e := ends{x: x, k: k, director: *x.o.Peer, realServer: FactsOf(x.s, []netip.Addr{x.vip})}
	if x.role == Director {
		e.director, e.realServer = e.realServer, e.director
	}
	e.compare()
	checks := []diagnose.Check{{Code: "outer-not-local", Answer: diagnose.Clear}}
	if len(e.realServer.MACs) > 0 {
		checks = append(checks, diagnose.Check{Code: wrongMAC, Answer: diagnose.Clear})
	}
	for _, f := range e.found {
		checks = append(checks, diagnose.Check{Code: f.Code, Answer: diagnose.Fault})
	}
	r.add(x.vip, e.found, checks)
}

func (e *ends) says(how diagnose.Severity, code, summary string, evidence ...string) {
	e.found = append(e.found, diagnose.Finding{Severity: how, Cause: diagnose.Cause{Code: code, Certainty: diagnose.Inferred, Summary: summary, Evidence: evidence}})
}

// compare asks of the ways of the service whether they lead to the real server, and as it takes it.
func (e *ends) compare() {
	other := func(s Sending) bool { return s.VIP != e.x.vip || s.Port != e.k.port || s.Proto != words[e.k.proto] }
	sends := slices.DeleteFunc(slices.Clone(e.director.Sends), other)
	here := slices.DeleteFunc(slices.Clone(sends), func(s Sending) bool { return !slices.Contains(e.realServer.Addresses, s.To) })
	if slices.Contains(e.director.Lacks, e.x.vip) && e.x.role != Director {
		e.says(diagnose.Noted, "vip-missing", fmt.Sprintf("the VIP %s is no address of the director: no packets come from it as long as it stands by", e.x.vip))
	}
	if len(sends) == 0 && e.x.role == RealServer {
		e.says(diagnose.Noted, "ipvs-no-service", fmt.Sprintf("the other end's report has no service that sends packets for %s:%d on: it sends nothing to this host, unless by a mark, of which the report has none", e.x.vip, e.k.port))
	}
	if len(sends) > 0 && len(here) == 0 {
		var lines []string
		for _, s := range sends {
			lines = append(lines, fmt.Sprintf("on the director: %s:%d -> %s by %s", s.VIP, s.Port, s.To, s.By))
		}
		e.says(diagnose.Lost, "outer-not-local", fmt.Sprintf("the director sends packets for %s:%d to none of the real server's addresses", e.x.vip, e.k.port), lines...)
	}
	for _, s := range here {
		e.way(s)
		e.frames(s)
	}
	for _, s := range sends {
		if len(here) > 0 && !s.AtRest && !slices.Contains(here, s) {
			e.misled(s)
		}
	}
}

// wrongMAC is the cause of frames that come to a machine with another's Ethernet address.
const wrongMAC = "wrong-mac"

// frames asks whether the frames of a way are the real server's. An address that the director has learned is that of whoever has
// answered, as the network of a cloud does in everybody's place; one that somebody has set is nobody's answer.
func (e *ends) frames(s Sending) {
	if s.MAC == "" || len(e.realServer.MACs) == 0 || slices.Contains(e.realServer.MACs, s.MAC) {
		return
	}
	how, line := diagnose.Noted, fmt.Sprintf("on the director: ip neigh show %s: lladdr %s", s.To, s.MAC)
	if s.Permanent {
		how, line = diagnose.AtRisk, line+" PERMANENT"
	}
	e.says(how, wrongMAC,
		fmt.Sprintf("the director has the Ethernet address %s for %s, and no device of the real server has it: unless something between them takes such frames in its place, they get lost", s.MAC, s.To),
		line, "on the real server: ip link show: "+strings.Join(e.realServer.MACs, ", "))
}

// misled asks whether a way leads to the real server's device, and to none of its addresses.
func (e *ends) misled(s Sending) {
	passes := e.x.role == RealServer && e.x.beyond(s.To, s.From) != ""
	if s.MAC == "" || !slices.Contains(e.realServer.MACs, s.MAC) || passes {
		return
	}
	how, unless := diagnose.Lost, ""
	if e.x.role == Director {
		how, unless = diagnose.AtRisk, ": unless that passes them on, they get lost"
	}
	e.says(how, "outer-not-local", fmt.Sprintf("the director sends packets for %s:%d to %s with the Ethernet address of the real server, whose address that is not%s", s.VIP, s.Port, s.To, unless),
		fmt.Sprintf("on the director: %s:%d -> %s by %s", s.VIP, s.Port, s.To, s.By), fmt.Sprintf("on the director: ip neigh show %s: lladdr %s", s.To, s.MAC))
}

// way asks of one way what the real server makes of what comes by it. What a real server finds of that itself is not said twice.
func (e *ends) way(s Sending) {
	word := s.By
	if s.By == "gue" || s.By == "fou" {
		word = fmt.Sprintf("%s %d", s.By, s.TunPort)
	}
	tunnels := tunnelled[s.By] != 0
	if !tunnels {
		e.says(diagnose.Noted, "ipvs-wrong-method", fmt.Sprintf("the director sends to %s without IPIP (%s)", s.To, s.By))
	}
	if s.AtRest {
		e.says(diagnose.Noted, "ipvs-no-destination", fmt.Sprintf("the director gives the real server %s no new connections of %s:%d: its weight is 0", s.To, s.VIP, s.Port))
	}
	if e.x.role == Director && tunnels {
		if all := e.realServer.Takes; len(all) > 0 && !slices.Contains(all, word) {
			e.says(diagnose.Lost, "tunnel-mode-mismatch", fmt.Sprintf("this director sends to %s by %s, and the real server does not take that", s.To, word), "on the real server: "+strings.Join(all, ", "))
		}
		if slices.Contains(e.realServer.Lacks, e.x.vip) {
			e.says(diagnose.Lost, "vip-missing", fmt.Sprintf("the VIP %s is no address of the real server %s", e.x.vip, s.To))
		}
	}
	for _, m := range e.realServer.MTUs {
		if m.Addr == s.To && s.MTU > m.MTU {
			e.says(diagnose.AtRisk, "mtu-exceeded",
				fmt.Sprintf("the director sends packets of up to %d bytes to %s, where no more than %d may come: longer ones get lost, unless a router between them cuts or refuses them", s.MTU, s.To, m.MTU),
				fmt.Sprintf("on the director: the way to %s has mtu %d", s.To, s.MTU), fmt.Sprintf("on the real server: the device of %s has mtu %d", m.Addr, m.MTU))
		}
	}
}
