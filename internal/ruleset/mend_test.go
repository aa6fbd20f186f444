package ruleset

import (
	"encoding/json"
	"reflect"
	"testing"

	"ipiptrace/internal/host"
)

// TestWhatIsMendedLetsThePacketPass: each kind of rule, and the state that was mended is not the one that others read.
func TestWhatIsMendedLetsThePacketPass(t *testing.T) {
	byNft := func(s *host.Snapshot) *host.Snapshot {
		s.IPTables[0].Backend = "iptables-nft"
		s.Nft = []host.NftTable{{Family: "ip", Name: "filter", IPTables: true, Chains: []host.NftChain{{Name: "INPUT", Hook: "input", Rules: []host.NftRule{{Handle: 9}}}}}}
		return s
	}
	outer := packet("input")
	outer.Proto, outer.HasPorts = 4, false
	icmp := packet("input")
	icmp.Proto, icmp.HasPorts = 1, false
	ports := vmap(tcp("dport"), `"@services"`)
	for what, test := range map[string]struct {
		s *host.Snapshot
		p Packet
	}{
		"a rule":                         {table(t, "accept", and(to80, drop)), packet("input")},
		"a policy":                       {table(t, "drop"), packet("input")},
		"a policy, of IPIP":              {table(t, "drop"), outer},
		"a policy, of ICMP":              {table(t, "drop"), icmp},
		"an element":                     {withElements(t, table(t, "accept", ports), "services", `[[22,{"accept":null}],[80,{"drop":null}]]`), packet("input")},
		"an old rule":                    {saved("ACCEPT", "-p tcp -j DROP"), packet("input")},
		"an old policy":                  {saved("DROP"), packet("input")},
		"an old policy, of IPIP":         {saved("DROP"), outer},
		"an old policy, of ICMP":         {saved("DROP"), icmp},
		"a rule that iptables-nft has":   {byNft(saved("ACCEPT", "-p tcp -j DROP")), packet("input")},
		"a policy that iptables-nft has": {byNft(saved("DROP", "-p udp -j ACCEPT")), packet("input")},
		"a rule in a chain of its own":   {saved("ACCEPT", "-j OWN"), packet("input")},
	} {
		t.Run(what, func(t *testing.T) {
			before, _ := json.Marshal(test.s)
			o := Of(test.s).Evaluate(test.p)
			if o.Rule == nil {
				t.Fatalf("nothing drops it: %+v", o)
			}
			after := *test.s
			Mend(&after, *o.Rule, test.p)
			if o := Of(&after).Evaluate(test.p); o.Rule != nil || len(o.Candidates) > 0 {
				t.Errorf("it is still dropped: %+v", o)
			}
			if now, _ := json.Marshal(test.s); string(now) != string(before) {
				t.Error("the state itself was changed")
			}
		})
	}
}

func withElements(t *testing.T, s *host.Snapshot, set, elements string) *host.Snapshot {
	t.Helper()
	for i := range s.Nft[0].Sets {
		if s.Nft[0].Sets[i].Name == set {
			s.Nft[0].Sets[i].Elem = json.RawMessage(elements)
			return s
		}
	}
	t.Fatalf("no set %s", set)
	return nil
}

// TestARuleOfNATSparesTheService: another service is still translated.
func TestARuleOfNATSparesTheService(t *testing.T) {
	s := table(t, "accept", and(when("==", ip("daddr"), "10.99.0.1"), `{"dnat":{"addr":"10.0.0.9"}}`))
	s.Nft[0].Chains[0].Type, s.Nft[0].Chains[0].Hook = "nat", "prerouting"
	p := packet("prerouting")
	o := Of(s).Translate(p)
	if o.Rule == nil {
		t.Fatalf("%+v", o)
	}
	after := *s
	MendSpared(&after, *o.Rule, p)
	if o := Of(&after).Translate(p); o.Rule != nil {
		t.Errorf("%+v", *o.Rule)
	}
	other := p
	other.Dport++
	if got := Of(&after).Translate(other); got.Rule == nil || !reflect.DeepEqual(got.Rule.Handle, o.Rule.Handle) {
		t.Errorf("another service: %+v", got)
	}
}
