//go:build native

package ruleset

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// iptablesWriter writes rulesets for iptables-restore.
type iptablesWriter struct {
	*rand.Rand
	tracked bool
	// marks: more rules give marks, and ask for them.
	marks bool
	lines []string
	// of the chain that is written: its table, its hook (of a chain of one's own all that call it), and the chains that may be called.
	table, hook string
	callable    []string
}

func (w *iptablesWriter) pick(of ...string) string { return of[w.IntN(len(of))] }
func (w *iptablesWriter) chance(in int) bool       { return w.IntN(in) == 0 }

var hooksOf = map[string][]string{
	"raw": {"PREROUTING", "OUTPUT"}, "mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	"nat": {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}, "filter": {"INPUT", "FORWARD", "OUTPUT"}, "security": {"INPUT", "FORWARD", "OUTPUT"},
}

// generated is a ruleset of iptables.
func (w *iptablesWriter) generated() []string {
	tables := []string{"filter"}
	for _, t := range []string{"raw", "mangle", "nat", "security"} {
		if (w.chance(2) || w.marks && t == "mangle") && (w.tracked || t != "nat") && (t != "security" || w.chance(3)) {
			tables = append(tables, t)
		}
	}
	for _, t := range tables {
		w.writeTable(t)
	}
	return w.lines
}

func (w *iptablesWriter) writeTable(table string) {
	w.table = table
	w.lines = append(w.lines, "*"+table)
	for _, hook := range hooksOf[table] {
		policy := w.pick("ACCEPT", "ACCEPT", "ACCEPT", "DROP")
		if table == "nat" || table == "raw" {
			policy = "ACCEPT"
		}
		w.lines = append(w.lines, fmt.Sprintf(":%s %s [0:0]", hook, policy))
	}
	own := make([]string, w.IntN(4))
	for i := range own {
		own[i] = fmt.Sprintf("OWN%d", i)
		w.lines = append(w.lines, ":"+own[i]+" - [0:0]")
	}
	for _, hook := range hooksOf[table] {
		w.hook, w.callable = hook, own
		if w.marks && table == "mangle" && (hook == "PREROUTING" || hook == "OUTPUT") && w.chance(2) {
			w.lines = append(w.lines, "-A "+hook+" -j MARK --set-mark "+w.pick("1", "2", "3"))
		}
		w.rules(hook, w.IntN(6))
	}
	for i, chain := range own {
		w.hook, w.callable = "", own[i+1:]
		w.rules(chain, w.IntN(5))
	}
	w.lines = append(w.lines, "COMMIT")
}

