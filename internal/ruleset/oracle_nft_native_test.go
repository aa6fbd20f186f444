//go:build native

package ruleset

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// nftWriter writes rulesets for `nft -f`, a command a line.
type nftWriter struct {
	*rand.Rand
	// tracked: the kernel tracks connections; egress: it has that hook.
	tracked, egress bool
	// marks: more rules give marks, and ask for them.
	marks bool
	lines []string
	// of the chain that is written: its table, the hook, the chains that may be called, and the table's sets by what they hold.
	family, hook string
	callable     []string
	sets         map[string][]string
	nat, regular bool
	priority     int
}

func (w *nftWriter) pick(of ...string) string { return of[w.IntN(len(of))] }
func (w *nftWriter) chance(in int) bool       { return w.IntN(in) == 0 }
func (w *nftWriter) add(format string, a ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, a...))
}

// some are a few of the values.
func (w *nftWriter) some(of []string, n int) []string {
	all := slices.Clone(of)
	w.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(1+w.IntN(n), len(all))]
}

var (
	oneAddress  = strings.Fields("10.1.0.2 10.1.0.7 192.0.2.7 192.0.2.200 10.2.0.7 10.2.0.200 198.51.100.1 198.51.100.130 10.1.0.1 10.99.0.1")
	oneNetwork  = strings.Fields("10.0.0.0/8 10.1.0.0/24 192.0.2.0/25 192.0.2.128/25 198.51.100.0/24 10.2.0.0/29 0.0.0.0/1 10.1.0.2/31")
	oneRange    = strings.Fields("10.1.0.1-10.1.0.5 10.1.0.6-10.2.0.9 192.0.2.100-198.51.100.9 10.2.0.8-10.99.0.0")
	disjoint    = strings.Fields("10.1.0.0/30 10.1.0.7 10.2.0.0-10.2.0.99 10.2.0.128/25 192.0.2.0/24 198.51.100.0-198.51.100.100 198.51.100.130 10.99.0.1")
	onePort     = strings.Fields("22 53 80 81 90 443 1024 8080 40000")
	somePorts   = strings.Fields("22 53 80-81 90 440-450 1024-2000 8080 30000-65535")
	oneProtocol = strings.Fields("tcp udp icmp gre 4")
	states      = strings.Fields("new established related invalid untracked")
)

// generated is a ruleset of nftables.
func (w *nftWriter) generated() []string {
	for i := range 1 + w.IntN(3) {
		w.table(fmt.Sprintf("t%d", i))
	}
	return w.lines
}

func (w *nftWriter) table(name string) {
	w.family = w.pick("ip", "ip", "inet", "inet", "inet", "netdev")
	if w.family == "netdev" && w.chance(2) {
		w.family = "inet"
	}
	at := w.family + " " + name
	w.add("add table %s", at)
	type chain struct {
		name, hook    string
		nat, isCalled bool
		priority      int
	}
	var chains []chain
	for i := range w.IntN(4) {
		c := chain{name: fmt.Sprintf("c%d", i), isCalled: true}
		chains = append(chains, c)
		w.add("add chain %s %s", at, c.name)
	}
	w.callable = nil
	if n := len(chains); n > 0 { // the last calls no other
		w.callable = []string{chains[n-1].name}
	}
	w.makeSets(at)
	for i := range 1 + w.IntN(3) {
		c := w.base(at, fmt.Sprintf("b%d", i))
		chains = append(chains, chain{name: fmt.Sprintf("b%d", i), hook: c.hook, nat: c.nat, priority: c.priority})
	}
	for i, c := range chains {
		w.hook, w.nat, w.regular, w.priority = c.hook, c.nat, c.isCalled, c.priority
		w.callable = nil
		for _, called := range chains[i+1:] {
			if called.isCalled {
				w.callable = append(w.callable, called.name)
			}
		}
		if !c.isCalled {
			for _, called := range chains[:i] {
				if called.isCalled {
					w.callable = append(w.callable, called.name)
				}
			}
		}
		if w.marks && (c.hook == "prerouting" || c.hook == "output") && w.chance(2) {
			w.add("add rule %s %s meta mark set %s", at, c.name, w.pick("1", "2", "3"))
		}
		if w.tracked && c.priority < -200 && (c.hook == "prerouting" || c.hook == "output") && w.chance(2) {
			w.add("add rule %s %s %s notrack", at, c.name, w.pick("ip protocol tcp", "ip protocol udp", "ip saddr "+w.pick(oneNetwork...)))
		}
		for range w.IntN(7) {
			w.add("add rule %s %s %s", at, c.name, w.rule())
		}
	}
}

