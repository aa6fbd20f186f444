//go:build native

package ruleset

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

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
