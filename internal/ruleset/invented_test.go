package ruleset

import (
	"testing"
)

// TestWhatIsInventedDecidesNothing: of a packet that nobody has sent the TTL, the length and the client's port may be any
// that it could have, and a rule decides only if it does so of all of them.
func TestWhatIsInventedDecidesNothing(t *testing.T) {
	invented := func(p Packet) Packet { p.Invented, p.AnyPort = true, true; return p }
	answer := packet("output")
	answer.Answer = true
	for what, test := range map[string]struct {
		p         Packet
		iptables  string
		nft, unit string
		want      match
	}{
		"a TTL above":             {packet("input"), "-m ttl --ttl-gt 128", `"ip","field":"ttl"`, `">","right":128`, may},
		"a TTL below":             {packet("input"), "-m ttl --ttl-lt 2", `"ip","field":"ttl"`, `"<","right":2`, may},
		"this TTL":                {packet("input"), "-m ttl --ttl-eq 63", `"ip","field":"ttl"`, `"==","right":63`, may},
		"no packet has that TTL":  {packet("input"), "-m ttl --ttl-eq 0", `"ip","field":"ttl"`, `"==","right":0`, no},
		"any TTL":                 {packet("input"), "-m ttl --ttl-gt 0", `"ip","field":"ttl"`, `">","right":0`, yes},
		"short ones":              {packet("input"), "-m length --length 0:59", `"ip","field":"length"`, `"<","right":60`, may},
		"long ones":               {packet("input"), "-m length --length 1000:65535", `"ip","field":"length"`, `">=","right":1000`, may},
		"shorter than headers":    {packet("input"), "-m length --length 0:39", `"ip","field":"length"`, `"<","right":40`, no},
		"clients with such ports": {packet("input"), "-p tcp -m tcp --sport 50000:51000", `"tcp","field":"sport"`, `"==","right":{"range":[50000,51000]}`, may},
		"other ports":             {packet("input"), "-p tcp -m tcp ! --sport 40000", `"tcp","field":"sport"`, `"!=","right":40000`, may},
		"one of several":          {packet("input"), "-p tcp -m multiport --sports 40000,40001", `"tcp","field":"sport"`, `"==","right":{"set":[40000,40001]}`, may},
		"all clients":             {packet("input"), "-p tcp -m tcp --sport 1024:65535", `"tcp","field":"sport"`, `"==","right":{"range":[1024,65535]}`, yes},
		"no client":               {packet("input"), "-p tcp -m tcp --sport 53", `"tcp","field":"sport"`, `"==","right":53`, no},
		"the service's port":      {packet("input"), "-p tcp -m tcp --dport 80", `"tcp","field":"dport"`, `"==","right":80`, yes},
		"answers to such ports":   {answer, "-p tcp -m tcp --dport 50000:51000", `"tcp","field":"dport"`, `"==","right":{"range":[50000,51000]}`, may},
		"answers of the service":  {answer, "-p tcp -m tcp --sport 80", `"tcp","field":"sport"`, `"==","right":80`, yes},
	} {
		t.Run(what, func(t *testing.T) {
			s := saved("ACCEPT", test.iptables+" -j DROP")
			if test.p.Hook == "output" {
				s.IPTables[0].Chains[0].Name = "OUTPUT"
			}
			nft := table(t, "accept", and(`{"match":{"left":{"payload":{"protocol":`+test.nft+`}},"op":`+test.unit+`}}`, drop))
			nft.Nft[0].Chains[0].Hook = test.p.Hook
			for backend, o := range map[string]Outcome{"iptables": Of(s).Evaluate(invented(test.p)), "nft": Of(nft).Evaluate(invented(test.p))} {
				got := map[bool]match{true: yes, false: no}[o.Rule != nil]
				if len(o.Candidates) > 0 {
					got = may
				}
				if got != test.want {
					t.Errorf("%s: %v, want %v", backend, got, test.want)
				}
			}
		})
	}
}

// TestARepairOpensTheService: the client's port is its own choice, at whatever hook the answer is.
func TestARepairOpensTheService(t *testing.T) {
	p := packet("forward")
	p.Src, p.Dst, p.Sport, p.Dport = p.Dst, p.Src, p.Dport, p.Sport
	p.Answer = true
	r := Rule{Backend: "nft", Family: "ip", Table: "z", Chain: "p", Policy: "drop"}
	want := "nft insert rule ip z p ip saddr 10.99.0.1 tcp sport 80 accept"
	if got := Fix(r, p).Commands(); len(got) != 1 || got[0].String() != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r = Rule{Backend: "iptables-legacy", Family: "ip", Table: "filter", Chain: "FORWARD", Policy: "drop"}
	want = "iptables-legacy -t filter -I FORWARD -s 10.99.0.1 -p tcp --sport 80 -j ACCEPT"
	if got := Fix(r, p).Commands(); len(got) != 1 || got[0].String() != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
