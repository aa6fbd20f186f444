//go:build native

package read

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"ipiptrace/internal/host"
)

// vip is the service's address, ports those of its sockets: at the last nobody listens.
const vip = "10.99.0.1"

// Of what configurations and packets are made: few values, so that they meet.
const (
	oraclePrefixes = "0.0.0.0/0 0.0.0.0/0 10.0.0.0/8 10.1.0.0/24 10.2.0.0/16 10.3.0.0/24 10.99.0.0/16 10.99.0.1/32 192.0.2.0/24 192.0.2.128/25 192.0.2.7/32 198.51.100.0/24"
	oracleSources  = "10.1.0.7 10.2.0.7 10.3.0.7 192.0.2.7 192.0.2.200 198.51.100.1 8.8.8.8 192.0.2.7 10.1.0.1 10.99.0.1 10.1.0.255 127.0.0.5 0.1.2.3 224.0.0.5 255.255.255.255"
	oracleTargets  = "10.99.0.1 10.99.0.1 10.99.0.1 10.99.0.1 10.1.0.1 10.2.0.1 10.3.0.7 192.0.2.200 198.51.100.1 10.2.0.77 8.8.8.8 10.1.0.255 127.0.0.5 0.1.2.3"
	oracleDevices  = "a0 a0 a0 b0 b0 c0"
)

// setting sets up a configuration of everything that routing asks for.
func (o *oracle) setting() error {
	o.batch("link set lo up")
	for _, name := range tapNames {
		o.batch("link set dev " + name + " address 02:00:00:00:00:01 arp off")
	}
	lost := o.lost(!o.chance(8))
	o.beside()
	o.addresses()
	for range o.IntN(10) {
		o.aRoute()
	}
	o.nexthop()
	for i := range o.IntN(9) * o.IntN(2) {
		o.aRule(10 * (i + 1))
	}
	if o.chance(2) {
		o.batch("xfrm policy add src " + o.pick("0.0.0.0/0", "192.0.2.0/24") + " dst " + vip + "/32 dir " + o.pick("in", "in", "in", "fwd") + " action block")
	}
	if err := o.apply(); err != nil {
		return err
	}
	o.settings()
	if o.chance(3) {
		o.batch("link set dev " + o.pick("d0", "b0") + " down")
		if err := o.apply(); err != nil {
			return err
		}
	}
	if !lost {
		o.lost(true)
	}
	return o.rulesThatMark()
}

// lost takes the carrier from a device, before it is up or later: the kernel sees that with a delay.
func (o *oracle) lost(now bool) bool {
	if now {
		o.without = o.pick("c0", "c0", "c0", "b0", "")
		if o.without != "" {
			o.said = append(o.said, "carrier off: "+o.without)
			_ = o.carrier(o.without, 0)
		}
	}
	return now
}

// beside are devices that not every configuration has.
func (o *oracle) beside() {
	if o.kinds["dummy"] && o.chance(2) {
		o.extra = append(o.extra, "dum0")
		o.batch("link add dum0 type dummy")
	}
	if o.kinds["ipip"] {
		o.extra = append(o.extra, "tunl0", "lvs0") // the kernel makes tunl0 in every namespace
		o.batch("link add lvs0 type ipip local 10.1.0.1 remote " + o.pick("10.1.0.7", "10.1.0.8"))
	}
	members := append([]string{"b0"}, o.extra...)
	if o.kinds["vrf"] && o.chance(3) {
		o.extra = append(o.extra, "v0")
		o.batch("link add v0 type vrf table 120")
		for _, dev := range members {
			if dev == "b0" || o.chance(3) {
				o.batch("link set dev " + dev + " master v0")
			}
		}
	}
	for _, dev := range append(slices.Clone(tapNames), o.extra...) {
		if dev == "v0" || dev == "a0" || !o.chance(10) {
			o.batch("link set dev " + dev + " up")
		}
	}
}

