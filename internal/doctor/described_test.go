package doctor

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// said are the lines of a check, joined.
func said(r Report, code string) string {
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Code == code })
	if i < 0 {
		return "(no such check)"
	}
	return strings.Join(append(r.Checks[i].Says, r.Checks[i].Why...), "\n")
}

func tracked(count, most uint64) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		to, from := netip.AddrPortFrom(vip, 80), netip.MustParseAddrPort("203.0.113.9:30000")
		s.Conntrack = &host.Conntrack{Count: count, Max: most, InsertFailed: 3, Conns: []host.Connection{
			{Proto: 6, From: from, To: to, Back: to, BackTo: from, State: "ESTABLISHED", Replied: true},
			{Proto: 6, From: from, To: to, Back: to, BackTo: from, State: "SYN_SENT"},
			{Proto: 4, From: netip.AddrPortFrom(director, 0), To: netip.AddrPortFrom(rip, 0)},
		}}
		s.Sysctls["net/netfilter/nf_conntrack_tcp_loose"] = "0"
	}
}

func TestConnectionTrackingIsDescribed(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	zone := func(s *host.Snapshot) {
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab", Chains: []host.NftChain{{Name: "raw", Rules: []host.NftRule{{
			Handle: 2, Exprs: []json.RawMessage{json.RawMessage(`{"mangle": {"key": {"ct": {"key": "zone"}}, "value": 7}}`)},
		}}}}})
	}
	unread := func(s *host.Snapshot) {
		s.Unread = append(s.Unread, host.Unread{Part: host.PartConntrack, Why: "not permitted"})
	}
	for what, test := range map[string]struct {
		s        *host.Snapshot
		says     []string
		findings []string
	}{
		"it is not in use":     {machine(), []string{"connections are not tracked here"}, nil},
		"it was not read":      {machine(unread), []string{"not permitted"}, []string{"unread tracking"}},
		"with entries":         {machine(tracked(10, 1000)), []string{"10 connections are tracked here, at most 1000 (1%)", "10.99.0.1 has 2 of them: 1 ESTABLISHED, 1 SYN_SENT, 1 without an answer", "insert_failed 3", "tcp_loose = 0"}, nil},
		"with zones":           {machine(tracked(10, 1000), zone), []string{"into zones"}, nil},
		"the table fills":      {machine(tracked(950, 1000)), []string{"(95%)"}, []string{"risk conntrack-full"}},
		"without a limit":      {machine(tracked(950, 0)), []string{"there is no limit"}, nil},
		"one full to the brim": {machine(tracked(1000, 1000)), []string{"(100%)"}, []string{"risk conntrack-full"}},
	} {
		r := Examine(test.s, o)
		for _, want := range test.says {
			if got := said(r, trackingCode); !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", what, want, got)
			}
		}
		unreadElsewhere := func(line string) bool { return strings.HasPrefix(line, "unread ") && line != "unread tracking" }
		if got := slices.DeleteFunc(lines(r), unreadElsewhere); !slices.Equal(got, test.findings) {
			t.Errorf("%s: %q", what, got)
		}
	}
}

