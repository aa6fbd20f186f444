package diagnose

import (
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
)

var stranger = netip.MustParseAddr("10.0.0.99")

// with adds devices, the first of them with the index 4.
func with(links ...host.Link) func(*host.Snapshot) {
	return func(s *host.Snapshot) {
		for i, l := range links {
			l.Index = uint32(4 + i)
			s.Links = append(s.Links, l)
		}
	}
}

// device is a tunnel that is up.
func device(name, kind string, proto uint8, local, remote netip.Addr) host.Link {
	return host.Link{Name: name, Type: kind, Up: true, Tunnel: &host.Tunnel{Proto: proto, Local: local, Remote: remote}}
}

func isDown(l host.Link) host.Link { l.Up = false; return l }

// fallback0 is a module's own device, onLink one that is bound to another.
func fallback0(l host.Link) host.Link { l.Tunnel.Fallback = true; return l }

func onLink(l host.Link, link uint32) host.Link { l.Tunnel.Link = link; return l }

func tunl0Down(s *host.Snapshot) { s.Links[2].Up = false }

// noTunl0 is a namespace that did not get one; the VIP is on lo.
func noTunl0(s *host.Snapshot) {
	s.Links, s.Addrs[1].Link, s.Routes[1].Hops[0].Link = s.Links[:2], 1, 1
}

func port(p host.FOUPort) func(*host.Snapshot) {
	return func(s *host.Snapshot) { s.FOU, s.Modules = append(s.FOU, p), append(s.Modules, "fou") }
}

// byGUE is what the director sent by GUE.
func byGUE(j journey.Journey) journey.Journey {
	j.Outer.Protocol = protoUDP
	return j
}

// toPort is what came to another port than GUE's own.
func toPort(j journey.Journey, n uint16, fou bool) journey.Journey {
	j.Outer.SrcPort, j.Outer.DstPort, j.Outer.FOU = 40000, n, fou
	return j
}

// behind is a container behind this host, which has the outer destination.
func behind(s *host.Snapshot) {
	withoutRoute("10.0.0.11/32")(s)
	s.Links = append(s.Links, host.Link{Index: 4, Name: "cont0", Type: "veth", Up: true})
	s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.PrefixFrom(rip, 32), Type: "unicast", Hops: []host.Hop{{Link: 4}}})
}