func (o *oracle) addresses() {
	o.batch("addr add 10.1.0.1/24 dev a0")
	for _, words := range []string{
		"10.1.0.9/24 dev a0", "10.9.0.1/32 dev a0", "10.2.0.1/24 dev b0", "10.2.0.1/24 dev b0", "10.3.0.1/24 dev c0", "10.3.0.1/24 dev c0",
		"10.5.0.1 peer 10.5.0.2 dev b0", "192.0.2.130/25 dev d0", "10.1.0.1/24 dev d0",
	} {
		if o.chance(2) {
			o.batch("addr add " + words)
		}
	}
	on := append([]string{"lo", "lo", "a0"}, o.extra...)
	if !o.chance(10) {
		o.batch("addr add " + vip + o.pick("/32", "/32", "/32", "/24") + " dev " + o.pick(on...) + o.pick("", "", " scope host", " scope link"))
	}
}

func (o *oracle) aRoute() {
	words := "route " + o.pick("add ", "add ", "append ") + o.pick("", "", "", "", "", "blackhole ", "unreachable ", "prohibit ", "throw ", "local ", "broadcast ")
	kind := strings.Fields(words)[len(strings.Fields(words))-1]
	words += o.pick(strings.Fields(oraclePrefixes)...)
	ways := []string{" dev a0", " dev b0", " dev c0", " via 10.1.0.77 dev a0", " via 10.2.0.77 dev b0 onlink", " via 10.3.0.77 dev c0 onlink"}
	for _, dev := range o.extra {
		ways = append(ways, " dev "+dev)
	}
	words += " table " + o.pick("100", "101", "main", "main", "main", "120", "local") + o.pick("", "", " metric 10", " metric 20")
	if o.chance(8) {
		words += " tos " + o.pick("0x10", "0x08")
	}
	switch kind {
	case "add", "append":
		if o.chance(6) {
			words += " nexthop via 10.1.0.77 dev a0 nexthop via 10.3.0.77 dev c0 onlink"
			break
		}
		words += o.pick("", "", "", " scope link", " src 10.1.0.1") + o.pick(ways...)
	case "local":
		words += " dev lo"
	case "broadcast":
		words += " dev a0"
	}
	o.batch(words)
}

// nexthop makes routes that have nexthop objects.
func (o *oracle) nexthop() {
	if !o.chance(3) {
		return
	}
	for _, words := range []string{
		"nexthop add id 1 via 10.1.0.77 dev a0", "nexthop add id 2 dev " + o.pick("b0", "c0"), "nexthop add id 3 blackhole", "nexthop add id 4 group 1/2",
		"route add 198.51.100.0/25 nhid " + o.pick("1", "2", "3", "4") + " table " + o.pick("main", "100"),
	} {
		o.batch(words)
	}
}

func (o *oracle) aRule(priority int) {
	words := fmt.Sprintf("rule add %spref %d", o.pick("", "", "", "", "", "not "), priority)
	ask := func(in int, format string, value ...string) {
		if o.chance(in) {
			words += fmt.Sprintf(format, o.pick(value...))
		}
	}
	ask(3, " from %s", strings.Fields(oraclePrefixes)...)
	ask(5, " to %s", strings.Fields(oraclePrefixes)...)
	ask(4, " iif %s", append([]string{"a0", "b0", "lo", "lo", "gone"}, o.extra...)...)
	ask(8, " oif %s", append([]string{"a0", "b0", "c0"}, o.extra...)...)
	ask(3, " fwmark %s", "1", "2", "0x3/0x2", "0x10/0xf0", "0/0x1", "3")
	ask(8, " tos %s", "0x10", "0x08")
	ask(6, " ipproto %s", "tcp", "udp", "ipip")
	ask(8, " sport %s", "80", "5000-5010")
	ask(8, " dport %s", "80", "70-90")
	o.batch(words + " " + o.pick("lookup 100", "lookup 100", "lookup 101", "lookup main", "lookup main suppress_prefixlength 0",
		"lookup 100 suppress_prefixlength 24", "blackhole", "prohibit", "unreachable", "nop", fmt.Sprintf("goto %d", priority+10*(1+o.IntN(3)))))
}

