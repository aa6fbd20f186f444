//go:build native

package read

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// What is generated: configurations, and lookups in each. The numbers are the same on every run.
const (
	configurations = 60
	lookupsEach    = 60
)

// TestNativeTheModelRoutesAsTheKernelDoes sets up routes and rules of all kinds, and asks the model and the kernel
// (RTM_GETROUTE) for the same packets. It needs root and the commands ip and sysctl.
func TestNativeTheModelRoutesAsTheKernelDoes(t *testing.T) {
	var sum tally
	for seed := range uint64(configurations) {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // for good: the thread ends with its namespace
			done <- compareRoutes(rand.New(rand.NewPCG(11, seed)), &sum)
		}()
		if err := <-done; err != nil {
			t.Fatalf("configuration %d: %v", seed, err)
		}
	}
	t.Logf("%d lookups as the kernel's, %d undecided; %d sources as the kernel's, %d undecided; VRF: %t, DSCP: %t, port masks: %t",
		sum.routes, sum.undecided, sum.sources, sum.unread, sum.vrf, sum.dscp, sum.masks)
	if sum.routes < 9*configurations*lookupsEach/20 || sum.sources < configurations*lookupsEach/4 {
		t.Error("too few lookups could be compared")
	}
}

type tally struct {
	routes, undecided, sources, unread int
	vrf, dscp, masks                   bool
}

func compareRoutes(r *rand.Rand, sum *tally) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	rt, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer rt.Close()
	g := &generator{Rand: r, sum: sum}
	if err := g.build(); err != nil {
		return err
	}
	read := &reader{ctx: context.Background(), rt: rt, files: machine, kernel: running(), s: &host.Snapshot{Sysctls: map[string]string{}}}
	for _, part := range []func(*reader) error{(*reader).links, (*reader).addrs, (*reader).routes, (*reader).rules, (*reader).sysctls} {
		if err := part(read); err != nil {
			return err
		}
	}
	if err := carriers(read); err != nil {
		return err
	}
	for range lookupsEach {
		if err := g.output(read.s); err != nil {
			return g.explain(err)
		}
		if err := g.input(read.s); err != nil {
			return g.explain(err)
		}
	}
	return nil
}

// carriers reads the routes again until the kernel has taken notice of all carriers: it does so with a delay
// (linkwatch_event).
func carriers(read *reader) error {
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		read.s.Routes, read.s.Links = nil, nil
		if err := errors.Join(read.links(), read.routes()); err != nil {
			return err
		}
		none := read.s.LinkNamed("c0").Index
		if !slices.ContainsFunc(read.s.Routes, func(r host.Route) bool {
			return slices.ContainsFunc(r.Hops, func(h host.Hop) bool { return h.LinkDown != (h.Link == none) && r.Table != 255 })
		}) {
			return nil
		}
	}
	return errors.New("the carriers are not as they were set")
}

// generator makes a configuration, and packets that meet it.
type generator struct {
	*rand.Rand
	sum  *tally
	said []string
	// sent: rules are only for what is sent from here.
	sent bool
}

// explain adds what was set up.
func (g *generator) explain(err error) error {
	return fmt.Errorf("%w\n%s", err, strings.Join(g.said, "\n"))
}

func (g *generator) ip(words string) error {
	out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", words, err, out)
	}
	g.said = append(g.said, "ip "+words)
	return nil
}

func (g *generator) sysctl(name, value string) error {
	g.said = append(g.said, "sysctl "+name+"="+value)
	return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
}

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }

// chance is true once in so many times.
func (g *generator) chance(in int) bool { return g.IntN(in) == 0 }

const (
	sources      = "10.1.0.1 10.1.0.9 10.2.0.1 10.9.0.1 10.3.0.1 192.0.2.7"
	destinations = "10.1.0.7 10.1.0.8 10.1.0.255 10.2.0.7 10.3.0.7 192.0.2.7 192.0.2.200 198.51.100.1 8.8.8.8"
	prefixes     = "0.0.0.0/0 10.0.0.0/8 10.1.0.0/24 10.2.0.0/16 192.0.2.0/24 192.0.2.128/25 192.0.2.7/32 198.51.100.0/24 10.3.0.0/24"
)

