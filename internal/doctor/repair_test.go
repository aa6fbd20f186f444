package doctor

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

// fixOf are the commands against a code.
func fixOf(r Report, code string) (all []string) {
	for _, f := range r.Findings {
		if f.Code == code {
			for _, c := range f.Fix {
				all = append(all, c.String())
			}
		}
	}
	return all
}

// TestAServiceBehindAnotherSocketIsNotMissing: TPROXY and BPF_SK_LOOKUP give packets to sockets that the port does not name.
func TestAServiceBehindAnotherSocketIsNotMissing(t *testing.T) {
	options := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{81}, Client: client, Director: director}
	for what, given := range map[string]func(*host.Snapshot){
		"nft": func(s *host.Snapshot) {
			s.Nft = []host.NftTable{{Family: "ip", Name: "m", Chains: []host.NftChain{{Name: "c", Hook: "prerouting", Type: "filter", Priority: -150, Policy: "accept", Rules: []host.NftRule{
				{Handle: 2, Exprs: []json.RawMessage{json.RawMessage(`{"tproxy":{"port":8081}}`)}},
			}}}}}
		},
		"iptables": func(s *host.Snapshot) {
			s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "mangle", Chains: []host.IPTablesChain{{Name: "PREROUTING", Policy: "ACCEPT", Rules: []host.IPTablesRule{
				{Args: []string{"-p", "tcp", "-j", "TPROXY", "--on-port", "8081", "--on-ip", "0.0.0.0", "--tproxy-mark", "0x0/0x0"}},
			}}}}}
		},
		"a program": func(s *host.Snapshot) { s.Lookups = []host.Lookup{{Link: 3, Program: 7}} },
	} {
		got := lines(Examine(machine(given), options))
		if slices.Contains(got, "fault no-listener") || !slices.Contains(got, "unread no-listener") {
			t.Errorf("%s: got %q", what, got)
		}
	}
	if got := lines(Examine(machine(), options)); !slices.Contains(got, "fault no-listener") {
		t.Errorf("without: got %q", got)
	}
}

// TestTheRepairChangesWhatIsSo: ip_forward that is on already changes no device, a queue's discipline that is deleted leaves
// one that drops everything, and a table with an owner is changed by nobody else.
func TestTheRepairChangesWhatIsSo(t *testing.T) {
	options := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	off := func(s *host.Snapshot) { s.Sysctls["net/ipv4/conf/eth0/forwarding"] = "0" }
	on := func(s *host.Snapshot) { s.Sysctls["net/ipv4/ip_forward"] = "1" }
	queues := func(s *host.Snapshot) {
		s.Qdiscs = []host.Qdisc{{Link: 2, Kind: "mq", Handle: "8001:", Parent: "root"}, {Link: 2, Kind: "pfifo", Handle: "8002:", Parent: "8001:1", NoRoom: true}}
	}
	owned := func(s *host.Snapshot) {
		s.Nft = []host.NftTable{{Family: "ip", Name: "own", Owned: true, Chains: []host.NftChain{{Name: "i", Hook: "input", Type: "filter", Policy: "drop"}}}}
	}
	for what, test := range map[string]struct {
		s    *host.Snapshot
		code string
		want []string
	}{
		"one device's forwarding": {hostOf(routed, off, on), "ip-forward-off", []string{"sysctl -w net.ipv4.conf.eth0.forwarding=1"}},
		"all forwarding":          {hostOf(routed, off, func(s *host.Snapshot) { s.Sysctls["net/ipv4/ip_forward"] = "0" }), "ip-forward-off", []string{"sysctl -w net.ipv4.ip_forward=1"}},
		"a queue of several":      {machine(queues), "qdisc-drop", []string{"tc qdisc replace dev eth0 parent 8001:1 pfifo"}},
		"a table with an owner":   {machine(owned), "firewall-drop", nil},
	} {
		r := Examine(test.s, options)
		if got := fixOf(r, test.code); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q of %q", what, got, test.want, lines(r))
		}
	}
}
