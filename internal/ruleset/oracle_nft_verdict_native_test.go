//go:build native

package ruleset

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