// build: three pairs of devices, of which the third has no carrier, and a VRF with the second, if the kernel has them.
func (g *generator) build() error {
	setup := []string{
		"link set lo up", "link add a0 type veth peer name a1", "link add b0 type veth peer name b1", "link add c0 type veth peer name c1",
		"addr add 10.1.0.1/24 dev a0", "addr add 10.9.0.1/32 dev a0", "addr add 10.3.0.1/24 dev c0",
		"link set a0 up", "link set a1 up", "link set c0 up",
	}
	if g.chance(2) && exec.Command("ip", "link", "add", "v0", "type", "vrf", "table", "120").Run() == nil {
		g.sum.vrf = true
		setup = append(setup, "link set v0 up", "link set b0 master v0")
	}
	setup = append(setup, "addr add 10.2.0.1/24 dev b0", "link set b0 up", "link set b1 up")
	for _, words := range setup {
		if err := g.ip(words); err != nil {
			return err
		}
	}
	for _, dev := range strings.Fields("all a0 b0 c0") {
		dir := "net/ipv4/conf/" + dev + "/"
		values := map[string]string{
			"rp_filter": g.pick("0", "0", "1", "2"), "src_valid_mark": g.pick("0", "0", "1"), "accept_local": g.pick("0", "0", "0", "1"),
			"ignore_routes_with_linkdown": g.pick("0", "0", "1"), "forwarding": "1",
		}
		for _, name := range []string{"forwarding", "rp_filter", "src_valid_mark", "accept_local", "ignore_routes_with_linkdown"} {
			if err := g.sysctl(dir+name, values[name]); err != nil {
				return err
			}
		}
	}
	for range 4 + g.IntN(12) {
		g.route()
	}
	g.sent = g.chance(4)
	for i := range g.IntN(11) {
		g.rule(10 * (i + 1))
	}
	return nil
}

// route adds one that may be refused, there being another like it.
func (g *generator) route() {
	words := "route add " + g.pick("", "", "", "", "blackhole ", "unreachable ", "prohibit ", "throw ", "local ", "broadcast ")
	plain := words == "route add "
	words += g.pick(strings.Fields(prefixes)...)
	switch {
	case plain && g.chance(5):
		words += " nexthop via 10.1.0.77 dev a0 nexthop via 10.3.0.77 dev c0"
	case plain:
		words += g.pick(" dev a0", " dev b0", " dev c0", " via 10.1.0.77 dev a0", " via 10.2.0.77 dev b0", " via 10.3.0.77 dev c0 onlink")
	case strings.HasPrefix(words, "route add local"):
		words += " dev lo"
	case strings.HasPrefix(words, "route add broadcast"):
		words += " dev a0"
	}
	words += " table " + g.pick("100", "100", "101", "102", "main", "120", "local") + " metric " + g.pick("0", "0", "10", "20")
	if g.chance(6) {
		words += " tos " + g.pick("0x10", "0x08", "0x04")
	}
	_ = g.ip(words)
}

func (g *generator) rule(priority int) {
	words := fmt.Sprintf("rule add pref %d", priority)
	if g.chance(6) {
		words = fmt.Sprintf("rule add not pref %d", priority)
	}
	asked := 0
	ask := func(in int, format string, value ...string) {
		if g.chance(in) {
			words += fmt.Sprintf(format, g.pick(value...))
			asked++
		}
	}
	ask(3, " from %s", append(strings.Fields(prefixes), "10.9.0.1")...)
	ask(4, " to %s", strings.Fields(prefixes)...)
	if g.sent {
		words += " iif lo"
	} else {
		ask(4, " iif %s", "a0", "b0", "lo", "lo", "v0", "gone")
	}
	ask(6, " oif %s", "a0", "b0", "c0", "gone")
	ask(3, " fwmark %s", "1", "2", "0x3/0x2", "0x10/0xf0", "0/0x1", "3")
	ask(6, " tos %s", "0x10", "0x08")
	ask(4, " ipproto %s", "tcp", "udp")
	ask(6, " sport %s", "80", "70-90", "1024-65000")
	ask(6, " dport %s", "80", "70-90", "1024-65000")
	ask(6, " uidrange %s", "0-0", "5-10", "1000-2000")
	ask(12, " tun_id %s", "7")
	if g.newer(priority, asked) {
		return
	}
	_ = g.ip(words + " " + g.pick("lookup 100", "lookup 100", "lookup 101", "lookup 102", "lookup main", "lookup main suppress_prefixlength 0",
		"lookup 100 suppress_prefixlength 24", "blackhole", "prohibit", "unreachable", "nop", fmt.Sprintf("goto %d", priority+5*(1+g.IntN(6))),
		"lookup 101 suppress_ifgroup 0", "lookup main suppress_ifgroup 5"))
}

