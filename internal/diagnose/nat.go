package diagnose

import (
	"fmt"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// natRows are the causes that begin with another destination than the packet came with.
func natRows() []row {
	needs := []host.Part{host.PartNft, host.PartIPTables}
	return []row{
		{
			code: "ip-forward-off", stage: routing, needs: append(append([]host.Part{host.PartSysctls}, needs...), lookups...),
			seen: func(q question) sight {
				if !q.redirected() {
					return absent
				}
				return atNoRoute(q)
			},
			state: forwardState,
		},
		{
			code: "redirected", stage: routing, needs: needs,
			seen: func(q question) sight {
				if _, byIPVS := q.sentPlain(); byIPVS {
					return absent
				}
				if q.redirected() && (opensNoSocket(q) != absent || atNoRoute(q) != absent) {
					return shown
				}
				return absent
			},
			state: redirectState,
			bare:  redirection,
		},
	}
}

// forwardState: a packet for another host, and its device does not let it be forwarded (IN_DEV_FORWARD).
func forwardState(q question) *finding {
	a := q.host.Route(q.flow())
	name := "net/ipv4/conf/" + q.dev() + "/forwarding"
	if on, ok := q.host.Sysctl(name); !ok || on != 0 || a.Type != "unicast" {
		return nil
	}
	f := redirection(q)
	f.summary += ", which is another host, and forwarding is off"
	f.evidence = append(f.evidence, got(q.dst(), a), q.says(name), q.says("net/ipv4/ip_forward"))
	// The answers come by another device, and are forwarded, too.
	f.fix = command.Of("sysctl -w net.ipv4.ip_forward=1")
	return &f
}

// redirectState finds the rule that gave the packet away.
func redirectState(q question) *finding {
	p := headers(q.Packet)
	p.Hook, p.IIF = "prerouting", q.dev()
	o := q.ruleset.Translate(p)
	if o.Rule == nil {
		return nil
	}
	f := redirection(q)
	f.summary = fmt.Sprintf("%s gives packets for %s to %s, which does not take them", where(*o.Rule), q.service(), q.asked())
	f.evidence = append(f.evidence, evidenceOf(*o.Rule)...)
	f.fix = ruleset.Spare(*o.Rule, p)
	return &f
}

// redirection is what the journey alone shows.
func redirection(q question) finding {
	return finding{
		summary:  fmt.Sprintf("NAT has given the packet for %s to %s", q.service(), q.asked()),
		evidence: []string{fmt.Sprintf("destination %s at first sight, %s at the end", q.service(), q.asked())},
	}
}