// base adds a chain that a hook runs.
func (w *nftWriter) base(at, name string) (c struct {
	hook     string
	nat      bool
	priority int
}) {
	policy := w.pick("accept", "accept", "accept", "drop")
	if w.family == "netdev" || w.family == "inet" && w.chance(8) {
		c.hook = "ingress"
		device := "in0"
		if w.family == "netdev" && w.egress && w.chance(2) {
			c.hook, device = "egress", "out0"
		}
		w.add("add chain %s %s { type filter hook %s device %s priority %d; policy %s; }", at, name, c.hook, device, w.IntN(3)-1, policy)
		return c
	}
	c.hook = w.pick("prerouting", "prerouting", "input", "input", "input", "forward", "forward", "output", "output", "postrouting")
	if c.nat = w.tracked && c.hook != "forward" && w.chance(6); c.nat {
		c.priority = -100
		if c.hook == "input" || c.hook == "postrouting" {
			c.priority = 100
		}
		if w.chance(4) {
			c.priority += one(w.Rand, []int{-20, 5, 100, 150})
		}
		w.add("add chain %s %s { type nat hook %s priority %d; policy accept; }", at, name, c.hook, c.priority)
		return c
	}
	c.priority = one(w.Rand, []int{-300, -250, -200, -150, -100, 0, 0, 0, 0, 1, 100, 225})
	w.add("add chain %s %s { type filter hook %s priority %d; policy %s; }", at, name, c.hook, c.priority, policy)
	return c
}

// makeSets adds named sets and maps, whose names say what is in them.
func (w *nftWriter) makeSets(at string) {
	w.sets = map[string][]string{}
	set := func(kind, head string, elements []string) {
		name := fmt.Sprintf("%s%d", kind, len(w.sets[kind]))
		w.add("add %s %s { %s }", head, at+" "+name, w.typed(kind))
		if len(elements) > 0 {
			w.add("add element %s { %s }", at+" "+name, strings.Join(elements, ", "))
		}
		w.sets[kind] = append(w.sets[kind], name)
	}
	for range w.IntN(4) {
		switch w.IntN(11) {
		case 0:
			set("address", "set", w.some(oneAddress, 5))
		case 1:
			set("network", "set", w.some(disjoint, 5))
		case 2:
			set("port", "set", w.some(onePort, 4))
		case 3:
			set("span", "set", w.some(somePorts, 4))
		case 4:
			set("service", "set", w.joined(oneAddress, onePort, 6))
		case 5:
			set("area", "set", w.joined(disjoint, somePorts, 6))
		case 6:
			set("mark", "map", mapped(w.some(onePort, 5), func() string { return w.pick("1", "2", "3") }))
		case 7:
			set("dyn", "set", nil)
		case 8:
			set("timed", "set", suffixed(w.some(oneAddress, 5), func() string { return w.pick("", " timeout 1h", " timeout 1d") }))
		case 9:
			set("fate", "map", mapped(w.some(disjoint, 5), w.fate))
		case 10:
			set("way", "map", mapped(w.joined(disjoint, somePorts, 6), w.fate))
		}
	}
}

// typed are the types and flags of a named set.
func (w *nftWriter) typed(kind string) string {
	return map[string]string{
		"address": "type ipv4_addr;", "network": "type ipv4_addr; flags interval;", "port": "type inet_service;",
		"span": "type inet_service; flags interval;", "service": "type ipv4_addr . inet_service;",
		"area": "type ipv4_addr . inet_service; flags interval;", "mark": "type inet_service : mark;",
		"dyn": "type ipv4_addr; size 100; flags dynamic;", "timed": "typeof ip saddr; flags timeout;",
		"fate": "type ipv4_addr : verdict; flags interval;", "way": "type ipv4_addr . inet_service : verdict; flags interval;",
	}[kind]
}

func (w *nftWriter) joined(a, b []string, n int) (all []string) {
	for _, x := range w.some(a, 3) {
		for _, y := range w.some(b, 2) {
			all = append(all, x+" . "+y)
		}
	}
	return all[:min(n, len(all))]
}