// tunnelled are losses at the tunnel, by whatever takes IPIP beside ipip.
func tunnelled() map[string]loss {
	const fallback = "net/core/fb_tunnels_only_for_init_net"
	refused := func() journey.Journey {
		return rejected(dropped("tunnel4_rcv", "NOT_SPECIFIED", "eth0", true), journey.ByICMP, 3, 3)
	}
	noPort := func() journey.Journey {
		return byGUE(rejected(dropped("udp_rcv", "NO_SOCKET", "eth0", true), journey.ByICMP, 3, 3))
	}
	silent := func(function string) journey.Journey { return dropped(function, "NOT_SPECIFIED", "eth0", true) }
	noAddress := dropped("ip_error", "IP_INADDRERRORS", "eth0", true)
	other := netip.MustParseAddr("10.0.0.12")
	own := "ip link add lvs0 type ipip local 10.0.0.11; ip link set lvs0 up"
	return map[string]loss{
		"a tunnel for this director is down":      {refused(), realServer(tunl0Down, with(isDown(device("lvsa", "ipip", 4, rip, dip)))), "tunnel-device-down", Observed, "ip link set lvsa up"},
		"its own before tunl0":                    {refused(), realServer(tunl0Down, with(isDown(device("lvsa", "ipip", 4, netip.Addr{}, dip)), device("lvsb", "ipip", 4, rip, stranger))), "tunnel-device-down", Observed, "ip link set lvsa up"},
		"an external device is down":              {refused(), realServer(noTunl0, with(isDown(host.Link{Name: "e", Type: "ipip", Tunnel: &host.Tunnel{Collect: true}}))), "tunnel-device-down", Observed, "ip link set e up"},
		"one of sit in mode any is down":          {refused(), realServer(noTunl0, with(isDown(device("s", "sit", 0, rip, netip.Addr{})))), "tunnel-device-down", Observed, "ip link set s up"},
		"sit for another peer, tunl0 is down":     {refused(), realServer(tunl0Down, with(device("s", "sit", 0, rip, stranger))), "tunnel-device-down", Observed, "ip link set tunl0 up"},
		"sit0 is up, for IPv6":                    {silent("sit_tunnel_rcv"), realServer(tunl0Down, with(device("sit0", "sit", 41, netip.Addr{}, netip.Addr{}))), "tunnel-device-down", Observed, "ip link set tunl0 up"},
		"sit0 is up, and ipip is not loaded":      {silent("sit_tunnel_rcv"), realServer(noTunl0, func(s *host.Snapshot) { s.Modules = []string{"sit"} }, with(device("sit0", "sit", 41, netip.Addr{}, netip.Addr{}))), "tunnel-module-missing", Observed, "modprobe ipip; ip link set tunl0 up"},
		"a device of another namespace":           {refused(), realServer(tunl0Down, with(host.Link{Name: "m", Type: "ipip", Up: true, LinkNetns: true, Tunnel: &host.Tunnel{Local: rip}})), "tunnel-device-down", Observed, "ip link set tunl0 up"},
		"for another local address":               {refused(), realServer(tunl0Down, with(device("lvsa", "ipip", 4, other, netip.Addr{}))), "tunnel-endpoint-mismatch", Observed, "ip tunnel change lvsa mode ipip remote any local 10.0.0.11"},
		"this namespace gets no tunl0":            {refused(), realServer(noTunl0, set(fallback, "1")), "tunnel-wrong-namespace", Observed, own},
		"no namespace gets tunl0":                 {refused(), realServer(noTunl0, set(fallback, "2"), func(s *host.Snapshot) { s.Initial = true }), "tunnel-wrong-namespace", Observed, own},
		"no tunl0, and nobody knows why":          {refused(), realServer(noTunl0, with(host.Link{Name: "lvs0", Type: "dummy"})), "tunnel-wrong-namespace", Observed, "ip link add lvs1 type ipip local 10.0.0.11; ip link set lvs1 up"},
		"no tunl0, no VIP":                        {refused(), realServer(noTunl0, func(s *host.Snapshot) { withoutRoute("10.99.0.1/32")(s); s.Addrs = s.Addrs[:1] }, set(fallback, "1")), "tunnel-wrong-namespace", Observed, own + "; ip addr add 10.99.0.1/32 dev lvs0"},
		"no module, and no tunl0 by it":           {refused(), realServer(noTunl0, set(fallback, "1"), func(s *host.Snapshot) { s.Modules = nil }), "tunnel-module-missing", Observed, "modprobe ipip; " + own},
		"no module, in the first namespace":       {refused(), realServer(noTunl0, set(fallback, "1"), func(s *host.Snapshot) { s.Modules, s.Initial = nil, true }), "tunnel-module-missing", Observed, "modprobe ipip; ip link set tunl0 up"},
		"the modules were not read, no device":    {refused(), realServer(noTunl0, func(s *host.Snapshot) { s.Unread = []host.Unread{{Part: host.PartModules, Why: "not permitted"}} }), unknown, NotKnown, ""},
		"vti takes everything":                    {silent("xfrm_input"), realServer(with(fallback0(device("ip_vti0", "vti", 4, netip.Addr{}, netip.Addr{})))), "tunnel-mode-mismatch", Observed, "ip link set ip_vti0 down"},
		"vti takes everything, and is in use":     {silent("xfrm_input"), realServer(with(fallback0(device("ip_vti0", "vti", 4, netip.Addr{}, netip.Addr{}))), routed(254, "192.168.0.0/16", host.Hop{Link: 4})), "tunnel-mode-mismatch", Observed, ""},
		"vti for whoever sends here":              {silent("xfrm_input"), realServer(with(device("v", "vti", 4, rip, netip.Addr{}))), "tunnel-mode-mismatch", Observed, ""},
		"vti for this director":                   {silent("xfrm_input"), realServer(with(device("v", "vti", 4, rip, dip))), "tunnel-mode-mismatch", Observed, ""},
		"vti for another peer, tunl0 is down":     {silent("xfrm_input"), realServer(tunl0Down, with(device("v", "vti", 4, rip, stranger))), "tunnel-device-down", Observed, "ip link set tunl0 up"},
		"vti is down":                             {silent("xfrm_input"), realServer(with(isDown(device("v", "vti", 4, rip, dip)))), unknown, NotKnown, ""},
		"mplsip, and tunl0 is up":                 {silent("ipip_tunnel_rcv"), realServer(with(device("lvsa", "ipip", 137, rip, netip.Addr{}))), "tunnel-mode-mismatch", Observed, "ip link add lvs0 type ipip local 10.0.0.11 remote 10.0.0.2; ip link set lvs0 up"},
		"mplsip between these two":                {silent("ipip_tunnel_rcv"), realServer(with(device("lvsa", "ipip", 137, rip, dip))), "tunnel-mode-mismatch", Observed, ""},
		"mplsip on the device by which it comes":  {silent("ipip_tunnel_rcv"), realServer(with(onLink(device("lvsa", "ipip", 137, rip, netip.Addr{}), 2))), "tunnel-mode-mismatch", Observed, "ip link add lvs0 type ipip local 10.0.0.11 remote 10.0.0.2 dev eth0; ip link set lvs0 up"},
		"for another address that is here":        {refused(), realServer(tunl0Down, addressed(2, "10.0.0.12/24"), with(device("lvsa", "ipip", 4, other, netip.Addr{}))), "tunnel-endpoint-mismatch", Observed, own},
		"for another director, who may send":      {refused(), realServer(tunl0Down, with(device("lvsa", "ipip", 4, rip, stranger))), "tunnel-endpoint-mismatch", Observed, own},
		"mplsip for another peer":                 {silent("ipip_tunnel_rcv"), realServer(with(device("lvsa", "ipip", 137, rip, stranger))), unknown, NotKnown, ""},
		"mplsip is asked after a better one":      {silent("ipip_tunnel_rcv"), realServer(with(device("lvsa", "ipip", 137, rip, netip.Addr{}), device("lvsb", "ipip", 4, rip, dip))), unknown, NotKnown, ""},
		"by GUE, to another port":                 {noPort(), realServer(port(host.FOUPort{Port: 6081, Kind: "gue"})), "tunnel-mode-mismatch", Observed, "modprobe fou; ip fou add port 6080 gue"},
		"by GUE, the port is another address's":   {noPort(), realServer(port(host.FOUPort{Port: 6080, Kind: "gue", Local: other})), "tunnel-mode-mismatch", Observed, "modprobe fou; ip fou add port 6080 local 10.0.0.11 gue"},
		"by GUE, and tunl0 is down, too":          {noPort(), realServer(tunl0Down), "tunnel-mode-mismatch", Observed, "modprobe fou; ip fou add port 6080 gue; ip link set tunl0 up"},
		"by GUE, the port is there by now":        {noPort(), realServer(port(host.FOUPort{Port: 6080, Kind: "gue"})), "tunnel-mode-mismatch", Inferred, ""},
		"by GUE, and tunl0 is down":               {byGUE(refused()), realServer(tunl0Down, port(host.FOUPort{Port: 6080, Kind: "gue"})), "tunnel-device-down", Observed, "ip link set tunl0 up"},
		"by GUE to 5555, the port is 6080":        {toPort(noPort(), 5555, false), realServer(port(host.FOUPort{Port: 6080, Kind: "gue"})), "tunnel-mode-mismatch", Observed, "modprobe fou; ip fou add port 5555 gue"},
		"by GUE to 5555, it is there by now":      {toPort(noPort(), 5555, false), realServer(port(host.FOUPort{Port: 5555, Kind: "gue"})), "tunnel-mode-mismatch", Inferred, ""},
		"by GUE to 5555, another sender's port":   {toPort(noPort(), 5555, false), realServer(port(host.FOUPort{Port: 5555, Kind: "gue", Peer: dip, PeerPort: 9})), "tunnel-mode-mismatch", Observed, ""},
		"by FOU, no port":                         {toPort(noPort(), 5555, true), realServer(), "tunnel-mode-mismatch", Observed, "modprobe fou; ip fou add port 5555 ipproto 4"},
		"by FOU, to a port of GRE in FOU":         {toPort(noPort(), 5555, true), realServer(port(host.FOUPort{Port: 5555, Kind: "fou", Proto: 47})), "tunnel-mode-mismatch", Observed, ""},
		"by GUE, to a port of FOU":                {toPort(byGUE(dropped("ip_rcv_core", "IP_INHDR", "tunl0", true)), 5555, false), realServer(port(host.FOUPort{Port: 5555, Kind: "fou", Proto: 4})), "tunnel-mode-mismatch", Observed, "modprobe fou; ip fou del port 5555; ip fou add port 5555 gue"},
		"by GUE, to a port of FOU, and no reason": {toPort(byGUE(dropped("ip_rcv_core", "", "tunl0", true)), 5555, false), realServer(port(host.FOUPort{Port: 5555, Kind: "fou", Proto: 4})), "tunnel-mode-mismatch", Observed, "modprobe fou; ip fou del port 5555; ip fou add port 5555 gue"},
		"by GUE, damaged":                         {toPort(byGUE(dropped("ip_rcv_core", "IP_INHDR", "tunl0", true)), 5555, false), realServer(port(host.FOUPort{Port: 5555, Kind: "gue"})), "malformed-packet", Inferred, ""},
		"by GUE, no module":                       {byGUE(rejected(dropped("ip_local_deliver_finish", "IP_NOPROTO", "eth0", true), journey.ByICMP, 3, 2)), realServer(noTunl0, func(s *host.Snapshot) { s.Modules = nil }, port(host.FOUPort{Port: 6080, Kind: "gue"})), "tunnel-module-missing", Observed, "modprobe ipip; ip link set tunl0 up"},
		"for a container, and forwarding is off":  {noAddress, realServer(behind, set("net/ipv4/conf/eth0/forwarding", "0")), "ip-forward-off", Observed, "sysctl -w net.ipv4.ip_forward=1"},
		"for a container, and forwarding is on":   {noAddress, realServer(behind, set("net/ipv4/conf/eth0/forwarding", "1")), unknown, NotKnown, ""},
		"for another host, and forwarding is off": {noAddress, realServer(withoutRoute("10.0.0.11/32"), set("net/ipv4/conf/eth0/forwarding", "0")), "outer-not-local", Observed, ""},
	}
}

