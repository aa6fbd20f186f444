package lab

import "net/netip"

// policyFaults are IPsec policies that refuse a packet.
func policyFaults() []Scenario {
	return []Scenario{
		policyFault("xfrm-outer", "An IPsec policy refuses the director's packets.", "in", DirectorAddr, RealServerAddr),
		policyFault("xfrm-inner", "An IPsec policy refuses the decapsulated packet.", "in", ClientAddr, VIP),
		policyFault("xfrm-out", "An IPsec policy refuses the reply.", "out", VIP, ClientAddr),
	}
}

func policyFault(name, summary, dir string, src, dst netip.Addr) Scenario {
	policy := func(verb string, more ...string) Step {
		return run(RealServer, append([]string{"ip", "xfrm", "policy", verb, "src", src.String(), "dst", dst.String(), "dir", dir}, more...)...)
	}
	return Scenario{
		Name: name, Summary: summary, Code: "xfrm-policy",
		Inject:  []Step{policy("update", "action", "block")},
		Undo:    []Step{unless("No such file", policy("delete"))},
		Traffic: expect(TimedOut),
	}
}
