//go:build native

package ruleset

import (
	"fmt"
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
