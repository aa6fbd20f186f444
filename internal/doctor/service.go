package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// IP protocol numbers.
const (
	protoICMP = 1
	protoIPIP = 4
	protoTCP  = 6
	protoUDP  = 17
	protoGRE  = 47
)

// service is what is asked about one VIP.
type service struct {
	s    *host.Snapshot
	o    Options
	vip  netip.Addr
	role string
}

// VIPs are the addresses of this machine that look like a service's: of IPVS's services, those to which rules give the mark of
// one, those of tunnels, and those of lo and of dummies that are no network's.
func VIPs(s *host.Snapshot) (all []netip.Addr) {
	add := func(a netip.Addr) {
		if a.Is4() && !a.IsLoopback() && !a.IsUnspecified() && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if s.IPVS != nil {
		for _, v := range s.IPVS.Services {
			if v.Mark == 0 {
				add(v.Addr.Addr())
			}
		}
	}
	for _, t := range markers(s) {
		add(t.addr)
	}
	for _, x := range s.Addrs {
		l := s.Link(x.Link)
		if l != nil && (l.Tunnel != nil || (l.Type == "loopback" || l.Type == "dummy") && x.Prefix.Bits() == 32) {
			add(x.Prefix.Addr())
		}
	}
	return all
}

// role is what the machine is to a VIP: a director has services and the VIP not on a tunnel.
func role(s *host.Snapshot, o Options, vip netip.Addr) string {
	tunnels := slices.ContainsFunc(s.Links, func(l host.Link) bool { return l.Up && l.Tunnel != nil && l.TakesIPv4() })
	_, passes := service{s: s, o: o, vip: vip}.passesOn()
	behind := slices.ContainsFunc(s.AddrOn(vip), func(l host.Link) bool { return l.Tunnel != nil })
	switch {
	case o.Role != "":
		return o.Role
	case behind:
		return RealServer
	case passes:
		return Forwarder
	case s.IPVS != nil && len(s.IPVS.Services) > 0:
		return Director
	case o.Director.IsValid() && !s.Owns(o.Director), tunnels, s.IPVS == nil, !s.Owns(vip):
		return RealServer
	case !slices.ContainsFunc(s.Sockets, listens(o.Ports)):
		return Director // IPVS is loaded, and nothing else would take the service's packets
	}
	return RealServer
}

// guessed reports whether a real server is what a machine is taken for, without anything that speaks for it.
func (x service) guessed() bool {
	tunnels := slices.ContainsFunc(x.s.Links, func(l host.Link) bool { return l.Up && l.Tunnel != nil })
	return x.role == RealServer && x.o.Role == "" && !tunnels && len(x.s.AddrOn(x.vip)) == 0
}

// listens reports whether a socket takes what begins a connection, on one of the ports if there are any.
func listens(ports []uint16) func(host.Socket) bool {
	return func(sock host.Socket) bool {
		return !sock.Remote.IsValid() && len(ports) > 0 && slices.Contains(ports, sock.Local.Port())
	}
}

// kind is a protocol and a port.
type kind struct {
	proto uint8
	port  uint16
}

// words name the protocols that have ports.
var words = map[uint8]string{protoTCP: "tcp", protoUDP: "udp"}

// maxKinds bounds the services that are asked about where no port is given.
const maxKinds = 16

// kinds are the ports that were given, each by the protocols that serve it here, or else by the protocol that was asked for
// (TCP, where none was): that nobody serves one is what is to be found. Without ports they are those that are served.
func (x service) kinds() []kind {
	all := x.served()
	if len(x.o.Ports) > 0 {
		return all // the flag bounds them
	}
	return all[:min(len(all), maxKinds)]
}

// served are all of them.
func (x service) served() (all []kind) {
	if x.o.Proto == protoICMP {
		return []kind{{protoICMP, 0}}
	}
	protos := []uint8{protoTCP, protoUDP}
	if x.o.Proto != 0 {
		protos = []uint8{x.o.Proto}
	}
	for _, proto := range protos {
		for _, port := range x.ports(proto) {
			if x.serves(proto, port) || x.o.Proto != 0 {
				all = append(all, kind{proto, port})
			}
		}
	}
	for _, port := range x.o.Ports {
		if !slices.ContainsFunc(all, func(k kind) bool { return k.port == port }) {
			all = append(all, kind{protos[0], port})
		}
	}
	return all
}

// ports are those that were asked for, or that are served.
func (x service) ports(proto uint8) (all []uint16) {
	if len(x.o.Ports) > 0 {
		return x.o.Ports
	}
	add := func(p uint16) {
		if p != 0 && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	if x.role == Director && x.s.IPVS != nil {
		for _, v := range x.s.IPVS.Services {
			if v.Proto == proto && v.Addr.Addr() == x.vip {
				add(v.Addr.Port())
			}
		}
		for _, t := range markers(x.s) {
			if t.addr == x.vip && (t.proto == proto || t.proto == 0) {
				add(t.port)
			}
		}
		return all
	}
	for _, sock := range x.s.Sockets {
		if local := sock.Local.Addr().Unmap(); sock.Proto == words[proto] && !sock.Remote.IsValid() && (local.IsUnspecified() || local == x.vip) {
			add(sock.Local.Port())
		}
	}
	return all
}

// serves reports whether something here is for a protocol and port, however wrong.
func (x service) serves(proto uint8, port uint16) bool {
	if x.role == Director {
		marked := func(t target) bool {
			return t.addr == x.vip && (t.proto == proto || t.proto == 0) && (t.port == port || t.port == 0)
		}
		return x.s.IPVS != nil && slices.ContainsFunc(x.s.IPVS.Services, func(v host.Service) bool {
			return v.Mark == 0 && v.Proto == proto && v.Addr.Addr() == x.vip && (v.Addr.Port() == port || v.Addr.Port() == 0)
		}) || slices.ContainsFunc(markers(x.s), marked)
	}
	return slices.ContainsFunc(x.s.Sockets, func(sock host.Socket) bool {
		return sock.Proto == words[proto] && !sock.Remote.IsValid() && sock.Local.Port() == port
	})
}

// clientPort is one that a client's kernel may choose.
const clientPort = 50123

// maxWays bounds the ways by which the peer sends that are asked about.
const maxWays = 16

// examine asks about a service: by each way by which the peer sends, if that is known.
func (x service) examine(k kind, rules *ruleset.Ruleset, r *Report) {
	ways := x.sent(k)
	for _, way := range ways[:min(len(ways), maxWays)] {
		x.supposing(k, way, true, rules, r)
	}
	if n := len(ways) - maxWays; n > 0 {
		r.check(diagnose.Check{Code: "outer-not-local", Unread: []string{fmt.Sprintf("of the ways by which the director sends here %d were not asked about", n)}}, nil)
	}
	if len(ways) == 0 {
		x.supposing(k, Sending{}, false, rules, r)
	}
	x.open(k, rules, r)
	x.join(k, r)
}

// supposing asks about all samples of clients and directors, and says what is the same for all as such. told: the director
// sends by this way.
func (x service) supposing(k kind, sending Sending, told bool, rules *ruleset.Ruleset, r *Report) {
	directors := x.directors()
	if told && x.role == RealServer && sending.From.IsValid() {
		directors = []netip.Addr{sending.From}
	}
	ask := func(director, client netip.Addr) answer {
		q := diagnose.Supposition{
			Proto: k.proto, Client: netip.AddrPortFrom(client, port(k)), Service: netip.AddrPortFrom(x.vip, k.port), Late: x.o.Late,
		}
		if x.role == Director {
			q.Dev = x.faces(client)
		} else {
			q.Dev = x.faces(director)
			q.OuterSrc, q.OuterDst, q.OuterProto = director, x.realServer(director, q.Dev), x.tunnels(director)
			if told && tunnelled[sending.By] != 0 {
				q.OuterDst, q.OuterProto, q.OuterPort, q.OuterFOU = sending.To, tunnelled[sending.By], sending.TunPort, sending.By == "fou"
			}
		}
		found, checks := q.Examine(x.s, rules)
		return answer{director, client, found, checks}
	}
	var all answers
	clients := x.clients()
	for _, director := range directors {
		for _, client := range clients {
			all.samples = append(all.samples, ask(director, client))
		}
	}
	x.byName(&all, told, ask)
	for _, a := range all.samples {
		found, checks := x.merged(a, all)
		r.add(x.vip, x.sampled(found, all.samples, told), checks)
	}
}

func port(k kind) uint16 {
	if words[k.proto] == "" {
		return 0
	}
	return clientPort
}

// answer is what was found of one sample.
type answer struct {
	director, client netip.Addr
	found            []diagnose.Finding
	checks           []diagnose.Check
}

// like is where a sample met the same code with the same severity, -1 if it did not.
func (a answer) like(f diagnose.Finding) int {
	return slices.IndexFunc(a.found, func(g diagnose.Finding) bool { return g.Code == f.Code && g.Severity == f.Severity })
}

// answers are those about all samples. Those about directors, and about clients, whom rules name say only that a rule need
// not drop all of them.
type answers struct {
	samples, directors, clients []answer
}

// byName asks about those whom rules let in by name, where a rule drops samples: the director or the client may be one of them.
func (x service) byName(all *answers, told bool, ask func(director, client netip.Addr) answer) {
	dropped := func(a answer) bool { return slices.ContainsFunc(a.found, byRule) }
	if !slices.ContainsFunc(all.samples, dropped) {
		return
	}
	first := all.samples[0]
	for _, a := range letIn(x.s) {
		if !told && !x.knowsDirectors() {
			all.directors = append(all.directors, ask(a, first.client))
		}
		if !x.knowsClients() && !x.o.Client.IsValid() {
			all.clients = append(all.clients, ask(first.director, a))
		}
	}
}

// byRule reports whether a rule of a firewall makes a finding.
func byRule(f diagnose.Finding) bool { return f.Code == "firewall-drop" || f.Code == "firewall-reject" }

// merged are the findings of one sample, as far as they are the same for others: what only some clients meet is a risk, and
// what depends on who the director is can't be told without.
func (x service) merged(a answer, all answers) (found []diagnose.Finding, checks []diagnose.Check) {
	checks = a.checks
	for _, f := range a.found {
		not := func(b answer) bool { return b.like(f) < 0 }
		byDirector, byClient := byRule(f) && slices.ContainsFunc(all.directors, not), byRule(f) && slices.ContainsFunc(all.clients, not)
		alone := slices.DeleteFunc(slices.Clone(all.samples), func(b answer) bool { return b.client != a.client })
		same, first := !slices.ContainsFunc(all.samples, not), all.samples[0]
		if same && (a.director != first.director || a.client != first.client) {
			continue // that of the first stands for all
		}
		switch {
		case byDirector || slices.ContainsFunc(alone, not):
			checks = append(slices.Clone(checks), diagnose.Check{Code: f.Code, Unread: []string{
				fmt.Sprintf("it depends on the director's address (%s: %s): give --director", a.director, f.Summary)}})
			continue
		case same && !byClient:
		case f.Severity == diagnose.Lost:
			f.Severity = diagnose.AtRisk
			f.Summary = fmt.Sprintf("for clients such as %s: %s", a.client, f.Summary)
		}
		found = append(found, f)
	}
	return found, checks
}

// open asks of connections whose real server was removed, one for each of those.
func (x service) open(k kind, rules *ruleset.Ruleset, r *Report) {
	if x.role != Director || x.s.IPVS == nil {
		return
	}
	var asked []netip.AddrPort
	for _, c := range x.s.IPVS.Conns {
		if c.State != "ESTABLISHED" || c.Virtual != netip.AddrPortFrom(x.vip, k.port) || c.Proto != words[k.proto] || c.Client.Port() == 0 || slices.Contains(asked, c.Dest) {
			continue
		}
		asked = append(asked, c.Dest)
		q := diagnose.Supposition{Proto: k.proto, Client: c.Client, Service: c.Virtual, Dev: x.faces(c.Client.Addr()), Open: true, Late: x.o.Late}
		found, checks := q.Examine(x.s, rules)
		r.add(x.vip, found, checks)
	}
}

// tunnels is the protocol by which a director is supposed to send: IPIP, unless a tunnel of GRE is all that takes its packets.
func (x service) tunnels(director netip.Addr) uint8 {
	in := x.s.LinkNamed(x.faces(director))
	if in == nil {
		return protoIPIP
	}
	to := x.realServer(director, in.Name)
	if x.s.TakesIPIP(director, to, in.Index) == nil && x.s.TunnelFor("gre", director, to, in.Index) != nil {
		return protoGRE
	}
	return protoIPIP
}

// facing are the devices that face the clients.
func (x service) facing() (all []string) {
	for _, client := range x.clients() {
		all = withNew(all, []string{x.faces(client)})
	}
	return all
}

// faces is the device by which packets of an address come: one in whose network it is, else the one that leads there.
func (x service) faces(a netip.Addr) string {
	var ways []netip.Prefix
	var best string
	for _, y := range x.s.Addrs {
		l := x.s.Link(y.Link)
		if l != nil && x.isWire(*l) && y.Prefix.Contains(a) && y.Prefix.Addr() != a && y.Prefix.Bits() < 32 {
			ways = append(ways, y.Prefix)
			best = cmp.Or(best, l.Name)
		}
	}
	if len(ways) > 0 {
		return best
	}
	if w := x.s.Route(host.Flow{Dst: a}); w.Type == "unicast" {
		if l := x.s.LinkNamed(w.Dev); l != nil && x.isWire(*l) {
			return w.Dev
		}
	}
	for _, y := range x.s.Addrs {
		if l := x.s.Link(y.Link); l != nil && x.isWire(*l) && y.Prefix.Addr() != x.vip {
			return l.Name
		}
	}
	return ""
}

// isWire reports whether packets of others come by a device.
func (x service) isWire(l host.Link) bool {
	return l.Up && l.Tunnel == nil && l.Type != "loopback" && l.Type != "dummy" && l.Type != "vrf"
}

// realServer is the address to which a director is supposed to send.
func (x service) realServer(director netip.Addr, dev string) netip.Addr {
	for _, l := range x.s.Links {
		if l.Tunnel != nil && l.Up && l.Tunnel.Local.IsValid() && !l.Tunnel.Local.IsUnspecified() && l.Tunnel.Local != x.vip && x.s.Owns(l.Tunnel.Local) {
			return l.Tunnel.Local
		}
	}
	l := x.s.LinkNamed(dev)
	if l == nil {
		return netip.Addr{}
	}
	var first netip.Addr
	for _, y := range x.s.AddrsOf(l.Index) {
		a := y.Prefix.Addr()
		if a == x.vip || a == director {
			continue
		}
		if y.Prefix.Contains(director) {
			return a
		}
		if !first.IsValid() {
			first = a
		}
	}
	return first
}