func (w *iptablesWriter) rules(chain string, n int) {
	for range n {
		words := []string{"-A", chain}
		proto := w.pick("", "", "tcp", "tcp", "udp", "icmp")
		if proto != "" {
			words = append(words, "-p", proto)
		} else if w.chance(6) {
			words = append(words, w.pick("", "!"), "-p", w.pick("tcp", "4", "gre", "udp", "icmp"))
		}
		seen := map[int]bool{}
		n := w.IntN(3)
		if w.tracked && w.chance(8) {
			words, n = append(words, w.match(6, "")), 0
		}
		for range n {
			kind := w.IntN(15)
			if kind == 12 {
				kind = 11
			}
			if w.marks && w.chance(4) {
				kind = 7
			}
			if m := w.match(kind, proto); m != "" && !seen[kind] {
				seen[kind] = true
				words = append(words, m)
			}
		}
		words = append(words, w.target(proto))
		w.lines = append(w.lines, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
	}
}

func (w *iptablesWriter) not() string { return w.pick("", "", "", "! ") }

func (w *iptablesWriter) address() string {
	return w.pick(w.pick(oneAddress...), w.pick(oneNetwork...), w.pick("10.0.0.1/255.0.0.255", "0.0.0.7/0.0.0.255"))
}

func (w *iptablesWriter) ports() string {
	return w.pick("22", "80", "80:90", "1024:", ":1023", "443", "53:443", "40000")
}

func (w *iptablesWriter) list() string {
	return w.pick("22,80,443", "80:90,1024:2000", "53", "40000,8080:9000,22")
}

func (w *iptablesWriter) match(kind int, proto string) string {
	switch kind {
	case 0:
		return w.not() + "-s " + w.address()
	case 1:
		return w.not() + "-d " + w.address()
	case 2, 3:
		if proto == "tcp" || proto == "udp" {
			return "-m " + proto + " " + w.not() + w.pick("--dport ", "--sport ") + w.ports()
		}
		if proto == "icmp" {
			return "-m icmp " + w.not() + "--icmp-type " + w.pick("8", "0", "3/1", "any", "echo-request", "3")
		}
	case 4:
		if proto == "tcp" || proto == "udp" {
			return "-m multiport " + w.not() + w.pick("--dports ", "--sports ", "--ports ") + w.list()
		}
	case 5:
		if proto == "tcp" {
			return "-m tcp " + w.not() + w.pick("--syn", "--tcp-flags SYN,ACK SYN", "--tcp-flags FIN,SYN,RST,ACK SYN", "--tcp-flags ALL NONE", "--tcp-flags SYN,FIN SYN,FIN", "--tcp-flags ALL ACK,PSH")
		}
	case 6:
		if w.tracked {
			return w.pick("-m conntrack "+w.not()+"--ctstate ", "-m state "+w.not()+"--state ") + w.pick("NEW", "ESTABLISHED,RELATED", "INVALID", "NEW,INVALID", "UNTRACKED", "UNTRACKED", "ESTABLISHED", "RELATED", "RELATED,UNTRACKED,NEW")
		}
	case 7:
		return "-m mark " + w.not() + "--mark " + w.pick("0x1", "0x2", "0x0", "0x1/0x1", "0x2/0x3", "0x0/0x2")
	case 8:
		return "-m addrtype " + w.not() + w.pick("--dst-type LOCAL", "--src-type LOCAL", "--dst-type UNICAST", "--src-type UNICAST,LOCAL", "--dst-type BROADCAST,MULTICAST")
	case 9:
		return "-m iprange " + w.not() + w.pick("--src-range ", "--dst-range ") + w.pick(oneRange...)
	case 10:
		return w.pick("-m ttl "+w.pick("--ttl-eq 64", "--ttl-lt 64", "--ttl-gt 63", "! --ttl-eq 63", "--ttl-eq 63"), "-m length "+w.not()+"--length "+w.pick("0:50", "100:", "28", ":48", "148"))
	case 11, 12:
		return w.device()
	case 13:
		return w.pick("-m comment --comment x", `-m comment --comment "a b"`, "-f", "! -f", "-m dscp --dscp 0", "-m tos --tos 0x00/0xff")
	case 14:
		if w.chance(2) {
			return w.odd(proto)
		}
	}
	return ""
}

func (w *iptablesWriter) device() string {
	in := "-i " + w.pick("in0", "out0", "in+", "lo")
	out := "-o " + w.pick("in0", "out0", "o+", "lo")
	switch w.hook {
	case "PREROUTING", "INPUT":
		return w.not() + in
	case "OUTPUT", "POSTROUTING":
		return w.not() + out
	}
	return w.not() + w.pick(in, out)
}

// odd are matches of which the packet's headers do not tell.
func (w *iptablesWriter) odd(proto string) string {
	all := []string{
		"-m limit --limit 1000/sec", "-m statistic --mode nth --every 2 --packet 0", "-m pkttype --pkt-type unicast", "-m recent --name r --set", "-m cpu --cpu 0",
		"-m physdev --physdev-is-in",
	}
	switch w.hook {
	case "PREROUTING", "INPUT":
		all = append(all, "-m socket", "-m addrtype --dst-type LOCAL --limit-iface-in", "-m mac --mac-source 02:00:00:00:00:01", "-m devgroup --src-group 0", "-m policy --dir in --pol none")
		if w.hook == "PREROUTING" && (w.table == "raw" || w.table == "mangle") {
			all = append(all, "-m rpfilter", "-m rpfilter --invert --loose")
		}
	case "OUTPUT", "POSTROUTING":
		all = append(all, "-m owner --uid-owner 0", "-m realm --realm 0", "-m policy --dir out --pol none")
	}
	if w.tracked {
		all = append(all, "-m connlimit --connlimit-above 1", "-m helper --helper ftp", "-m conntrack --ctstatus NONE", "-m conntrack --ctdir ORIGINAL", "-m connmark --mark 0x0", "-m conntrack --ctorigdst 10.1.0.1", "-m conntrack --ctstate DNAT", "-m connbytes --connbytes 1: --connbytes-dir both --connbytes-mode packets")
	}
	if proto == "tcp" {
		all = append(all, "-m tcpmss --mss 500:1460", "-m tcp --tcp-option 2", "-m string --algo bm --string abc")
	}
	return w.pick(all...)
}

func (w *iptablesWriter) target(proto string) string {
	all := []string{"-j ACCEPT", "-j ACCEPT", "-j DROP", "-j DROP", "-j DROP", "-j RETURN", "", "-j LOG", "-j NFLOG --nflog-group 7"}
	for _, c := range w.callable {
		all = append(all, "-j "+c, "-j "+c, "-j "+c, "-g "+c)
	}
	switch w.table {
	case "filter":
		all = append(all, "-j REJECT", "-j REJECT --reject-with icmp-host-prohibited")
		if proto == "tcp" {
			all = append(all, "-j REJECT --reject-with tcp-reset")
		}
	case "mangle":
		for range 3 {
			all = append(all, "-j MARK --set-mark 1", "-j MARK --set-mark 2", "-j MARK --or-mark 2", "-j MARK --and-mark 1", "-j MARK --set-xmark 0x3/0x3")
		}
		all = append(all, "-j TTL --ttl-set 64", "-j DSCP --set-dscp 8")
		if w.hook == "FORWARD" || w.hook == "OUTPUT" || w.hook == "POSTROUTING" {
			all = append(all, "-j CLASSIFY --set-class 1:1")
		}
		if w.tracked {
			all = append(all, "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark", "-j CONNMARK --set-mark 1")
		}
	case "raw":
		if w.tracked {
			all = append(all, "-j CT --notrack", "-j CT --notrack", "-j CT --notrack", "-j NOTRACK")
		}
	case "nat":
		all = []string{"-j ACCEPT", "-j RETURN", "-j LOG"}
		for _, c := range w.callable {
			all = append(all, "-j "+c)
		}
		switch w.hook {
		case "PREROUTING", "OUTPUT":
			all = append(all, "-j DNAT --to-destination 10.2.0.7", "-j DNAT --to-destination 10.1.0.1", "-j NETMAP --to 10.2.0.0/24")
			if proto == "tcp" || proto == "udp" {
				all = append(all, "-j REDIRECT --to-ports 8080", "-j DNAT --to-destination 198.51.100.1:80")
			}
		case "POSTROUTING":
			all = append(all, "-j MASQUERADE", "-j SNAT --to-source 10.2.0.1")
		}
	}
	return w.pick(all...)
}