func suffixed(all []string, suffix func() string) []string {
	all = slices.Clone(all)
	for i := range all {
		all[i] += suffix()
	}
	return all
}

func mapped(keys []string, value func() string) (all []string) {
	for _, k := range keys {
		all = append(all, k+" : "+value())
	}
	return all
}

func braces(of []string) string { return "{ " + strings.Join(of, ", ") + " }" }

// rule is some matches, some statements and a verdict.
func (w *nftWriter) rule() string {
	if w.family == "inet" && w.chance(20) {
		return w.pick("meta nfproto ipv6 drop", "ip6 nexthdr tcp drop", "ip6 saddr ::/0 drop", "meta protocol ip6 drop", "icmpv6 type echo-request drop")
	}
	l4 := w.pick("", "", "tcp", "tcp", "udp", "icmp", "th")
	if w.tracked && w.hook != "ingress" && w.family != "netdev" && w.chance(8) {
		return "ct state " + w.pick(states...) + " " + cmp.Or(w.verdict(""), "accept")
	}
	var parts []string
	if m := w.ofSet(&l4); m != "" && w.chance(3) {
		parts = append(parts, m)
	}
	if l4 == "th" {
		parts = append(parts, "meta l4proto { tcp, udp }")
	}
	ordered := false
	for range w.IntN(4) {
		m := w.match(l4)
		if w.marks && w.chance(4) {
			m = w.matchOf(12, l4)
		}
		if before := ordered; strings.ContainsAny(m, "<>") { // of two of them nft makes a range in its list
			if ordered = true; before {
				continue
			}
		}
		parts = append(parts, m)
	}
	for range 2 {
		if w.chance(4) {
			parts = append(parts, w.statement(l4))
		}
	}
	if v := w.verdict(l4); v != "" || len(parts) == 0 {
		parts = append(parts, cmp.Or(v, "counter"))
	}
	return strings.Join(parts, " ")
}

// ofSet asks whether the packet is in one of the table's sets; those with ports need TCP or UDP.
func (w *nftWriter) ofSet(l4 *string) string {
	kinds := slices.Sorted(maps.Keys(w.sets))
	if len(kinds) == 0 {
		return ""
	}
	kind := w.pick(kinds...)
	name := w.not() + "@" + w.pick(w.sets[kind]...)
	switch kind {
	case "address", "network", "timed":
		return "ip " + w.pick("saddr ", "daddr ") + name
	case "port", "span", "service", "area":
		*l4 = w.pick("tcp", "tcp", "udp")
		if kind == "service" || kind == "area" {
			return "ip daddr . " + *l4 + " dport " + name
		}
		return *l4 + " dport " + name
	}
	return ""
}

// not is nothing, or at times a negation.
func (w *nftWriter) not() string { return w.pick("", "", "", "!= ") }

func (w *nftWriter) match(l4 string) string {
	for {
		if m := w.matchOf(w.IntN(20), l4); m != "" {
			return m
		}
	}
}