// newer adds some rules with selectors that this machine's ip may not know, by hand.
func (g *generator) newer(priority, asked int) bool {
	if asked > 1 || g.sent || !g.chance(3) {
		return false
	}
	attrs := []*nl.RtAttr{attr32(rulePriority, uint32(priority)), attr32(ruleTable, uint32(100+g.IntN(3)))}
	masked := g.chance(2)
	if masked {
		port := make([]byte, 4)
		binary.NativeEndian.PutUint16(port, 80)
		binary.NativeEndian.PutUint16(port[2:], 80)
		attrs = append(attrs, nl.NewRtAttr(ruleDport, port), nl.NewRtAttr(ruleDportMask, nl.Uint16Attr(0xfff0)))
	} else {
		attrs = append(attrs, nl.NewRtAttr(ruleDSCP, []byte{uint8(g.pick("\x04", "\x2a", "\x00")[0])}))
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Type: 1}}) // as struct fib_rule_hdr: FR_ACT_TO_TBL
	for _, a := range attrs {
		req.AddData(a)
	}
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return false
	}
	g.said = append(g.said, fmt.Sprintf("a rule %d by hand, with a mask of ports: %t", priority, masked))
	g.sum.masks, g.sum.dscp = g.sum.masks || masked, g.sum.dscp || !masked
	return true
}

func attr32(kind int, v uint32) *nl.RtAttr { return nl.NewRtAttr(kind, nl.Uint32Attr(v)) }

// flow is a packet; what the kernel's RTM_GETROUTE takes for none is not there.
func (g *generator) flow() host.Flow {
	f := host.Flow{
		Src: netip.MustParseAddr(g.pick(strings.Fields(sources)...)), Dst: netip.MustParseAddr(g.pick(strings.Fields(destinations)...)),
		Mark: uint32(g.IntN(4)), Proto: uint8(g.pick("\x06", "\x11")[0]), Sport: uint16(1 + g.IntN(120)), Dport: uint16(1 + g.IntN(120)),
	}
	if g.chance(5) {
		f.TOS = uint8(g.pick("\x10", "\x08", "\xa8")[0])
	}
	if g.chance(10) {
		f.Mark = 0x11
	}
	return f
}

// output compares what is sent from here.
func (g *generator) output(s *host.Snapshot) error {
	f := g.flow()
	f.OIF = g.pick("", "", "", "a0", "c0", "b0")
	f.UID = uint32(g.pick("\x00", "\x05", "\x0b")[0])
	if len(s.AddrOn(f.Src)) == 0 {
		f.Src = netip.MustParseAddr("10.9.0.1") // the kernel sends from its own addresses only
	}
	if v := s.LinkNamed("v0"); v != nil && g.chance(3) {
		f.OIF = v.Name
	}
	want := ask(f, s)
	a := s.Output(f)
	if a.Type == host.Undecided {
		g.sum.undecided++
		return nil
	}
	g.sum.routes++
	if err := want.compare(s, a); err != nil {
		return fmt.Errorf("%+v: the model has %s %s via %s by rule %+v, %s: %w", f, a.Type, a.Dev, a.Gateway, a.Rule, a.Unread, err)
	}
	return nil
}

