// Package doctor says what in a machine's state would lose a service's packets, without waiting for one: it supposes
// packets, a client's, a director's, a reply, and has diagnose ask of them what it asks of lost ones. It is pure: a
// snapshot in, a report out.
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

// The roles that a machine may have.
const (
	RealServer = "real-server"
	Director   = "director"
)

// Options say of which packets.
type Options struct {
	// VIPs are the services' addresses; none: those that the machine has.
	VIPs []netip.Addr
	// Ports are the services'; none: those that somebody serves.
	Ports []uint16
	// Proto is an IP protocol number, 0 for TCP and UDP, as far as they are served; a port that is not is asked about by TCP.
	Proto uint8
	// Client are the clients; invalid: samples are taken of them.
	Client netip.Prefix
	// Director sends the outer packets; invalid: samples are taken.
	Director netip.Addr
	// Role is RealServer, Director or Forwarder, empty if that is to be told from the state.
	Role string
	// Late reports that there is no time left to ask: what was not asked by then is unread. nil is never.
	Late func() bool
	// Places are those of the kernel that a trace could watch; nil: nobody has looked.
	Places *Places
	// Asked is who has answered ARP for the VIPs, if that was asked.
	Asked []Asked
	// Elsewhere are other network namespaces of the machine that have one of the VIPs.
	Elsewhere []Elsewhere
	// Peer are the other end's; nil if they are not known.
	Peer *Facts
	// Only and Skip are steps and codes.
	Only, Skip []string
}

// A Finding is something that loses packets, or may.
type Finding struct {
	diagnose.Finding
	Step int
	// VIP is the first of VIPs, which are those whose packets meet it.
	VIP  netip.Addr
	VIPs []netip.Addr
	// Seen: packets were seen to be lost by it.
	Seen bool
}

// Mark says how a check ended.
type Mark int8

// The marks, worst last.
const (
	// Described: nothing was asked, and what is there is said, or that nothing is.
	Described Mark = iota - 1
	Passed
	// Behind: packets come there only once what fails before it is repaired; then nothing of it is wrong.
	Behind
	// Noted: something is to be known.
	Noted
	// Unread: it could not be told, or not for all of the way.
	Unread
	AtRisk
	Failed
)

// A Check is all that was asked under one code.
type Check struct {
	Step int
	Code string
	Mark Mark
	// Why it could not be told.
	Why []string
	// behind: nobody has come there in the state as it is.
	behind bool
	// Says are what the state says of it, where that is worth a line whatever is found.
	Says []string
}

// A Report is what a machine's state says of the services.
type Report struct {
	VIPs []netip.Addr
	Role string
	// Netns is the file of the network namespace that was asked for by name; empty: the caller's own.
	Netns string
	// Guessed: nothing here speaks for the role, neither the VIP nor a tunnel nor IPVS.
	Guessed bool
	// Services are summaries of each VIP.
	Services []Summary
	// Findings are worst first, what packets meet now before what is behind that, then in the order of the steps; so are Checks.
	Findings []Finding
	Checks   []Check
	// Unasked are the steps that have no check.
	Unasked []Unasked
	// Hidden are the codes of faults that Only and Skip leave out.
	Hidden []string
	// Watched is nil if nothing was.
	Watched *Watched
	// Facts are for the other end.
	Facts Facts
	// Peer is whose facts of the other end were joined; nil if none were.
	Peer *Source
}

// Summary is what was found of one VIP.
type Summary struct {
	VIP  netip.Addr
	Role string
	// Asked are the protocols and ports that were asked about, like "tcp 80"; none if only what no port decides was.
	Asked []string
	// Faults, Risks and Notes count findings, Unread the checks that could not be told.
	Faults, Risks, Notes, Unread int
}