func (w *nftWriter) matchOf(kind int, l4 string) string {
	switch kind {
	case 0, 1, 2:
		return "ip " + w.pick("saddr ", "daddr ") + w.not() + w.address()
	case 3, 4, 5, 6:
		if l4 == "tcp" || l4 == "udp" || l4 == "th" {
			return l4 + " " + w.pick("dport ", "dport ", "sport ") + w.port()
		}
		if l4 == "icmp" {
			return w.pick("icmp type "+w.not()+w.pick("echo-request", "echo-reply", "3", "{ 8, 13 }", "3-8"), "icmp code "+w.not()+w.pick("0", "1", "3-4"))
		}
	case 7:
		if l4 == "tcp" {
			return "tcp flags " + w.pick("syn", "& (syn|ack) == syn", "& (fin|syn|rst|ack) == syn", "syn,ack", "{ syn, ack }", "!= syn", "& (syn|fin) != 0", "& (fin|syn) == (fin|syn)",
				"! syn", "& (syn|ack) != syn", "== { syn, syn|ack, psh|ack }", "& fin == 0", "0", "!= 0x10")
		}
	case 8:
		if l4 == "" {
			return w.pick("ip protocol ", "meta l4proto ") + w.not() + w.pick(w.pick(oneProtocol...), braces(w.some(oneProtocol, 3)))
		}
	case 9:
		return w.device()
	case 10, 11:
		if w.tracked && w.hook != "ingress" && w.family != "netdev" {
			return w.pick("ct state "+w.pick(states...), "ct state untracked", "ct state "+strings.Join(w.some(states, 3), ","), "ct state != "+w.pick(states...),
				"ct state "+braces(w.some(states, 3)), "ct state ! "+w.pick(states...), "ct state & (new|related) != 0")
		}
	case 12, 13:
		return "meta mark " + w.pick("1", "2", "!= 1", "{ 1, 3 }", "& 0x1 == 0x1", "& 0x3 == 0x2", "& 0x2 != 0", "0", "> 1", "1-2")
	case 14:
		return w.pick("ip ttl "+w.pick("< 3", "64", "> 63", "!= 63", "2-64", "{ 2, 255 }", "<= 64", ">= 63"), "ip length "+w.pick("< 50", "20-48", "> 100", "!= 28"),
			"meta length "+w.pick("< 50", "20-48", "> 100"))
	case 15:
		return w.concatenated(l4)
	case 16:
		if w.hook == "prerouting" || w.hook == "input" || w.hook == "forward" || w.hook == "output" {
			return w.routed()
		}
	case 17:
		return w.pick("meta protocol ip", "ip version 4", "meta protocol != ip6")
	case 18:
		return w.pick("ip saddr & 255.255.0.0 == 10.1.0.0", "ip daddr & 0.0.0.1 == 0.0.0.1", "ip saddr < 10.2.0.0", "ip daddr >= 10.99.0.0", "@nh,96,32 0x0a010002", "@nh,72,8 6", "ip dscp 0",
			"ip id < 0x4a05", "ip frag-off & 0x1fff == 0", "ip frag-off & 0x1fff != 0", "ip hdrlength 5", "ip frag-off & 0x4000 != 0")
	case 19:
		if w.chance(2) {
			return w.odd(l4)
		}
	}
	return ""
}

// odd are matches of which the packet's headers do not tell.
func (w *nftWriter) odd(l4 string) string {
	all := []string{"meta pkttype host", "meta skuid 0", "meta cpu 0-64", "limit rate 1000/second", "limit rate over 1000/second", "meta iifkind tun", "meta priority 0", "meta day 1-3", "numgen inc mod 2 0"}
	if w.tracked && w.family != "netdev" && w.hook != "ingress" {
		all = append(all, "ct direction original", "ct status snat", "ct mark 0", "ct original ip saddr 10.1.0.2", "ct zone 0", "ct status confirmed", "ct protocol tcp ct direction original")
	}
	if l4 == "tcp" {
		all = append(all, "tcp option maxseg exists", "tcp sequence 1000", "tcp doff 5", "tcp window > 1")
	}
	if l4 == "udp" {
		all = append(all, "udp length < 50", "udp checksum 0")
	}
	return w.pick(all...)
}

func (w *nftWriter) address() string {
	switch w.IntN(7) {
	case 0:
		return w.pick(oneNetwork...)
	case 1:
		return w.pick(oneRange...)
	case 2:
		return braces(w.some(disjoint, 4))
	case 3, 6:
		for _, kind := range w.some([]string{"address", "network", "dyn", "timed"}, 4) {
			if s := w.sets[kind]; len(s) > 0 {
				return "@" + w.pick(s...)
			}
		}
	case 4:
		return braces(w.some(oneAddress, 3))
	}
	return w.pick(oneAddress...)
}

func (w *nftWriter) port() string {
	switch w.IntN(7) {
	case 0:
		return w.pick("80-90", "1-1023", "1024-65535", "53-443")
	case 1:
		return w.not() + braces(w.some(somePorts, 4))
	case 2:
		for _, kind := range []string{"port", "span"} {
			if s := w.sets[kind]; len(s) > 0 {
				return w.not() + "@" + w.pick(s...)
			}
		}
	case 3:
		return w.pick("< 81", "> 80", "<= 443", ">= 1024")
	case 4:
		return w.not() + braces(w.some(onePort, 4))
	}
	return w.not() + w.pick(onePort...)
}

