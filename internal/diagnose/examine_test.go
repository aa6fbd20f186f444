package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// request is the supposed packet of the client of the other tests.
func request() Supposition {
	return Supposition{
		Proto: protoTCP, Client: netip.AddrPortFrom(client, 50000), Service: netip.AddrPortFrom(vip, 80), Dev: "eth0",
		OuterSrc: dip, OuterDst: rip, OuterProto: protoIPIP,
	}
}

// plainRequest is it on a director.
func plainRequest() Supposition {
	q := request()
	q.OuterSrc, q.OuterDst = netip.Addr{}, netip.Addr{}
	return q
}

func examined1(q Supposition, s *host.Snapshot) ([]Finding, []Check) {
	return q.Examine(s, ruleset.Of(s))
}

// said are findings in a line each: "fault rp-filter: sysctl …".
func saidOf(findings []Finding) (lines []string) {
	for _, f := range findings {
		lines = append(lines, strings.TrimSuffix(string(f.Severity)+" "+f.Code+": "+typed(&f.Cause), ": "))
	}
	return lines
}

// quietARP is what every real server is to have.
var quietARP = []func(*host.Snapshot){
	set("net/ipv4/conf/all/arp_ignore", "1"), set("net/ipv4/conf/eth0/arp_ignore", "0"),
}

func supposedServer(changes ...func(*host.Snapshot)) *host.Snapshot {
	return realServer(slices.Concat(quietARP, changes)...)
}

func oneRule(hook, text string, exprs ...string) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		r := host.NftRule{Handle: 4, Text: text}
		for _, e := range exprs {
			r.Exprs = append(r.Exprs, []byte(e))
		}
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab", Chains: []host.NftChain{{Name: hook, Hook: hook, Type: "filter", Policy: "accept", Rules: []host.NftRule{r}}}})
	}
}

func onPolicy(hook, policy string) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "lab", Chains: []host.NftChain{{Name: hook, Hook: hook, Type: "filter", Policy: policy}}})
	}
}

var (
	dropIPIP   = oneRule("input", "ip protocol 4 drop", `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":4}}`, `{"drop":null}`)
	dropOthers = oneRule("input", "ip protocol 41 drop", `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":41}}`, `{"drop":null}`)
	dropLate   = oneRule("input", "ct state established drop", `{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"established"}}`, `{"drop":null}`)
	toQueue    = oneRule("input", "queue to 0", `{"queue":{"num":0}}`)
)

