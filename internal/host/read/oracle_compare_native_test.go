//go:build native

package read

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// The kinds of what becomes of a packet.
const (
	delivered    = "delivered"
	forwarded    = "forwarded"
	reversePath  = "reverse-path filter"
	martian      = "martian"
	notForwarded = "forwarding off"
	noRoute      = "no route"
	refused      = "refused by a route or a rule"
	policy       = "IPsec policy"
)

// fate is what becomes of a packet at one device. By are the devices by which it may leave.
type fate struct {
	kind string
	by   []string
	// unread says why the model does not know it.
	unread string
}

func (f fate) String() string {
	if f.unread != "" {
		return "undecided: " + f.unread
	}
	return strings.TrimSpace(f.kind + " " + strings.Join(f.by, " or "))
}

// packet sends one, and compares what becomes of it; of one in a tunnel also what becomes of the inner packet.
func (o *oracle) packet(p sent) error {
	o.tallied.packets++
	f, inside := p.Flow, p.outer != nil
	if inside {
		f = *p.outer
	}
	said := ""
	for range 3 { // martians are counted for the whole machine: another packet's may be among them
		k, err := o.did(p)
		if err != nil {
			return err
		}
		first := o.model(f, 0)
		certain := first.unread == "" && first.kind == delivered
		if said = o.compare(f, first.fate, k); said == "" && inside && certain {
			said = o.decapsulated(p, first.mark, k)
		} else if said == "" && certain {
			said = o.answered(p.Flow, first.mark, k)
		}
		if said == "" || !strings.Contains(said, martian) {
			break
		}
	}
	if said != "" {
		o.tallied.disagree(o, fmt.Sprintf("%v: %s", p, said))
	}
	return nil
}

// did sends a packet, and has its answer made.
func (o *oracle) did(p sent) (k kernelDid, err error) {
	if _, err := o.heard(); err != nil {
		return k, err
	}
	before, err := counted()
	if err != nil {
		return k, err
	}
	if err := o.send(p.IIF, p.raw); err != nil {
		return kernelDid{down: true}, nil // the device is down
	}
	if err := o.answer(); err != nil {
		return k, err
	}
	for range 20 { // what comes out of a tunnel is queued
		all, err := o.heard()
		if err != nil {
			return k, err
		}
		if k.seen = append(k.seen, all...); p.outer == nil || k.at("in", *p.outer) == nil || k.at("pre", p.Flow) != nil {
			break
		}
		time.Sleep(2 * time.Millisecond)
		if err := o.answer(); err != nil {
			return k, err
		}
	}
	after, err := counted()
	if err != nil {
		return k, err
	}
	k.risen = map[string]uint64{}
	for name, n := range after {
		if n > before[name] {
			k.risen[name] = n - before[name]
		}
	}
	return k, nil
}

// kernelDid is what the kernel did with a packet: the hooks to which it and its answer came, and the counters that rose.
type kernelDid struct {
	seen  []seen
	risen map[string]uint64
	down  bool
}

// all are the times that a packet was seen at a hook.
func (k kernelDid) all(hook string, f host.Flow) (all []seen) {
	for _, e := range k.seen {
		if e.hook == hook && e.is(f) {
			all = append(all, e)
		}
	}
	return all
}

// at is the first of them.
func (k kernelDid) at(hook string, f host.Flow) *seen {
	if all := k.all(hook, f); len(all) > 0 {
		return &all[0]
	}
	return nil
}

// fate is what the kernel did with a packet.
func (k kernelDid) fate(f host.Flow) fate {
	for _, e := range k.seen { // the first counts: what is forwarded to a VRF may come in there again
		switch {
		case !e.is(f):
		// The policies are for what is inside, and what this host answers to itself may meet one, too.
		case e.hook == "in" && k.risen["Xfrm.InPolBlock"] > 0 && k.risen["Ip.OutRequests"] == 0 && f.Proto != unix.IPPROTO_IPIP:
			return fate{kind: policy}
		case e.hook == "in":
			return fate{kind: delivered}
		case e.hook == "onward":
			return fate{kind: forwarded, by: []string{e.oif}}
		}
	}
	for _, c := range []struct{ counter, kind string }{
		{"TcpExt.IPReversePathFilter", reversePath}, {"Ip.InAddrErrors", notForwarded}, {"IpExt.InNoRoutes", noRoute},
		{"Ip.OutRequests", refused}, {"Xfrm.InPolBlock", policy},
		{"RtCache.InMartianSrc", martian}, {"RtCache.InMartianDst", martian},
	} {
		if k.risen[c.counter] > 0 {
			return fate{kind: c.kind}
		}
	}
	return fate{kind: refused}
}