func TestLengthsAreDescribed(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	mtus := func(s *host.Snapshot) { s.Links[1].MTU, s.Links[2].MTU, s.Links[3].MTU = 1500, 1480, 9000 }
	learned := func(s *host.Snapshot) {
		s.Exceptions = []host.Exception{{Dst: within(client), Link: 2, MTU: 1400}}
	}
	clamp := func(s *host.Snapshot) {
		s.IPTables = append(s.IPTables, host.IPTables{Backend: "iptables-nft", Table: "mangle", Chains: []host.IPTablesChain{{Name: "OUTPUT", Policy: "ACCEPT", Rules: []host.IPTablesRule{
			{Args: []string{"-p", "tcp", "-m", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS", "--set-mss", "1440"}},
		}}}})
	}
	nftClamp := func(s *host.Snapshot) {
		rule := func(text, value string) host.NftRule {
			return host.NftRule{Text: text, Exprs: []json.RawMessage{json.RawMessage(`{"mangle":{"key":{"tcp option":{"name":"maxseg","field":"size"}},"value":` + value + `}}`)}}
		}
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab", Chains: []host.NftChain{{Name: "out", Hook: "output", Type: "route", Rules: []host.NftRule{
			rule("tcp option maxseg size set 1400", "1400"), rule("tcp option maxseg size set rt mtu", `{"rt":{"key":"mtu","family":"ip"}}`),
		}}}})
		s.Counters = map[string]uint64{"Ip.FragFails": 1}
	}
	measured := func(s *host.Snapshot) {
		s.Sockets[0].Segments = host.Segments{Announced: 1400}
		connection := func(port uint16, seg host.Segments) host.Socket {
			return host.Socket{Proto: "tcp", State: "established", Local: netip.AddrPortFrom(vip, 80), Remote: netip.AddrPortFrom(within(client), port), Segments: seg}
		}
		s.Sockets = append(s.Sockets,
			connection(1, host.Segments{Announced: 1460, Sent: 1448, Received: 1448, MTU: 1500}), connection(2, host.Segments{Announced: 1360, Sent: 1348, Received: 536, MTU: 1400}), connection(3, host.Segments{}))
	}
	torn := func(s *host.Snapshot) { s.Counters = map[string]uint64{"Ip.ReasmFails": 7} }
	balances := func(s *host.Snapshot) {
		s.Addrs[2].Link = 1
		s.Links[2].Up = false
		s.IPVS = &host.IPVS{Services: []host.Service{{Proto: 6, Addr: netip.AddrPortFrom(vip, 80), Scheduler: "rr", Destinations: []host.Destination{
			{Addr: netip.MustParseAddrPort("10.0.0.12:80"), Method: "tunnel", TunType: "gue", Weight: 1},
		}}}}
		s.Sysctls["net/ipv4/vs/pmtu_disc"] = "1"
	}
	for what, test := range map[string]struct {
		s    *host.Snapshot
		says []string
	}{
		"a real server":          {machine(mtus), []string{"mtu of devices: eth0 1500, eth1 9000, tunl0 1480", "leave by eth0, mtu 1500: without clamping the service announces an MSS of 1460, and a client's full segment is 1520 bytes long in IPIP (GUE: 1532)"}},
		"a path MTU was learned": {machine(mtus, learned), []string{"mtu 1400, which was learned by ICMP: without clamping the service announces an MSS of 1360"}},
		"a rule clamps":          {machine(mtus, clamp), []string{"a rule changes the MSS: -A OUTPUT -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1440 (so that a full segment is 1500 bytes long in IPIP)"}},
		"nftables clamps":        {machine(mtus, nftClamp), []string{"a rule changes the MSS: tcp option maxseg size set 1400 (so that a full segment is 1460 bytes long in IPIP)", "a rule changes the MSS: tcp option maxseg size set rt mtu\n"}},
		"sockets say how long": {machine(mtus, measured), []string{
			"the service announces an MSS of 1400 at most (TCP_MAXSEG): a client's full segment is no longer than 1460 bytes long in IPIP",
			"of 2 connections of 10.99.0.1 the largest MSS announced is 1460: a client's full segment is 1520 bytes long in IPIP; the smallest path MTU to clients is 1400, for own segments of 1348; clients were seen to send as many as 1448 bytes in one",
		}},
		"fragments were lost": {machine(mtus, torn), []string{"IpReasmFails 7"}},
		"a director":          {machine(mtus, balances), []string{"to 10.0.0.12 by eth0 in gue: mtu 1500, so that clients' packets of up to 1468 bytes fit", "net.ipv4.vs.pmtu_disc = 1: "}},
	} {
		r := Examine(test.s, o)
		for _, want := range test.says {
			if got := said(r, pathMTUCode); !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", what, want, got)
			}
		}
	}
}

// TestARuleThatHidesLengthsIsANote: packets pass, but who sends too long ones is never told.
func TestARuleThatHidesLengthsIsANote(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	icmp := func(match string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab", Chains: []host.NftChain{{
				Name: "in", Hook: "input", Type: "filter", Policy: "accept",
				Rules: []host.NftRule{{Handle: 9, Text: "icmp drop", Exprs: []json.RawMessage{json.RawMessage(match), json.RawMessage(`{"drop":null}`)}}},
			}}})
		}
	}
	proto := `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":"icmp"}}`
	limit := `{"limit":{"rate":5,"per":"second"}}`
	for what, test := range map[string]struct {
		s    *host.Snapshot
		want []string
	}{
		"all of ICMP":       {machine(icmp(proto)), []string{"note mtu-exceeded"}},
		"perhaps":           {machine(icmp(limit)), []string{"note firewall-drop", "unread firewall-drop"}},
		"another protocol":  {machine(icmp(fmt.Sprintf(`{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":%d}}`, 47))), nil},
		"nothing is hidden": {machine(), nil},
	} {
		got := lines(Examine(test.s, o))
		if len(got) > 2 { // the same at each point of the way
			got = got[len(got)-2:]
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", what, got, test.want)
		}
	}
}