// supposed are states, and what a request meets in them.
func supposedStates() map[string]struct {
	q    Supposition
	s    *host.Snapshot
	want []string
} {
	type test = struct {
		q    Supposition
		s    *host.Snapshot
		want []string
	}
	down := func(s *host.Snapshot) { s.Links[2].Up = false }
	noVIP := func(s *host.Snapshot) { withoutRoute("10.99.0.1/32")(s); s.Addrs = s.Addrs[:1] }
	noListener := func(s *host.Snapshot) { s.Sockets = nil }
	strict := set("net/ipv4/conf/all/rp_filter", "1")
	withXDP := func(s *host.Snapshot) { s.Links[1].XDP = []host.XDP{{Mode: "generic", ID: 7}} }
	netem := func(loss float64) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Qdiscs = []host.Qdisc{{Link: 2, Kind: "netem", Handle: "8001:", Parent: "root", Loss: loss}}
		}
	}
	signed := func(by string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Sockets[0].MD5, s.Sockets[0].Signs = true, []netip.Prefix{netip.MustParsePrefix(by)}
		}
	}
	tc := func(kind string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Filters = []host.Filter{{Link: 2, Side: "ingress", Kind: kind, Pref: 10, Protocol: 3, Actions: []string{"gact drop"}}}
		}
	}
	redirect := func(s *host.Snapshot) {
		s.Filters = []host.Filter{{Link: 2, Side: "ingress", Kind: "matchall", Pref: 10, Protocol: 0x0800, Actions: []string{"mirred redirect"}}}
	}
	upFix := "ip link set tunl0 up"
	director := func(changes ...func(*host.Snapshot)) *host.Snapshot {
		v := host.Service{Proto: 6, Addr: netip.AddrPortFrom(vip, 80), Scheduler: "rr", Destinations: []host.Destination{{Addr: netip.AddrPortFrom(rip, 80), Method: "tunnel", Weight: 1}}}
		s := realServer(slices.Concat(quietARP, []func(*host.Snapshot){set("net/ipv4/vs/pmtu_disc", "0"), set("net/ipv4/vs/backup_only", "0")})...)
		s.Links[2] = host.Link{Index: 3, Name: "dummy0", Type: "dummy", Up: true}
		s.Addrs[0].Prefix = netip.PrefixFrom(dip, 24)
		s.Routes[0].Dst = netip.PrefixFrom(dip, 32)
		s.Sockets, s.IPVS = nil, &host.IPVS{Services: []host.Service{v}}
		for _, change := range changes {
			change(s)
		}
		return s
	}
	anywhere := netip.MustParsePrefix("0.0.0.0/0")
	policy := func(action string, priority uint32, templates int, dir string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.XFRM = append(s.XFRM, host.Policy{Dir: dir, Action: action, Src: anywhere, Dst: anywhere, Priority: priority, Index: priority, Templates: templates})
		}
	}
	refuses := policy("block", 10, 0, "in")
	queue := func(d host.Qdisc, filters ...host.Filter) func(*host.Snapshot) {
		d.Link, d.Handle, d.Parent = 2, "1:", "root"
		return func(s *host.Snapshot) { s.Qdiscs, s.Filters = []host.Qdisc{d}, filters }
	}
	sorting := host.Filter{Link: 2, Side: "1:", Kind: "matchall", Pref: 1, Protocol: 3}
	noARP := func(s *host.Snapshot) { s.Links[1].NoARP = true }
	mode := func(n string) func(*host.Snapshot) { return set("net/ipv4/conf/eth0/arp_ignore", n) }
	announces := func(n string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Sysctls["net/ipv4/conf/all/arp_announce"], s.Sysctls["net/ipv4/conf/eth0/arp_announce"] = "0", n
		}
	}
	inNetwork := func(s *host.Snapshot) { s.Addrs[0].Prefix = netip.MustParsePrefix("10.0.0.11/9") }
	known := func(s *host.Snapshot) {
		s.Neighbours = []host.Neighbour{{Link: 2, Addr: client, State: "permanent"}}
	}
	announceFix := "risk vip-arp-conflict: sysctl -w net.ipv4.conf.eth0.arp_announce=2"
	behind := func(s *host.Snapshot) {
		with(host.Link{Name: "docker0", Type: "bridge", Up: true})(s)
		s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.MustParsePrefix("172.17.0.0/16"), Type: "unicast", Hops: []host.Hop{{Link: 4}}})
		s.Sysctls["net/ipv4/ip_forward"] = "1"
	}
	onward := request()
	onward.Onward, onward.OuterDst = true, netip.MustParseAddr("172.17.0.2")
	outerRule := func(hook string) func(*host.Snapshot) {
		return oneRule(hook, "ip protocol 4 drop", `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":4}}`, `{"drop":null}`)
	}
	arp := func(hook, policy string, exprs ...string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			oneRule(hook, "a rule of ARP", exprs...)(s)
			s.Nft[0].Family, s.Nft[0].Chains[0].Policy = "arp", policy
			s.Links[1].MAC = "02:00:00:00:00:11"
		}
	}
	arpMatch := func(field, value string) string {
		return `{"match":{"op":"==","left":{"payload":{"protocol":"arp","field":"` + field + `"}},"right":"` + value + `"}}`
	}
	const drop, accept, limited = `{"drop":null}`, `{"accept":null}`, `{"limit":{"rate":1,"per":"second"}}`
	answersAll, ofVIP := set("net/ipv4/conf/all/arp_ignore", "0"), arpMatch("daddr ip", "10.99.0.1")
	atEgress := func(s *host.Snapshot) {
		outerRule("egress")(s)
		s.Nft[0].Family, s.Nft[0].Chains[0].Devices = "netdev", []string{"docker0"}
	}
	fromTo := func(in, out string) func(*host.Snapshot) {
		match := func(key, dev string) string {
			return `{"match":{"op":"==","left":{"meta":{"key":"` + key + `"}},"right":"` + dev + `"}}`
		}
		return oneRule("postrouting", "drop", match("iifname", in), match("oifname", out), `{"drop":null}`)
	}
	onHost := func(s *host.Snapshot) { s.Addrs[1].Scope = "host" }
	source := func(a netip.Addr) func(*host.Snapshot) {
		return func(s *host.Snapshot) { s.Routes[2].Source = a }
	}
	backup := func(s *host.Snapshot) { s.IPVS.Backup = true }
	weightless := func(s *host.Snapshot) { s.IPVS.Services[0].Destinations[0].Weight = 0 }
	byRoute := func(s *host.Snapshot) { s.IPVS.Services[0].Destinations[0].Method = "route" }
	return map[string]test{
		"nothing is wrong":                 {request(), supposedServer(), nil},
		"the tunnel is down":               {request(), supposedServer(down), []string{"fault tunnel-device-down: " + upFix}},
		"nobody listens":                   {request(), supposedServer(noListener), []string{"fault no-listener"}},
		"two, one behind the other":        {request(), supposedServer(down, strict), []string{"fault tunnel-device-down: " + upFix, "fault rp-filter: sysctl -w net.ipv4.conf.tunl0.rp_filter=2"}},
		"two on one way":                   {request(), supposedServer(noVIP, noListener), []string{"fault vip-missing: ip addr add 10.99.0.1/32 dev tunl0", "fault no-listener"}},
		"IPIP is dropped":                  {request(), supposedServer(dropIPIP), []string{"fault firewall-drop: nft delete rule ip lab input handle 4"}},
		"another protocol is":              {request(), supposedServer(dropOthers), nil},
		"what is part of a connection is":  {request(), supposedServer(dropLate), []string{"fault firewall-drop: nft delete rule ip lab input handle 4"}},
		"a policy drops answers":           {request(), supposedServer(onPolicy("output", "drop")), []string{"fault firewall-drop: nft insert rule ip lab output ip saddr 10.99.0.1 tcp sport 80 accept"}},
		"a program may drop it":            {request(), supposedServer(withXDP), []string{"note xdp-drop"}},
		"the client has to sign":           {request(), supposedServer(signed("10.0.0.7/32")), []string{"note tcp-auth"}},
		"another one has to sign":          {request(), supposedServer(signed("10.0.0.8/32")), nil},
		"a filter may drop it":             {request(), supposedServer(tc("u32")), []string{"note tc-drop"}},
		"a filter sends it elsewhere":      {request(), supposedServer(redirect), nil},
		"a filter drops all":               {request(), supposedServer(tc("matchall")), []string{"fault tc-drop: tc filter del dev eth0 ingress pref 10"}},
		"a rule queues it":                 {request(), supposedServer(toQueue), []string{"fault queue-drop: nft delete rule ip lab input handle 4"}},
		"a program decides":                {request(), supposedServer(toQueue, func(s *host.Snapshot) { s.Queues = []host.Queue{{Number: 0, Reader: 7}} }), []string{"note queue-drop"}},
		"all answers are lost":             {request(), supposedServer(netem(100)), []string{"fault qdisc-drop: tc qdisc del dev eth0 root"}},
		"some answers are lost":            {request(), supposedServer(netem(1)), []string{"risk qdisc-drop: tc qdisc del dev eth0 root"}},
		"no room for any":                  {request(), supposedServer(queue(host.Qdisc{Kind: "pfifo", NoRoom: true})), []string{"fault qdisc-drop: tc qdisc del dev eth0 root"}},
		"nor in a queue that is passed by": {request(), supposedServer(queue(host.Qdisc{Kind: "fq", NoRoom: true})), []string{"risk qdisc-drop: tc qdisc del dev eth0 root"}},
		"a black hole":                     {request(), supposedServer(queue(host.Qdisc{Kind: "blackhole"})), []string{"fault qdisc-drop: tc qdisc del dev eth0 root"}},
		"no filter gives a class":          {request(), supposedServer(queue(host.Qdisc{Kind: "drr"})), []string{"risk qdisc-drop: tc qdisc del dev eth0 root"}},
		"one may":                          {request(), supposedServer(queue(host.Qdisc{Kind: "drr"}, sorting)), nil},
		"it does without ARP":              {request(), supposedServer(noARP), []string{"risk neighbour-failed: ip link set eth0 arp on"}},
		"it answers no ARP at all":         {request(), supposedServer(mode("8")), []string{"risk neighbour-failed"}},
		"a mode that the kernel ignores":   {request(), supposedServer(mode("5")), []string{"risk vip-arp-conflict"}},
		"it answers by scope":              {request(), supposedServer(mode("3")), []string{"risk vip-arp-conflict"}},
		"it is passed on":                  {onward, supposedServer(behind), nil},
		"and dropped where it leaves":      {onward, supposedServer(behind, outerRule("postrouting")), []string{"fault firewall-drop: nft delete rule ip lab postrouting handle 4"}},
		"no answer of ARP comes in":        {request(), supposedServer(arp("input", "accept", arpMatch("operation", "reply"), drop)), []string{"risk neighbour-failed: nft delete rule arp lab input handle 4"}},
		"no question of ARP leaves":        {request(), supposedServer(arp("output", "drop", arpMatch("operation", "reply"), accept)), []string{"risk neighbour-failed"}},
		"no answer of ARP leaves":          {request(), supposedServer(arp("output", "accept", arpMatch("operation", "reply"), drop)), nil},
		"another's answer of ARP":          {request(), supposedServer(arp("input", "accept", arpMatch("operation", "reply"), arpMatch("saddr ip", "10.0.0.99"), drop)), nil},
		"of ARP some are dropped":          {request(), supposedServer(arp("input", "accept", limited, drop)), nil},
		"no question for the VIP":          {request(), supposedServer(answersAll, arp("input", "accept", ofVIP, drop)), nil},
		"no question for another":          {request(), supposedServer(answersAll, arp("input", "accept", arpMatch("daddr ip", "10.99.0.2"), drop)), []string{"risk vip-arp-conflict: sysctl -w net.ipv4.conf.eth0.arp_ignore=1"}},
		"and dropped by the device":        {onward, supposedServer(behind, atEgress), []string{"fault firewall-drop: nft delete rule netdev lab egress handle 4"}},
		"by where it came in":              {onward, supposedServer(behind, fromTo("eth0", "docker0")), []string{"fault firewall-drop: nft delete rule ip lab postrouting handle 4"}},
		"not by where others do":           {onward, supposedServer(behind, fromTo("eth1", "docker0")), nil},
		"what comes back is":               {onward, supposedServer(behind, oneRule("postrouting", "ip saddr 10.99.0.1 drop", `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.99.0.1"}}`, `{"drop":null}`)), []string{"fault firewall-drop: nft delete rule ip lab postrouting handle 4"}},
		"it asks as the VIP":               {request(), supposedServer(announces("0")), []string{announceFix}},
		"not where it need not ask":        {request(), supposedServer(announces("0"), known), nil},
		"it asks as it is to":              {request(), supposedServer(announces("2")), nil},
		"as one of its network":            {request(), supposedServer(announces("1")), nil},
		"of which the VIP is, too":         {request(), supposedServer(announces("1"), inNetwork), []string{announceFix}},
		"a mode that is as none":           {request(), supposedServer(announces("3")), []string{"risk vip-arp-conflict"}},
		"that is the host's alone":         {request(), supposedServer(mode("3"), onHost), nil},
		"it answers ARP":                   {request(), supposedServer(set("net/ipv4/conf/all/arp_ignore", "0")), []string{"risk vip-arp-conflict: sysctl -w net.ipv4.conf.eth0.arp_ignore=1"}},
		"IPsec refuses it":                 {request(), supposedServer(refuses), []string{"fault xfrm-policy: ip xfrm policy delete dir in index 10"}},
		"but for another policy":           {request(), supposedServer(refuses, policy("allow", 5, 0, "in")), nil},
		"that comes after it":              {request(), supposedServer(refuses, policy("allow", 15, 0, "in")), []string{"fault xfrm-policy: ip xfrm policy delete dir in index 10"}},
		"nor where no device asks":         {request(), supposedServer(refuses, set("net/ipv4/conf/all/disable_policy", "1")), nil},
		"IPsec encrypts the answer":        {request(), supposedServer(policy("allow", 10, 1, "out")), nil},
		"a director":                       {plainRequest(), director(), nil},
		"one without real servers":         {plainRequest(), director(weightless), []string{"fault ipvs-no-destination: ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1"}},
		"one that routes":                  {plainRequest(), director(byRoute), []string{"note ipvs-wrong-method: ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1"}},
		"one that drops what it sends":     {plainRequest(), director(oneRule("output", "ip protocol 4 drop", `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":4}}`, `{"drop":null}`)), []string{"fault firewall-drop: nft delete rule ip lab output handle 4"}},
		"one that sends as the VIP":        {plainRequest(), director(source(vip)), []string{"risk martian-source"}},
		"one that sends as itself":         {plainRequest(), director(source(dip)), nil},
		"one without the VIP":              {plainRequest(), director(noVIP), []string{"risk vip-missing: ip addr add 10.99.0.1/32 dev lo"}},
		"a backup, without it":             {plainRequest(), director(noVIP, backup), nil},
		"one of small packets":             {plainRequest(), director(set("net/ipv4/vs/pmtu_disc", "1"), func(s *host.Snapshot) { s.Links[1].MTU = 1500 }), []string{"note mtu-exceeded"}},
	}
}

