package doctor

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

// ipipOnly accepts IPIP at a hook, and its policy drops the rest.
func ipipOnly(hook string) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		match := `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":4}}`
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: hook, Chains: []host.NftChain{{
			Name: "c", Hook: hook, Type: "filter", Policy: "drop",
			Rules: []host.NftRule{{Handle: 3, Text: "ip protocol 4 accept", Exprs: []json.RawMessage{json.RawMessage(match), json.RawMessage(`{"accept":null}`)}}},
		}}})
	}
}

func datagrams(s *host.Snapshot) {
	s.Sockets = append(s.Sockets, host.Socket{Proto: "udp", State: "close", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), 80), Unbound: true})
}

// TestAFindingHasTheCommandsOfAllProtocols: a policy is said once, and lets in nothing but what a rule accepts.
func TestAFindingHasTheCommandsOfAllProtocols(t *testing.T) {
	r := Examine(machine(ipipOnly("input"), datagrams), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
	want := []string{"nft insert rule ip input c ip daddr 10.99.0.1 tcp dport 80 accept", "nft insert rule ip input c ip daddr 10.99.0.1 udp dport 80 accept"}
	if got := commands(r); len(r.Findings) != 1 || !slices.Equal(got, want) {
		t.Errorf("%d findings with %q", len(r.Findings), got)
	}
}

// TestTwoFindingsOfOneCodeAreTwo: what a packet and its answer meet, at two hooks.
func TestTwoFindingsOfOneCodeAreTwo(t *testing.T) {
	r := Examine(machine(ipipOnly("input"), ipipOnly("output")), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
	if got := lines(r); !slices.Equal(got, []string{"fault firewall-drop", "fault firewall-drop"}) {
		t.Errorf("got %q with %q", got, commands(r))
	}
}

// commands are those of all findings.
func commands(r Report) (all []string) {
	for _, f := range r.Findings {
		for _, c := range f.Fix {
			all = append(all, c.String())
		}
	}
	return all
}

// TestThatOneOfSeveralDropsItIsCertain: a rule that can't be evaluated may drop the packet, and if it does not, the policy does.
func TestThatOneOfSeveralDropsItIsCertain(t *testing.T) {
	limited := func(policy string) *host.Snapshot {
		return machine(ipipOnly("input"), func(s *host.Snapshot) {
			c := &s.Nft[0].Chains[0]
			c.Policy = policy
			c.Rules = append(c.Rules, host.NftRule{Handle: 4, Text: "limit rate over 5/second drop", Exprs: []json.RawMessage{
				json.RawMessage(`{"limit":{"rate":5,"per":"second","inv":true}}`), json.RawMessage(`{"drop":null}`),
			}})
		})
	}
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	r := Examine(limited("drop"), o)
	if want := []string{"nft insert rule ip input c ip daddr 10.99.0.1 tcp dport 80 accept"}; r.Faults() != 1 || !slices.Equal(commands(r), want) {
		t.Errorf("got %q with %q", lines(r), commands(r))
	}
	if r = Examine(limited("accept"), o); r.Faults() != 0 || len(commands(r)) != 0 {
		t.Errorf("got %q with %q where the limit is all", lines(r), commands(r))
	}
}
