package fault

import (
	"net/netip"

	"ipiptrace/internal/lab"
)

// policyFaults are IPsec policies that refuse a packet.
func policyFaults() []Scenario {
	return []Scenario{
		policyFault("xfrm-outer", "An IPsec policy refuses the director's packets.", "in", lab.DirectorAddr, lab.RealServerAddr, both(Loss{Fate: "dropped", Functions: []string{"ipip_tunnel_rcv"}, Reasons: unnamed, Dev: "eth0"})),
		policyFault("xfrm-inner", "An IPsec policy refuses the decapsulated packet.", "in", lab.ClientAddr, lab.VIP, []Loss{
			{Proto: lab.TCP, Fate: "dropped", Functions: tcpReceive, Reasons: []string{"XFRM_POLICY"}, Dev: "tunl0"},
			{Proto: lab.UDP, Fate: "dropped", Functions: udpQueue, Reasons: []string{"XFRM_POLICY"}, Dev: "tunl0"},
		}),
		policyFault("xfrm-out", "An IPsec policy refuses the reply.", "out", lab.VIP, lab.ClientAddr, unanswerable()),
	}
}

func policyFault(name, summary, dir string, src, dst netip.Addr, losses []Loss) Scenario {
	policy := func(verb string, more ...string) lab.Step {
		return run(lab.RealServer, append([]string{"ip", "xfrm", "policy", verb, "src", src.String(), "dst", dst.String(), "dir", dir}, more...)...)
	}
	return Scenario{
		Name: name, Summary: summary, Code: "xfrm-policy",
		Inject:  []lab.Step{policy("update", "action", "block")},
		Undo:    []lab.Step{unless("No such file", policy("delete"))},
		Traffic: expect(lab.TimedOut),
		Losses:  losses,
	}
}