func TestASupposedPacketMeetsWhatALostOneWould(t *testing.T) {
	for what, test := range supposedStates() {
		t.Run(what, func(t *testing.T) {
			found, _ := examined1(test.q, test.s)
			if got := saidOf(found); !slices.Equal(got, test.want) {
				t.Errorf("got %q\nwant %q", got, test.want)
				for _, f := range found {
					t.Log(f.Summary, f.Evidence)
				}
			}
		})
	}
}

// TestDoctorSaysNothingOfWhatWasNotRead takes each part of the state away: no fault comes of that, and what needs it is unread.
func TestDoctorSaysNothingOfWhatWasNotRead(t *testing.T) {
	for what, test := range supposedStates() {
		before, _ := examined1(test.q, test.s)
		for _, part := range allParts {
			rest := slices.DeleteFunc(slices.Clone(allParts), func(p host.Part) bool { return p == part })
			s := test.s.Only(rest...)
			s.Modules = test.s.Modules
			s.Unread = append(s.Unread, host.Unread{Part: part, Why: "not permitted"})
			found, checks := examined1(test.q, s)
			for _, f := range found {
				same := func(b Finding) bool { return b.Code == f.Code && b.Severity == f.Severity }
				if f.Severity == Lost && !slices.ContainsFunc(before, same) && f.Code != "firewall-drop" {
					t.Errorf("%s, without %s: %s %s", what, part, f.Code, f.Summary)
				}
			}
			unread := slices.ContainsFunc(checks, func(c Check) bool { return len(c.Unread) > 0 })
			if needed := part == host.PartNft || part == host.PartIPTables || part == host.PartLinks; needed && !unread {
				t.Errorf("%s: that %s was not read is not said", what, part)
			}
		}
	}
}

func TestWhatIsSentElsewhereIsNotFollowed(t *testing.T) {
	s := supposedServer(func(s *host.Snapshot) {
		s.Filters = []host.Filter{{Link: 2, Side: "ingress", Kind: "matchall", Pref: 10, Protocol: 0x0800, Actions: []string{"mirred redirect"}}}
	})
	_, checks := examined1(request(), s)
	if !slices.ContainsFunc(checks, func(c Check) bool { return c.Code == "tc-drop" && len(c.Unread) > 0 }) {
		t.Errorf("%+v", checks)
	}
}