// TestHealthyTunnelsAreClear: nothing is wrong with what takes the packet, however it is called.
func TestHealthyTunnelsAreClear(t *testing.T) {
	gueTo := func() journey.Journey { return byGUE(dropped("", "", "eth0", true)) }
	gue := gueTo()
	gre := dropped("", "", "eth0", true)
	gre.Outer.Protocol = protoGRE
	ipip := dropped("", "", "eth0", true)
	for what, test := range map[string]loss{
		"external, tunl0 is down":         {j: ipip, s: realServer(tunl0Down, with(host.Link{Name: "e", Type: "ipip", Up: true, Tunnel: &host.Tunnel{Collect: true}}))},
		"external, no tunl0":              {j: ipip, s: realServer(noTunl0, with(host.Link{Name: "e", Type: "ipip", Up: true, Tunnel: &host.Tunnel{Collect: true}}))},
		"sit in mode any, tunl0 is down":  {j: ipip, s: realServer(tunl0Down, with(device("s", "sit", 0, rip, netip.Addr{})))},
		"sit in mode ipip, no module":     {j: ipip, s: realServer(noTunl0, func(s *host.Snapshot) { s.Modules = []string{"sit"} }, with(device("s", "sit", 4, rip, netip.Addr{})))},
		"sit0 for IPv6, and tunl0":        {j: ipip, s: realServer(with(device("sit0", "sit", 41, netip.Addr{}, netip.Addr{})))},
		"vti for another peer":            {j: ipip, s: realServer(with(device("v", "vti", 4, rip, stranger)))},
		"vti that is down":                {j: ipip, s: realServer(with(isDown(device("ip_vti0", "vti", 4, netip.Addr{}, netip.Addr{}))))},
		"an own tunnel in mode any":       {j: ipip, s: realServer(tunl0Down, with(device("lvsa", "ipip", 0, rip, dip)))},
		"a tunnel bound to another link":  {j: ipip, s: realServer(noTunl0, with(host.Link{Name: "lvsa", Type: "ipip", Up: true, Tunnel: &host.Tunnel{Local: rip, Link: 9}}))},
		"GUE to another port, with it":    {j: toPort(gueTo(), 5555, false), s: realServer(port(host.FOUPort{Port: 5555, Kind: "gue", PeerPort: 40000, Peer: dip}))},
		"FOU to a port of FOU":            {j: toPort(gueTo(), 5555, true), s: realServer(port(host.FOUPort{Port: 5555, Kind: "fou", Proto: 4}))},
		"FOU to a port of GUE":            {j: toPort(gueTo(), 5555, true), s: realServer(port(host.FOUPort{Port: 5555, Kind: "gue"}))},
		"GUE with its port":               {j: gue, s: realServer(port(host.FOUPort{Port: 6080, Kind: "gue"}))},
		"GUE with its port, for us alone": {j: gue, s: realServer(port(host.FOUPort{Port: 6080, Kind: "gue", Local: rip, Peer: dip, Link: 2}))},
		"GRE by gre0":                     {j: gre, s: realServer(with(device("gre0", "gre", 47, netip.Addr{}, netip.Addr{})))},
		"a container behind it":           {j: ipip, s: realServer(behind, set("net/ipv4/conf/eth0/forwarding", "1"))},
	} {
		l := wasLost(test.j)
		st := stateOf(test.s, ruleset.Of(test.s)).of(l.Subject)
		for _, r := range rows {
			if answer, f := r.ask(l.Subject, st); answer == Fault {
				t.Errorf("%s: %s: %s", what, r.code, f.summary)
			}
		}
	}
}
