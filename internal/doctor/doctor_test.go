package doctor

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

var (
	vip      = netip.MustParseAddr("10.99.0.1")
	rip      = netip.MustParseAddr("10.0.0.11")
	director = netip.MustParseAddr("10.0.0.2")
	client   = netip.MustParsePrefix("203.0.113.0/24")
)

// machine is a healthy real server, with two networks and a default route.
func machine(changes ...func(*host.Snapshot)) *host.Snapshot {
	s := &host.Snapshot{
		Modules: []string{"ipip", "tunnel4"}, LSMs: []string{"capability"},
		Links: []host.Link{
			{Index: 1, Name: "lo", Type: "loopback", Up: true},
			{Index: 2, Name: "eth0", Type: "veth", Up: true},
			{Index: 3, Name: "tunl0", Type: "ipip", Up: true, Tunnel: &host.Tunnel{Proto: 4, Fallback: true}},
			{Index: 4, Name: "eth1", Type: "veth", Up: true},
		},
		Addrs: []host.Addr{
			{Link: 1, Prefix: netip.MustParsePrefix("127.0.0.1/8")}, {Link: 2, Prefix: netip.PrefixFrom(rip, 24)},
			{Link: 3, Prefix: netip.PrefixFrom(vip, 32)}, {Link: 4, Prefix: netip.MustParsePrefix("172.16.0.1/16")},
		},
		Routes: []host.Route{
			{Table: 255, Dst: netip.PrefixFrom(rip, 32), Type: "local", Protocol: 2, Hops: []host.Hop{{Link: 2}}},
			{Table: 255, Dst: netip.PrefixFrom(vip, 32), Type: "local", Protocol: 2, Hops: []host.Hop{{Link: 3}}},
			{Table: 255, Dst: netip.MustParsePrefix("172.16.0.1/32"), Type: "local", Protocol: 2, Hops: []host.Hop{{Link: 4}}},
			{Table: 254, Dst: netip.MustParsePrefix("10.0.0.0/24"), Type: "unicast", Protocol: 2, Hops: []host.Hop{{Link: 2}}},
			{Table: 254, Dst: netip.MustParsePrefix("172.16.0.0/16"), Type: "unicast", Protocol: 2, Hops: []host.Hop{{Link: 4}}},
			{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: "unicast", Hops: []host.Hop{{Link: 2, Gateway: netip.MustParseAddr("10.0.0.1")}}},
		},
		Rules: []host.Rule{
			{Priority: 0, Action: "lookup", Table: 255, Suppress: -1}, {Priority: 32766, Action: "lookup", Table: 254, Suppress: -1},
		},
		Sysctls: map[string]string{
			"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/tunl0/rp_filter": "0", "net/ipv4/conf/eth0/rp_filter": "0", "net/ipv4/conf/eth1/rp_filter": "0",
			"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/eth0/arp_ignore": "0", "net/ipv4/conf/eth1/arp_ignore": "0",
			"net/ipv4/tcp_syncookies": "1", "net/ipv4/conf/tunl0/forwarding": "0", "net/ipv4/ip_forward": "0",
		},
		Sockets: []host.Socket{{Proto: "tcp", State: "listen", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), 80), SendQueue: 128, Unbound: true}},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

// dropsAllBut is a chain that drops what does not come from a network.
func dropsAllBut(hook, from string) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		addr, bits, _ := strings.Cut(from, "/")
		match := fmt.Sprintf(`{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":%q,"len":%s}}}}`, addr, bits)
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab", Chains: []host.NftChain{{
			Name: hook, Hook: hook, Type: "filter", Policy: "drop",
			Rules: []host.NftRule{{Handle: 3, Text: "ip saddr " + from + " accept", Exprs: []json.RawMessage{json.RawMessage(match), json.RawMessage(`{"accept":null}`)}}},
		}}})
	}
}