func (w *nftWriter) device() string {
	in := w.hook == "prerouting" || w.hook == "input" || w.hook == "forward" || w.hook == "ingress"
	if w.regular || in && (w.hook != "forward" || w.chance(2)) {
		return w.pick("iifname "+w.not()+w.pick(`"in0"`, `"out0"`, `"in*"`, `"lo"`, `{ "in0", "lo" }`), "iif "+w.not()+w.pick(`"in0"`, `"lo"`, `{ "out0", "in0" }`))
	}
	if w.hook == "input" || w.hook == "prerouting" {
		return ""
	}
	return w.pick("oifname "+w.not()+w.pick(`"in0"`, `"out0"`, `"o*"`, `"lo"`, `{ "out0", "lo" }`), "oif "+w.not()+w.pick(`"in0"`, `"out0"`, `{ "out0", "in0" }`))
}

func (w *nftWriter) concatenated(l4 string) string {
	if l4 != "tcp" && l4 != "udp" {
		return w.pick("ip saddr . ip daddr "+w.not()+braces(w.joined(oneAddress, oneAddress, 6)), "ip saddr . meta mark "+braces(w.joined(oneAddress, []string{"1", "2"}, 4)),
			"ip daddr . ip protocol "+w.not()+braces(w.joined(disjoint, oneProtocol, 6)), "iifname . ip saddr "+braces(w.joined([]string{`"in0"`, `"lo"`}, oneAddress, 6)))
	}
	for _, kind := range []string{"service", "area"} {
		if s := w.sets[kind]; len(s) > 0 && !w.chance(4) {
			return "ip " + w.pick("daddr . ", "saddr . ") + l4 + " dport " + w.not() + "@" + w.pick(s...)
		}
	}
	return w.pick("ip daddr . "+l4+" dport "+w.not()+braces(w.joined(oneAddress, onePort, 6)), "ip daddr . "+l4+" dport "+braces(w.joined(disjoint, somePorts, 6)),
		"ip protocol . "+l4+" sport "+w.not()+braces(w.joined([]string{"tcp", "udp"}, onePort, 4)),
		"meta l4proto . th dport "+w.not()+braces(w.joined([]string{"tcp", "udp"}, somePorts, 4)),
		"ip saddr . ip daddr . "+l4+" dport "+w.not()+braces(w.joined(w.joined(disjoint, disjoint, 6), somePorts, 6)))
}

// routed asks the routes.
func (w *nftWriter) routed() string {
	all := []string{"fib daddr type local", "fib daddr type != local", "fib saddr type unicast", "fib daddr type { local, broadcast }", "fib saddr type local"}
	if w.hook != "output" {
		all = append(all, "fib saddr oif missing", "fib saddr oif exists", `fib saddr oifname "in0"`, "fib daddr type . meta l4proto { local . tcp }")
	}
	if w.hook == "prerouting" || w.hook == "input" {
		all = append(all, "fib saddr . iif oif missing", "fib saddr . iif oif exists", "fib daddr . iif type local", "fib saddr . mark . iif oif missing")
	}
	return w.pick(all...)
}

func (w *nftWriter) statement(l4 string) string {
	all := []string{
		"counter", "log", "meta mark set 1", "meta mark set 2", "meta mark set 3", "meta mark set 1", "meta mark set meta mark or 0x2", "meta mark set meta mark and 0x1",
		"meta mark set ip saddr map " + braces(mapped(w.some(oneAddress, 4), func() string { return w.pick("1", "2") })), "meta priority set 1:1",
	}
	if w.chance(4) {
		all = append(all, "meta mark set jhash ip saddr mod 2", "meta mark set numgen inc mod 2", "meta mark set meta mark xor 0x3")
	}
	for _, s := range w.sets["dyn"] {
		all = append(all, w.pick("add", "update")+" @"+s+" { ip saddr }")
	}
	for _, s := range w.sets["mark"] {
		if l4 == "tcp" || l4 == "udp" {
			all = append(all, "meta mark set "+l4+" dport map @"+s)
		}
	}
	if w.tracked && w.family != "netdev" && w.hook != "ingress" {
		all = append(all, "ct mark set 1", "meta mark set ct mark")
		if (w.hook == "prerouting" || w.hook == "output") && w.priority < -200 {
			all = append(all, "notrack", "notrack")
		}
	}
	if w.chance(6) {
		all = append(all, "ip ttl set 64", "ip dscp set cs1")
	}
	return w.pick(all...)
}