// predicted is what the model says of a packet at one device, and the mark that it then has.
type predicted struct {
	fate
	mark uint32
}

// model asks the model as doctor does: what addresses a packet may have, whether its source may come in, and where it goes
// (ip_route_input_slow).
func (o *oracle) model(f host.Flow, mark uint32) (p predicted) {
	f.Mark = o.markOf(f, mark)
	p.mark = f.Mark
	if o.s.Impossible(f) {
		p.kind = martian
		return p
	}
	a := o.s.Route(f)
	forwarding, _ := o.s.Sysctl("net/ipv4/conf/" + f.IIF + "/forwarding")
	dir := "in"
	switch {
	case a.Type == host.Undecided:
		p.unread = a.Unread
		return p
	case forwarding == 0 && a.Type != "local" && a.Type != "broadcast":
		p.kind = notForwarded
		return p
	case a.Type == host.NoRoute, a.Type == "unreachable" && a.Route == nil:
		p.kind = noRoute
		return p
	case a.Refused():
		p.kind = refused
		return p
	case a.Type == "unicast":
		dir, p.kind, p.by = "fwd", forwarded, o.leads(a)
	case a.Type == "local", a.Type == "broadcast":
		p.kind = delivered
	default:
		p.kind = martian
		return p
	}
	c, ok := o.s.CheckSource(f)
	switch {
	case !ok:
		p.unread = c.Unread
	case c.Why == "local" || c.Why == "martian":
		p.kind, p.by = martian, nil
	case !c.OK:
		p.kind, p.by = reversePath, nil
	case o.blocked(dir, f):
		p.kind, p.by = policy, nil
	}
	return p
}

// blocked reports whether an IPsec policy blocks the packet, and its device does not spare it from policies.
func (o *oracle) blocked(dir string, f host.Flow) bool {
	return !o.s.Either(f.IIF, "disable_policy") && slices.ContainsFunc(o.s.XFRM, func(p host.Policy) bool {
		return p.Dir == dir && p.Action == "block" && p.Src.Contains(f.Src) && p.Dst.Contains(f.Dst)
	})
}

// leads are the devices by which a route leads.
func (o *oracle) leads(a host.Answer) (by []string) {
	for _, h := range a.Hops {
		by = append(by, o.names[h.Link])
	}
	if len(by) == 0 && a.Dev != "" {
		by = append(by, a.Dev)
	}
	return by
}

// markOf is the mark that the rules give the packet. In a VRF they are run for the device and then for the VRF.
func (o *oracle) markOf(f host.Flow, mark uint32) uint32 {
	passes := []string{f.IIF}
	if l := o.s.LinkNamed(f.IIF); l != nil && l.MasterKind == "vrf" {
		passes = append(passes, o.names[l.Master])
	}
	for _, dev := range passes {
		for _, m := range o.marks {
			if m.dev == dev && netip.MustParsePrefix(m.from).Contains(f.Src) {
				mark = m.mark
			}
		}
	}
	return mark
}

// compare says how the model and the kernel differ; empty if they do not, or the model does not know.
func (o *oracle) compare(f host.Flow, m fate, k kernelDid) string {
	is := k.fate(f)
	switch {
	case k.down:
		return ""
	case m.unread != "":
		o.tallied.undecide(m.unread)
		return ""
	case m.kind != is.kind && !o.alike(f, m.kind, is.kind), m.kind == forwarded && !slices.Contains(m.by, is.by[0]):
		return fmt.Sprintf("the model says %v, the kernel %v (%v); %s", m, is, k.risen, o.asked(f))
	}
	o.tallied.agree(m.kind)
	return ""
}