func lines(r Report) (all []string) {
	for _, f := range r.Findings {
		all = append(all, string(f.Severity)+" "+f.Code)
	}
	for _, c := range r.Unread() {
		all = append(all, "unread "+c.Code)
	}
	return all
}

func TestReportSaysWhatIsTheSameForAll(t *testing.T) {
	all := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	sampled := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}}
	noDefault := func(s *host.Snapshot) { s.Routes = s.Routes[:5] }
	for what, test := range map[string]struct {
		s    *host.Snapshot
		o    Options
		want []string
	}{
		"nothing is wrong":                       {machine(), all, nil},
		"nor for samples":                        {machine(), sampled, nil},
		"nor where no port is given":             {machine(), Options{VIPs: []netip.Addr{vip}}, nil},
		"nor where nothing is given":             {machine(), Options{}, nil},
		"no way back to the clients":             {machine(noDefault), all, []string{"fault no-return-route"}},
		"some clients are dropped":               {machine(dropsAllBut("output", "172.16.0.0/12")), sampled, []string{"fault firewall-drop"}},
		"who the director is decides":            {machine(dropsIPIPBut("10.0.0.64/26"), neighbours), sampled, []string{"unread firewall-drop"}},
		"and the one that is given is dropped":   {machine(dropsIPIPBut("10.0.0.64/26"), neighbours), all, []string{"fault firewall-drop"}},
		"a rule names who is let in":             {machine(letsIn("input", `"10.0.0.9"`, 4)), sampled, []string{"unread firewall-drop"}},
		"and it is another one":                  {machine(letsIn("input", `"10.0.0.9"`, 4)), all, []string{"fault firewall-drop"}},
		"a set does":                             {machine(letsIn("input", `"@friends"`, 4)), sampled, []string{"unread firewall-drop"}},
		"a rule names who is dropped":            {machine(letsIn("input", `"10.0.0.9"`, 4, `{"drop":null}`)), sampled, []string{"fault firewall-drop"}},
		"rules name the clients":                 {machine(letsIn("prerouting", `{"range":["198.51.100.7","198.51.100.9"]}`, 6)), sampled, []string{"risk firewall-drop"}},
		"a step is left out":                     {machine(noDefault), Options{VIPs: all.VIPs, Client: client, Director: director, Skip: []string{"settings"}}, nil},
		"a code alone is asked for":              {machine(noDefault), Options{VIPs: all.VIPs, Client: client, Director: director, Only: []string{"no-return-route"}}, []string{"fault no-return-route"}},
		"another port, on which nobody is there": {machine(), Options{VIPs: all.VIPs, Ports: []uint16{81}, Client: client, Director: director}, []string{"fault no-listener"}},
	} {
		t.Run(what, func(t *testing.T) {
			r := Examine(test.s, test.o)
			if got := lines(r); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
				for _, f := range r.Findings {
					t.Log(f.Summary)
				}
			}
		})
	}
}

// dropsIPIPBut is a rule that drops IPIP that does not come from a network.
func dropsIPIPBut(from string) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		addr, bits, _ := strings.Cut(from, "/")
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab", Chains: []host.NftChain{{
			Name: "input", Hook: "input", Type: "filter", Policy: "accept",
			Rules: []host.NftRule{{Handle: 3, Text: "ip protocol 4 ip saddr != " + from + " drop", Exprs: []json.RawMessage{
				json.RawMessage(`{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":4}}`),
				json.RawMessage(fmt.Sprintf(`{"match":{"op":"!=","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":%q,"len":%s}}}}`, addr, bits)),
				json.RawMessage(`{"drop":null}`),
			}}},
		}}})
	}
}