// Count is how many findings have a severity.
func (r Report) Count(s diagnose.Severity) (n int) {
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Faults is how many of the findings lose packets now.
func (r Report) Faults() int { return r.Count(diagnose.Lost) }

// Unread are the checks that could not be told, each with why.
func (r Report) Unread() (all []Check) {
	for _, c := range r.Checks {
		if len(c.Why) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// Examine asks a state.
func Examine(s *host.Snapshot, o Options) Report {
	r := Report{VIPs: o.VIPs, Role: o.Role}
	if len(r.VIPs) == 0 {
		r.VIPs = VIPs(s)
	}
	if o.Role == Director && s.IPVS == nil && s.Knows(host.PartIPVS) {
		own := *s
		own.IPVS, s = &host.IPVS{}, &own // no ip_vs, no service
	}
	s.Index()
	rules := ruleset.Of(s)
	r.Facts = FactsOf(s, r.VIPs)
	if o.Peer != nil {
		r.Peer = cmp.Or(o.Peer.Of, &Source{})
	}
	for _, vip := range r.VIPs {
		x := service{s: s, o: o, vip: vip, role: role(s, o, vip)}
		one := x.whole(rules)
		r.Role = x.role
		r.Guessed = r.Guessed || x.guessed()
		r.Services = append(r.Services, Summary{vip, x.role, x.asked(), one.Faults(), one.Count(diagnose.AtRisk), one.Count(diagnose.Noted), len(one.Unread())})
		r.take(one)
	}
	r.mixed(s)
	r.tracking(s)
	r.labels(s)
	r.asked(s, o.Asked)
	r.places(o.Places)
	r.finish(o)
	return r
}

// finish leaves what was asked for, in its order, and says what was not.
func (r *Report) finish(o Options) {
	r.choose(o)
	r.count()
	r.sort()
	r.unasked(o)
}

// whole asks all about one VIP.
func (x service) whole(rules *ruleset.Ruleset) (one Report) {
	if to, ok := x.passesOn(); ok && x.role == Forwarder {
		x.pass(to, rules, &one)
		one.choose(x.o)
		return one
	}
	kinds := x.kinds()
	for _, kind := range kinds {
		x.examine(kind, rules, &one)
	}
	if len(kinds) == 0 {
		x.portless(rules, &one)
	}
	if n := len(x.served()) - len(kinds); n > 0 {
		one.check(diagnose.Check{Code: x.nobody(), Unread: []string{fmt.Sprintf("%s: %d more ports are served, and were not asked about: say which with --port", x.vip, n)}}, nil)
	}
	x.describe(&one)
	if x.o.Asks(stepMTU) {
		x.mtu(rules, &one)
	}
	for i := range one.Checks {
		if c := &one.Checks[i]; c.behind && c.Mark == Passed {
			c.Mark = Behind
		}
	}
	one.choose(x.o)
	return one
}

// portless asks what no port decides, of a VIP of which none is served or was given: the tunnel, the routes and the settings.
func (x service) portless(rules *ruleset.Ruleset, one *Report) {
	x.examine(kind{protoTCP, 0}, rules, one)
	ported := func(code string) bool {
		return step(code) != stepTunnel && step(code) != stepSettings && code != "vip-missing" && code != "vip-wrong-prefix"
	}
	one.Findings = slices.DeleteFunc(one.Findings, func(f Finding) bool { return ported(f.Code) })
	one.Checks = slices.DeleteFunc(one.Checks, func(c Check) bool { return ported(c.Code) })
	nobody := "nothing here listens for it"
	if x.role == Director {
		nobody = "no service of IPVS has it"
	}
	why := fmt.Sprintf("%s: %s, and no port was given: say which with --port", x.vip, nobody)
	for _, code := range []string{x.nobody(), "firewall-drop", "firewall-reject"} {
		one.check(diagnose.Check{Code: code, Unread: []string{why}}, nil)
	}
}

// nobody is the code by which a port is found that nobody serves.
func (x service) nobody() string {
	if x.role == Director {
		return "ipvs-no-service"
	}
	return "no-listener"
}

// take adds the report of one VIP.
func (r *Report) take(one Report) {
	r.Hidden = withNew(r.Hidden, one.Hidden)
	for _, f := range one.Findings {
		r.add(f.VIP, []diagnose.Finding{f.Finding}, nil)
	}
	for _, c := range one.Checks {
		r.say(c.Step, c.Code, c.Says...)
		to := r.named(c.Code)
		to.Mark = max(to.Mark, c.Mark)
		to.Why = withNew(to.Why, c.Why)
	}
}

// named is the check with that code; nil if there is none yet.
func (r *Report) named(code string) *Check {
	i := slices.IndexFunc(r.Checks, func(x Check) bool { return x.Code == code })
	if i < 0 {
		return nil
	}
	return &r.Checks[i]
}

// withNew are lines, and behind them those of more that are not among them.
func withNew[T comparable](lines, more []T) []T {
	for _, line := range more {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// sort puts what is worst first, and what packets meet only once that is repaired behind it; then the steps are in order.
func (r *Report) sort() {
	behind := func(f Finding) int {
		if f.Behind {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(order(b.Severity)-order(a.Severity), behind(a)-behind(b), a.Step-b.Step)
	})
	slices.SortStableFunc(r.Checks, func(a, b Check) int { return a.Step - b.Step })
}

// order is higher for what is worse.
func order(s diagnose.Severity) int {
	return slices.Index([]diagnose.Severity{diagnose.Noted, diagnose.AtRisk, diagnose.Lost}, s)
}

// choose leaves what was asked for, and what was seen.
func (r *Report) choose(o Options) {
	out := func(step int, code string) bool {
		is := func(word string) bool { return word == code || word == fmt.Sprint(step) || word == StepName(step) }
		return len(o.Only) > 0 && !slices.ContainsFunc(o.Only, is) || slices.ContainsFunc(o.Skip, is)
	}
	r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool {
		left := !f.Seen && out(f.Step, f.Code)
		if left && f.Severity == diagnose.Lost {
			r.Hidden = withNew(r.Hidden, []string{f.Code})
		}
		return left
	})
	seen := func(code string) bool {
		return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Seen && f.Code == code })
	}
	r.Hidden = slices.DeleteFunc(r.Hidden, seen)
	r.Checks = slices.DeleteFunc(r.Checks, func(c Check) bool { return !seen(c.Code) && out(c.Step, c.Code) })
}

// count counts again what was found of each VIP: a watch, and what is asked of the machine as a whole, finds more.
func (r *Report) count() {
	for i := range r.Services {
		s, of := &r.Services[i], Report{}
		for _, f := range r.Findings {
			if slices.Contains(f.VIPs, s.VIP) {
				of.Findings = append(of.Findings, f)
			}
		}
		s.Faults, s.Risks, s.Notes = of.Faults(), of.Count(diagnose.AtRisk), of.Count(diagnose.Noted)
	}
}

// Told reports whether anything of what was asked could be told: a report of nothing but unread checks is no health.
func (r Report) Told() bool {
	told := func(c Check) bool { return c.Mark != Unread }
	return len(r.Findings) > 0 || len(r.Checks) == 0 || slices.ContainsFunc(r.Checks, told)
}

// add takes what was found of one service and protocol.
func (r *Report) add(vip netip.Addr, found []diagnose.Finding, checks []diagnose.Check) {
	for _, f := range found {
		same := func(x Finding) bool { return x.Code == f.Code && x.Summary == f.Summary }
		if i := slices.IndexFunc(r.Findings, same); i < 0 {
			r.Findings = append(r.Findings, Finding{f, step(f.Code), vip, []netip.Addr{vip}, false})
		} else {
			r.Findings[i].join(f, vip)
		}
	}
	for _, c := range checks {
		r.check(c, found)
	}
}

// join adds the same of another protocol, port or VIP, whose repair may take commands of its own.
func (f *Finding) join(same diagnose.Finding, vip netip.Addr) {
	f.VIPs = withNew(f.VIPs, []netip.Addr{vip})
	if order(same.Severity) > order(f.Severity) {
		f.Severity = same.Severity
	}
	f.Fix, f.Untried = withNew(slices.Clip(f.Fix), same.Fix), f.Untried || same.Untried
}

// check marks a code by the worst that was found under it.
func (r *Report) check(c diagnose.Check, found []diagnose.Finding) {
	to := r.named(c.Code)
	if to == nil {
		r.Checks = append(r.Checks, Check{Step: step(c.Code), Code: c.Code, behind: true})
		to = r.named(c.Code)
	}
	to.behind = to.behind && c.Behind
	to.Mark = max(to.Mark, Passed)
	for _, f := range found {
		if f.Code == c.Code {
			to.Mark = max(to.Mark, map[diagnose.Severity]Mark{diagnose.Lost: Failed, diagnose.AtRisk: AtRisk, diagnose.Noted: Noted}[f.Severity])
		}
	}
	if len(c.Unread) > 0 {
		to.Mark = max(to.Mark, Unread)
	}
	to.Why = withNew(to.Why, c.Unread)
}

// open says why a check could not be told.
func (r *Report) open(code, why string) {
	if c := r.named(code); c != nil {
		c.Mark = max(c.Mark, Unread)
		c.Why = append(c.Why, why)
	}
}

// say adds a line to a check, which there need not be yet: what is not asked for a fault, but worth knowing.
func (r *Report) say(step int, code string, lines ...string) {
	to := r.named(code)
	if to == nil {
		r.Checks = append(r.Checks, Check{Step: step, Code: code, Mark: Described})
		to = r.named(code)
	}
	to.Says = withNew(to.Says, lines)
}