// alike reports whether two kinds are the same refusal: in a VRF the kernel counts as the VRF's device is set (ip_error).
func (o *oracle) alike(f host.Flow, a, b string) bool {
	l := o.s.LinkNamed(f.IIF)
	refusals := []string{notForwarded, noRoute, refused}
	return l != nil && l.MasterKind == "vrf" && slices.Contains(refusals, a) && slices.Contains(refusals, b)
}

// asked says what the model was asked, and answered.
func (o *oracle) asked(f host.Flow) string {
	f.Mark = o.markOf(f, f.Mark)
	a := o.s.Route(f)
	c, ok := o.s.CheckSource(f)
	return fmt.Sprintf("mark %d: %s by %s, rule %+v; source %t %t %q mode %d, asked %+v: %s by %s, rule %+v", f.Mark, a.Type, a.Dev, a.Rule, ok, c.OK, c.Why, c.Mode,
		c.Asked, c.Back.Type, c.Back.Dev, c.Back.Rule)
}

// decapsulated compares what becomes of the packet inside of one that was delivered.
func (o *oracle) decapsulated(p sent, mark uint32, k kernelDid) string {
	in := o.s.LinkNamed(p.outer.IIF)
	taker := o.s.TakesIPIP(p.outer.Src, p.outer.Dst, in.Index)
	came := k.at("pre", p.Flow)
	switch {
	case k.down:
		return ""
	case taker == nil != (came == nil):
		return fmt.Sprintf("the model has a tunnel that takes it: %t, the kernel: %t", taker != nil, came != nil)
	case taker == nil:
		o.tallied.agree("no tunnel")
		return ""
	}
	f := p.Flow
	f.IIF = taker.Name
	inner := o.model(f, mark)
	if said := o.compare(f, inner.fate, k); said != "" || inner.kind != delivered || inner.unread != "" {
		return said
	}
	o.tallied.agree("delivered out of a tunnel")
	return o.answered(f, inner.mark, k)
}

// answered compares by which device the answer leaves.
func (o *oracle) answered(f host.Flow, mark uint32, k kernelDid) string {
	dev := o.s.LinkNamed(f.IIF)
	e := k.at("in", f)
	if k.down || e == nil || o.s.Route(f).Type != "local" || f.Dst.IsLoopback() || f.Src.IsLoopback() {
		return ""
	}
	if e.mark != mark {
		return fmt.Sprintf("the test has mark %d, the kernel %d", mark, e.mark)
	}
	proto := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[f.Proto]
	to := netip.AddrPortFrom(f.Dst, f.Dport)
	serving, _ := o.s.Serves(proto, to, dev)
	r := host.Request{Proto: proto, Client: netip.AddrPortFrom(f.Src, f.Sport), Service: to, Dev: f.IIF, TOS: f.TOS, Mark: mark}
	var by *host.Socket
	kind := "reset"
	if len(serving) > 0 {
		by, kind = &serving[0], "answer"
	} else if proto == "udp" {
		return ""
	}
	asked := o.s.Reply(r, by)
	a := o.s.Output(asked)
	if a.Type == "broadcast" {
		return "" // a socket may not send there without SO_BROADCAST
	}
	var out []string // in a VRF it leaves by that, too
	for _, e := range k.all("post", host.Flow{Src: f.Dst, Dst: f.Src, Proto: f.Proto, Sport: f.Dport, Dport: f.Sport}) {
		out = append(out, e.oif)
	}
	leaves := func(dev string) bool {
		return slices.Contains(o.leads(a), dev) || a.Type == "local" && (dev == "lo" || dev == "v0")
	}
	switch {
	case a.Type == host.Undecided:
		o.tallied.undecide(a.Unread)
		return ""
	case a.Refused() && len(out) == 0:
		o.tallied.agree("no way for the " + kind)
		return ""
	case !a.Refused() && slices.ContainsFunc(out, leaves):
		o.tallied.agree(kind)
		return ""
	}
	return fmt.Sprintf("the model has the %s %s by %v, rule %+v (asked %+v), the kernel by %v", kind, a.Type, o.leads(a), a.Rule, asked, out)
}