func (w *nftWriter) verdict(l4 string) string {
	if w.nat && w.chance(2) {
		if v := w.translation(l4); v != "" {
			return v
		}
	}
	all := []string{"accept", "accept", "accept", "drop", "drop", "drop", "return", "continue", "", ""}
	for _, c := range w.callable {
		all = append(all, "jump "+c, "jump "+c, "goto "+c)
	}
	if w.family != "netdev" && !w.regular && (w.hook == "input" || w.hook == "forward" || w.hook == "output") && !w.nat {
		all = append(all, "reject")
		if l4 == "tcp" {
			all = append(all, "reject with tcp reset")
		}
	}
	if w.chance(4) || len(w.sets["fate"])+len(w.sets["way"]) > 0 && w.chance(3) {
		return w.verdictMap(l4)
	}
	return w.pick(all...)
}

// fate is the verdict of a verdict map's element.
func (w *nftWriter) fate() string {
	all := []string{"accept", "drop", "drop", "continue", "return"}
	for _, c := range w.callable {
		all = append(all, "jump "+c, "goto "+c)
	}
	return w.pick(all...)
}

func (w *nftWriter) verdictMap(l4 string) string {
	if s := w.sets["fate"]; len(s) > 0 && !w.regular && w.chance(2) { // a chain of one's own may be in it
		return w.pick("ip saddr", "ip daddr") + " vmap @" + w.pick(s...)
	}
	if s := w.sets["way"]; len(s) > 0 && !w.regular && (l4 == "tcp" || l4 == "udp") && !w.chance(4) {
		return w.pick("ip saddr", "ip daddr") + " . " + l4 + " dport vmap @" + w.pick(s...)
	}
	verdict := w.fate
	all := []string{
		"ip saddr vmap " + braces(mapped(w.some(oneAddress, 4), verdict)), "ip daddr vmap " + braces(mapped(w.some(disjoint, 4), verdict)),
		"ip protocol vmap " + braces(mapped(w.some(oneProtocol, 3), verdict)), "meta mark vmap " + braces(mapped(w.some([]string{"0", "1", "2"}, 3), verdict)),
		"ip saddr . ip daddr vmap " + braces(mapped(w.joined(oneAddress, oneAddress, 6), verdict)),
		"iifname vmap " + braces(mapped(w.some([]string{`"in0"`, `"lo"`, `"out0"`}, 3), verdict)),
	}
	if l4 == "tcp" || l4 == "udp" || l4 == "th" {
		all = append(all, l4+" dport vmap "+braces(mapped(w.some(onePort, 5), verdict)), l4+" dport vmap "+braces(mapped(w.some(somePorts, 5), verdict)),
			l4+" dport vmap "+braces(append(mapped(w.some(onePort, 3), verdict), "* : "+verdict())))
	}
	if l4 == "tcp" || l4 == "udp" {
		all = append(all, "ip daddr . "+l4+" dport vmap "+braces(mapped(w.joined(disjoint, somePorts, 6), verdict)))
	}
	if w.tracked && w.family != "netdev" && w.hook != "ingress" {
		all = append(all, "ct state vmap "+braces(mapped(w.some(states, 4), verdict)))
	}
	return w.pick(all...)
}

func (w *nftWriter) translation(l4 string) string {
	family := map[string]string{"inet": "ip "}[w.family]
	if (w.hook == "prerouting" || w.hook == "output") && l4 != "udp" && l4 != "icmp" && l4 != "th" && w.chance(4) {
		return w.pick("dnat "+family+"to ip saddr map "+braces(mapped(w.some(oneAddress, 4), func() string { return w.pick("10.1.0.1", "10.2.0.7") })),
			"dnat ip to tcp dport map "+braces(mapped(w.some(onePort, 4), func() string { return w.pick("10.1.0.1 . 80", "10.2.0.7 . 8080") })))
	}
	switch w.hook {
	case "prerouting", "output":
		if l4 == "tcp" || l4 == "udp" {
			return "meta l4proto " + l4 + " " + w.pick("dnat "+family+"to "+w.pick("10.1.0.1", "10.2.0.7", "198.51.100.1")+w.pick("", ":80", ":81"), "redirect to :8080")
		}
		return "dnat " + family + "to " + w.pick("10.1.0.1", "10.2.0.7", "198.51.100.1")
	case "input", "postrouting":
		return w.pick("snat "+family+"to 10.2.0.1", map[string]string{"postrouting": "masquerade"}[w.hook])
	}
	return ""
}