// letsIn is a chain that drops a protocol, and accepts it from one source alone; or with another verdict.
func letsIn(hook, source string, proto int, verdict ...string) func(*host.Snapshot) {
	of := func(protocol, field, right string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"match":{"op":"==","left":{"payload":{"protocol":%q,"field":%q}},"right":%s}}`, protocol, field, right))
	}
	verdict = append(verdict, `{"accept":null}`)
	return func(s *host.Snapshot) {
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab",
			Sets: []host.NftSet{{Name: "friends", Elem: json.RawMessage(`["10.0.0.9","10.0.0.10"]`)}},
			Chains: []host.NftChain{{Name: hook, Hook: hook, Type: "filter", Policy: "accept", Rules: []host.NftRule{
				{Handle: 3, Text: "from a friend", Exprs: []json.RawMessage{of("ip", "saddr", source), json.RawMessage(verdict[0])}},
				{Handle: 4, Text: "drop", Exprs: []json.RawMessage{of("ip", "protocol", fmt.Sprint(proto)), json.RawMessage(`{"drop":null}`)}},
			}}},
		})
	}
}

func neighbours(s *host.Snapshot) {
	s.Neighbours = []host.Neighbour{{Link: 2, Addr: netip.MustParseAddr("10.0.0.70"), State: "stale"}, {Link: 2, Addr: netip.MustParseAddr("10.0.0.8"), State: "stale"}}
}

func TestRoleIsToldFromTheState(t *testing.T) {
	ipvs := func(s *host.Snapshot) {
		s.IPVS = &host.IPVS{Services: []host.Service{{Proto: 6, Addr: netip.AddrPortFrom(vip, 80), Scheduler: "rr"}}}
	}
	onLo := func(s *host.Snapshot) { s.Addrs[2].Link = 1; s.Links[2].Up = false }
	empty := func(s *host.Snapshot) { s.IPVS = &host.IPVS{} }
	for what, test := range map[string]struct {
		s    *host.Snapshot
		want string
	}{
		"a tunnel with the VIP":             {machine(), RealServer},
		"services, and the VIP on lo":       {machine(onLo, ipvs), Director},
		"services, and the VIP on a tunnel": {machine(ipvs), RealServer},
		"ip_vs without services":            {machine(onLo, empty), Director},
		"ip_vs beside a tunnel that is up":  {machine(empty), RealServer},
		"nothing at all":                    {&host.Snapshot{}, RealServer},
	} {
		if got := role(test.s, Options{}, vip); got != test.want {
			t.Errorf("%s: %s", what, got)
		}
	}
}

// TestARepairIsForEachPortThatNeedsIt: what one policy drops of two services is one finding, and takes a command for each.
func TestARepairIsForEachPortThatNeedsIt(t *testing.T) {
	udp := func(s *host.Snapshot) {
		s.Sockets = append(s.Sockets, host.Socket{Proto: "udp", State: "close", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), 80), Unbound: true})
	}
	r := Examine(machine(udp, dropsAllBut("input", "10.0.0.0/24")), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
	if len(r.Findings) != 1 {
		t.Fatalf("got %q", lines(r))
	}
	var got []string
	for _, c := range r.Findings[0].Fix {
		got = append(got, c.String())
	}
	want := []string{"nft insert rule ip lab input ip daddr 10.99.0.1 tcp dport 80 accept", "nft insert rule ip lab input ip daddr 10.99.0.1 udp dport 80 accept"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestOfSeveralVIPsAFindingSaysWhoseItIs: of one, or of all that share it.
func TestOfSeveralVIPsAFindingSaysWhoseItIs(t *testing.T) {
	second := netip.MustParseAddr("10.99.0.2")
	down := func(s *host.Snapshot) { s.Links[2].Up = false }
	r := Examine(machine(down), Options{VIPs: []netip.Addr{vip, second}, Ports: []uint16{80}, Client: client, Director: director})
	got := map[string][]netip.Addr{}
	for _, f := range r.Findings {
		got[f.Code] = f.VIPs
		if f.VIP != f.VIPs[0] {
			t.Errorf("%s: the first of %v is %s", f.Code, f.VIPs, f.VIP)
		}
	}
	if !slices.Equal(got["tunnel-device-down"], r.VIPs) || !slices.Equal(got["vip-missing"], r.VIPs[1:]) {
		t.Errorf("got %v", got)
	}
}

func TestEveryCodeThatIsAskedForHasAStep(t *testing.T) {
	known := map[string]bool{}
	for _, word := range []string{watchedCode, trackingCode, pathMTUCode, placesCode, tunnelsCode, inEffectCode, vipCode, listenersCode, servicesCode} {
		known[word] = true // it has no page
	}
	for _, d := range diagnose.Codes() {
		known[d.Code] = true
	}
	for n, s := range steps {
		for _, code := range s.codes {
			if !known[code] || step(code) != n+1 {
				t.Errorf("%s is no code of step %d", code, n+1)
			}
		}
	}
	for _, role := range []string{RealServer, Director} {
		for _, c := range Examine(machine(), Options{VIPs: []netip.Addr{vip}, Role: role}).Checks {
			if c.Step == 0 {
				t.Errorf("%s has no step", c.Code)
			}
		}
	}
}

func TestVIPsAreFound(t *testing.T) {
	s := machine(func(s *host.Snapshot) {
		s.Links = append(s.Links, host.Link{Index: 5, Name: "dummy0", Type: "dummy", Up: true})
		s.Addrs = append(s.Addrs, host.Addr{Link: 5, Prefix: netip.MustParsePrefix("192.0.2.5/32")}, host.Addr{Link: 1, Prefix: netip.MustParsePrefix("192.0.2.6/32")})
		s.IPVS = &host.IPVS{Services: []host.Service{{Proto: 6, Addr: netip.MustParseAddrPort("192.0.2.7:80")}, {Mark: 3}}}
	})
	got := fmt.Sprint(VIPs(s))
	if want := "[192.0.2.7 10.99.0.1 192.0.2.5 192.0.2.6]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSeveralFirewallsAreAFindingOfTheirOwn: a packet has to pass all of them, and each program shows its own.
func TestSeveralFirewallsAreAFindingOfTheirOwn(t *testing.T) {
	legacy := func(backend string, rules ...host.IPTablesRule) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.IPTables = append(s.IPTables, host.IPTables{Backend: backend, Table: "filter", Chains: []host.IPTablesChain{{Name: "INPUT", Policy: "ACCEPT", Rules: rules}}})
		}
	}
	accept := host.IPTablesRule{Args: []string{"-p", "ipencap", "-j", "ACCEPT"}}
	nft := dropsIPIPBut("10.0.0.0/24")
	all := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	for what, test := range map[string]struct {
		s    *host.Snapshot
		want []string
	}{
		"one":                        {machine(nft), nil},
		"and tables without a rule":  {machine(nft, legacy("iptables-legacy")), nil},
		"two":                        {machine(nft, legacy("iptables-legacy", accept)), []string{"note firewall-mixed"}},
		"both kinds of iptables":     {machine(legacy("iptables-nft", accept), legacy("iptables-legacy", accept)), []string{"note firewall-mixed"}},
		"iptables, which is for nft": {machine(legacy("iptables-nft", accept)), nil},
	} {
		if got := lines(Examine(test.s, all)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", what, got, test.want)
		}
	}
}

// TestRuleThatCannotBeEvaluatedIsNamed: what becomes of a packet is open, and the rule by which it is so is said.
func TestRuleThatCannotBeEvaluatedIsNamed(t *testing.T) {
	s := machine(func(s *host.Snapshot) {
		s.Nft = append(s.Nft, host.NftTable{Family: "inet", Name: "lab", Chains: []host.NftChain{{
			Name: "in", Hook: "input", Type: "filter", Policy: "drop",
			Rules: []host.NftRule{{Handle: 7, Text: "limit rate 5/second accept", Exprs: []json.RawMessage{
				json.RawMessage(`{"limit":{"rate":5,"per":"second"}}`), json.RawMessage(`{"accept":null}`),
			}}},
		}}})
	})
	r := Examine(s, Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Code == "firewall-drop" })
	if got := strings.Join(r.Checks[i].Why, "; "); !strings.Contains(got, "the rule with handle 7 in chain in of nft table inet lab can't be evaluated (limit)") {
		t.Error(got)
	}
	if r.Faults() > 0 {
		t.Errorf("%+v", r.Findings)
	}
}

// TestEachVIPHasASummary: without --vip all that are found are asked about, those of services by mark, too.
func TestEachVIPHasASummary(t *testing.T) {
	second, third := netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("192.0.2.9")
	s := machine(func(s *host.Snapshot) {
		s.Addrs = append(s.Addrs, host.Addr{Link: 1, Prefix: netip.PrefixFrom(second, 32)}, host.Addr{Link: 1, Prefix: netip.PrefixFrom(third, 32)})
		for _, a := range []netip.Addr{second, third} {
			s.Routes = append(s.Routes, host.Route{Table: 255, Dst: netip.PrefixFrom(a, 32), Type: "local", Protocol: 2, Hops: []host.Hop{{Link: 1}}})
		}
		to := []host.Destination{{Addr: netip.MustParseAddrPort("10.0.0.12:0"), Method: "tunnel", Weight: 1}}
		s.IPVS = &host.IPVS{Services: []host.Service{
			{Proto: 6, Addr: netip.AddrPortFrom(second, 443), Scheduler: "rr"}, {Mark: 3, Scheduler: "rr", Destinations: to}, {Mark: 4, Scheduler: "rr"},
		}}
		s.IPTables = append(s.IPTables, host.IPTables{Backend: "iptables-nft", Table: "mangle", Chains: []host.IPTablesChain{{Name: "PREROUTING", Policy: "ACCEPT", Rules: []host.IPTablesRule{
			{Args: []string{"-d", "192.0.2.9/32", "-p", "tcp", "-m", "tcp", "--dport", "80", "-j", "MARK", "--set-xmark", "0x3/0xffffffff"}},
			{Args: []string{"-d", "192.0.2.77/32", "-j", "MARK", "--set-xmark", "0x9/0xffffffff"}},
		}}}})
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab", Chains: []host.NftChain{{Name: "pre", Hook: "prerouting", Type: "filter", Rules: []host.NftRule{{Exprs: []json.RawMessage{
			json.RawMessage(`{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"192.0.2.10"}}`),
			json.RawMessage(`{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":53}}`),
			json.RawMessage(`{"mangle":{"key":{"meta":{"key":"mark"}},"value":4}}`),
		}}}}}})
	})
	if got, want := fmt.Sprint(VIPs(s)), "[192.0.2.5 192.0.2.9 192.0.2.10 10.99.0.1]"; got != want {
		t.Errorf("VIPs %s, want %s", got, want)
	}
	r := Examine(s, Options{Client: client, Director: director})
	var got []string
	for _, one := range r.Services {
		got = append(got, fmt.Sprintf("%s %s %d", one.VIP, one.Role, one.Faults))
	}
	if want := []string{"192.0.2.5 director 1", "192.0.2.9 director 0", "192.0.2.10 director 1", "10.99.0.1 real-server 0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
		for _, f := range r.Findings {
			t.Log(f.VIP, f.Code, f.Summary)
		}
	}
}

// TestWhatThereWasNoTimeForIsUnread: nothing passes that was not asked.
func TestWhatThereWasNoTimeForIsUnread(t *testing.T) {
	for _, role := range []string{RealServer, Director} {
		for _, after := range []int{0, 3} {
			asked := 0
			late := func() bool { asked++; return asked > after }
			r := Examine(machine(), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director, Role: role, Late: late})
			if r.Faults() > 0 || len(r.Unread()) < 20 {
				t.Errorf("%s, after %d: %d faults, %d unread", role, after, r.Faults(), len(r.Unread()))
			}
		}
	}
}