// input compares what comes in: the check of its source, and whether there is a way for it.
func (g *generator) input(s *host.Snapshot) error {
	f := g.flow()
	f.IIF = g.pick("a0", "b0", "c0")
	f.Src, f.Dst = f.Dst, f.Src
	a := s.Route(f)
	c, ok := s.CheckSource(f)
	if !ok && c.Unread == "" {
		return errors.New("the settings were not read")
	}
	if a.Type == host.Undecided || !a.Refused() && !ok {
		g.sum.unread++
		return nil
	}
	g.sum.sources++
	in, forwards := a.Type == "local" || a.Type == "unicast" || a.Type == "broadcast", !a.Refused() && c.OK
	want := ask(f, s)
	if (want.errno == 0) != (in && forwards) {
		return fmt.Errorf("%+v: the model has %s %s by rule %+v, source check %t %s (asked %+v: %s %s by rule %+v): the kernel has %v", f, a.Type, a.Dev, a.Rule, c.OK, c.Why, c.Asked, c.Back.Type, c.Back.Dev, c.Back.Rule, want)
	}
	if martian := c.Why == "local" || c.Why == "martian"; want.errno == unix.EXDEV && martian {
		return fmt.Errorf("%+v: the model has a martian source, the kernel a reverse-path filter (asked %+v: %+v)", f, c.Asked, c.Back)
	}
	return nil
}

// said is what the kernel answered.
type said struct {
	errno unix.Errno
	kind  string
	dev   string
	via   netip.Addr
	table uint32
}

// Of rtnetlink(7), and attributes that x/sys/unix does not name.
const (
	lookupTable = 0x1000
	routeUID    = 25
	routeProto  = 27
	routeSport  = 28
	routeDport  = 29
)

// ask is `ip route get`.
func ask(f host.Flow, s *host.Snapshot) (to said) {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Dst_len: 32, Src_len: 32, Tos: f.TOS, Flags: lookupTable}})
	dst, src := f.Dst.As4(), f.Src.As4()
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(unix.RTA_DST, dst[:]), nl.NewRtAttr(unix.RTA_SRC, src[:]), attr32(unix.RTA_MARK, f.Mark),
		nl.NewRtAttr(routeProto, []byte{f.Proto}), nl.NewRtAttr(routeSport, be16(f.Sport)), nl.NewRtAttr(routeDport, be16(f.Dport)),
	}
	if l := s.LinkNamed(f.OIF); l != nil {
		attrs = append(attrs, attr32(unix.RTA_OIF, l.Index))
	}
	if l := s.LinkNamed(f.IIF); l != nil {
		attrs = append(attrs, attr32(unix.RTA_IIF, l.Index))
	} else {
		attrs = append(attrs, attr32(routeUID, f.UID))
	}
	for _, a := range attrs {
		req.AddData(a)
	}
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		errors.As(err, &to.errno)
		return to
	}
	got, _ := nl.ParseRouteAttr(msgs[0][unix.SizeofRtMsg:])
	to.kind = routeTypes[int(msgs[0][7])]
	for _, a := range got {
		switch a.Attr.Type {
		case unix.RTA_OIF:
			if l := s.Link(word32(a.Value)); l != nil {
				to.dev = l.Name
			}
		case unix.RTA_GATEWAY:
			to.via, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_TABLE:
			to.table = word32(a.Value)
		}
	}
	return to
}

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

// compare says how the model's answer differs.
func (k said) compare(s *host.Snapshot, a host.Answer) error {
	refused := map[string]unix.Errno{host.NoRoute: unix.ENETUNREACH, "blackhole": unix.EINVAL, "prohibit": unix.EACCES, "unreachable": unix.EHOSTUNREACH}
	if a.Type == "unreachable" && a.Route == nil {
		refused["unreachable"] = unix.ENETUNREACH
	}
	unread := slices.ContainsFunc(s.Rules, func(r host.Rule) bool { return r.Unread != "" })
	if k.table == 254 && a.Table == 255 || k.errno == 0 && unread {
		k.table = a.Table // without other rules those two are one; and two tables may have the same way
	}
	switch {
	case a.Refused() && k.errno == refused[a.Type]:
		return nil
	case a.Refused() || k.errno != 0 || a.Type != k.kind:
	case a.Type != "unicast" && a.Table == k.table:
		return nil
	case a.Type == "unicast" && a.Table == k.table && slices.ContainsFunc(a.Hops, func(h host.Hop) bool {
		l := s.Link(h.Link)
		return l != nil && l.Name == k.dev && h.Gateway == k.via
	}):
		return nil
	}
	return fmt.Errorf("the kernel has %+v", k)
}