// settings are written one by one; one for all devices may set others, too.
func (o *oracle) settings() {
	set := func(name string, values ...string) {
		value := o.pick(values...)
		if os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644) == nil {
			o.said = append(o.said, "sysctl net.ipv4."+strings.ReplaceAll(name, "/", ".")+"="+value)
		}
	}
	forward := o.pick("0", "1", "1")
	set("ip_forward", forward)
	for _, dev := range append([]string{"all", "lo"}, append(slices.Clone(tapNames), o.extra...)...) {
		dir := "conf/" + dev + "/"
		set(dir+"rp_filter", "0", "0", "0", "1", "2")
		set(dir+"src_valid_mark", "0", "0", "1")
		set(dir+"accept_local", "0", "0", "0", "0", "0", "1")
		set(dir+"route_localnet", "0", "0", "0", "0", "0", "1")
		set(dir+"ignore_routes_with_linkdown", "0", "0", "1")
		set(dir+"disable_policy", "0", "0", "1")
		set(dir+"send_redirects", "0", "1")
		if dev != "all" {
			set(dir+"forwarding", forward, forward, forward, "0", "1")
		}
	}
	for _, name := range []string{"fwmark_reflect", "tcp_fwmark_accept", "tcp_l3mdev_accept", "udp_l3mdev_accept"} {
		set(name, "0", "1")
	}
	set("icmp_ratelimit", "0")
}

// markRule gives packets from a network that come by a device a mark. Those later in the list count.
type markRule struct {
	from, dev string
	mark      uint32
}

// rulesThatMark loads rules that give marks, and that make each hook say which packets come to it.
func (o *oracle) rulesThatMark() error {
	var marks strings.Builder
	for range o.IntN(3) {
		m := markRule{o.pick("0.0.0.0/0", "192.0.2.0/24", "10.1.0.0/24"), o.pick(append([]string{"a0", "b0"}, o.extra...)...), uint32(1 + o.IntN(3))}
		if o.chance(8) {
			m.mark = 0x11
		}
		o.marks = append(o.marks, m)
		fmt.Fprintf(&marks, "  ip saddr %s iifname %s meta mark set %d\n", m.from, m.dev, m.mark)
	}
	text := "table ip oracle {\n chain pre { type filter hook prerouting priority -350; meta nftrace set 1\n" + strings.ReplaceAll(marks.String(), "ip saddr 0.0.0.0/0 ", "") + " }\n"
	for chain, hook := range map[string]string{"in": "input", "onward": "forward", "post": "postrouting"} {
		text += fmt.Sprintf(" chain %s { type filter hook %s priority 300; }\n", chain, hook)
	}
	text += " chain out { type filter hook output priority -350; meta nftrace set 1; }\n}\n"
	o.said = append(o.said, "nft -f - <<E\n"+text+"E")
	return feed(text, "nft", "-f", "-")
}

// batch adds a command of ip; the kernel may refuse it, there being another like it.
func (o *oracle) batch(words string) { o.commands = append(o.commands, words) }

// apply runs the commands, and keeps those that the kernel took.
func (o *oracle) apply() error {
	cmd := exec.Command("ip", "-force", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(o.commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	refused := map[int]bool{}
	for line := range strings.Lines(string(out)) {
		var n int
		if _, is := fmt.Sscanf(line, "Command failed -:%d", &n); is == nil {
			refused[n] = true
		}
	}
	if err != nil && len(refused) == 0 {
		return fmt.Errorf("ip -batch: %w: %s", err, out)
	}
	for i, words := range o.commands {
		if !refused[i+1] {
			o.said = append(o.said, "ip "+words)
		}
	}
	o.commands = nil
	return nil
}

// settled waits until the kernel has taken notice of carriers, which it does with a delay (linkwatch_event).
func (o *oracle) settled(s *host.Snapshot) bool {
	l := s.LinkNamed(o.without)
	return l == nil || !slices.ContainsFunc(s.Routes, func(r host.Route) bool {
		return r.Type != "local" && slices.ContainsFunc(r.Hops, func(h host.Hop) bool { return h.Link == l.Index && !h.LinkDown })
	})
}

// patience is how long the kernel may take to notice.
const patience = 20 * time.Second
