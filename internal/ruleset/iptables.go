package ruleset

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/host"
)

// builtIn is the chain that a table has at a hook; nil if none.
func builtIn(t *host.IPTables, hook string) *host.IPTablesChain {
	return find(t, strings.ToUpper(hook))
}

func find(t *host.IPTables, name string) *host.IPTablesChain {
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	return nil
}

// iptables runs a chain of iptables.
func (e *evaluation) iptables(t *host.IPTables, c *host.IPTablesChain) Verdict {
	if e.depth++; e.depth > maxDepth {
		return Continue
	}
	defer func() { e.depth-- }()
	for i, r := range c.Rules {
		m, target, isGoto := e.arguments(r.Args)
		if m == no {
			continue
		}
		rule := Rule{
			Backend: t.Backend, Family: "ip", Table: t.Table, Chain: c.Name, Number: i + 1, Args: r.Args,
			Text: "-A " + c.Name + " " + Quote(r.Args),
		}
		v := e.target(t, target, rule, m)
		if v == Continue && isGoto && m == yes {
			v = Return
		}
		if v == Return && c.Policy == "" {
			return Continue
		}
		if v == Return {
			break
		}
		if v != Continue {
			return v
		}
	}
	if c.Policy == "DROP" {
		return e.drops(Rule{Backend: t.Backend, Family: "ip", Table: t.Table, Chain: c.Name, Policy: "drop"}, yes)
	}
	if c.Policy != "" {
		return Accept
	}
	return Continue
}

// target is what a rule does with a packet that it matches, or may match.
func (e *evaluation) target(t *host.IPTables, target string, rule Rule, m match) Verdict {
	switch target {
	case "DROP":
		return e.drops(rule, m)
	case "REJECT":
		rule.Rejects = true
		return e.drops(rule, m)
	case "DNAT", "REDIRECT":
		if e.nat {
			return e.drops(rule, m)
		}
		return Continue
	case "ACCEPT", "RETURN":
		if m == may {
			e.doubt = true
			return Continue
		}
		if target == "RETURN" {
			return Return
		}
		return Accept
	}
	c := find(t, target)
	if c == nil {
		return Continue // LOG, MARK, NFLOG and the like; NAT changes what later chains see
	}
	if m == yes {
		return e.iptables(t, c)
	}
	return e.perhaps(func() Verdict { return e.iptables(t, c) })
}

// harmless are options that say nothing of the packet; the number is how many words follow.
var harmless = map[string]int{
	"--comment": 1, "--reject-with": 1, "--log-prefix": 1, "--log-level": 1, "--set-xmark": 1, "--set-mark": 1,
	"--to-destination": 1, "--to-source": 1, "--to-ports": 1, "--set-mss": 1, "--clamp-mss-to-pmtu": 0, "--notrack": 0, "-c": 2,
	"--log-ip-options": 0, "--log-tcp-options": 0, "--log-tcp-sequence": 0, "--log-uid": 0, "--nflog-group": 1, "--nflog-prefix": 1,
	"--queue-num": 1, "--queue-bypass": 0,
}

// arguments compares a rule's arguments with the packet. What is not understood may match.
func (e *evaluation) arguments(args []string) (m match, target string, isGoto bool) {
	m = yes
	p := e.p
	negated := false
	for i := 0; i < len(args); i++ {
		word := func() string {
			if i+1 < len(args) {
				i++
				return args[i]
			}
			return ""
		}
		this := yes
		switch option := args[i]; option {
		case "!":
			negated = true
			continue
		case "-j":
			target = word()
			continue
		case "-g":
			target, isGoto = word(), true
			continue
		case "-m":
			word()
			continue
		case "-s":
			this = within(word(), p.Src)
		case "-d":
			this = within(word(), p.Dst)
		case "-i":
			this = device(word(), p.IIF)
		case "-o":
			this = device(word(), p.OIF)
		case "-p":
			this = protocolIs(word(), p.Proto)
		case "-f":
			this = is(p.Fragment)
		case "--sport", "--source-port", "--sports", "--source-ports":
			this = ports(word(), p.Sport, p.HasPorts)
		case "--dport", "--destination-port", "--dports", "--destination-ports":
			this = ports(word(), p.Dport, p.HasPorts)
		case "--ports":
			list := word()
			this = ports(list, p.Sport, p.HasPorts).or(ports(list, p.Dport, p.HasPorts))
		case "--syn":
			this = tcpFlags("FIN,SYN,RST,ACK", "SYN", p)
		case "--tcp-flags":
			mask := word()
			this = tcpFlags(mask, word(), p)
		case "--ctstate", "--state":
			this = ctState(word(), p.CT)
		case "--icmp-type":
			this = icmpType(word(), p)
		case "--src-range":
			this = inRange(word(), p.Src)
		case "--dst-range":
			this = inRange(word(), p.Dst)
		case "--dst-type":
			this = e.addrType(word(), p.Dst)
		case "--src-type":
			this = e.addrType(word(), p.Src)
		case "--ttl-eq":
			this = number(word(), func(n uint64) bool { return uint64(p.TTL) == n })
		case "--length":
			this = span(word(), uint64(p.Length))
		default:
			if n, known := harmless[option]; known {
				i += n
				continue
			}
			this = may
			for i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") && args[i+1] != "!" {
				i++
			}
		}
		if negated {
			this, negated = this.not(), false
		}
		m = m.and(this)
	}
	return m, target, isGoto
}

func within(prefix string, a netip.Addr) match {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		one, err := netip.ParseAddr(prefix)
		if err != nil {
			return may // a netmask that is no prefix
		}
		return is(one == a)
	}
	return is(p.Contains(a))
}

func device(pattern, dev string) match {
	if stem, ok := strings.CutSuffix(pattern, "+"); ok {
		return is(strings.HasPrefix(dev, stem) && dev != "")
	}
	return is(pattern == dev)
}

// protocolNumbers are those of /etc/protocols that rules are written with; ipencap is IPIP, ipip is another protocol.
var protocolNumbers = map[string]uint64{
	"icmp": 1, "igmp": 2, "ipencap": 4, "ipip": 94, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "sctp": 132, "udplite": 136, "dccp": 33,
}

func protocolIs(name string, proto uint8) match {
	if name == "all" || name == "0" {
		return yes
	}
	if n, ok := protocolNumbers[name]; ok {
		return is(n == uint64(proto))
	}
	return number(name, func(n uint64) bool { return n == uint64(proto) })
}

// ports compares with "80", "80:90", "80,443,1000:2000"; a packet without ports does not match.
func ports(list string, port uint16, has bool) match {
	if !has {
		return no
	}
	m := no
	for _, part := range strings.Split(list, ",") {
		m = m.or(span(part, uint64(port)))
	}
	return m
}

// span compares with "n" or "from:to", either end of which may be missing.
func span(text string, n uint64) match {
	from, to, isRange := strings.Cut(text, ":")
	if !isRange {
		return number(text, func(v uint64) bool { return v == n })
	}
	m := yes
	if from != "" {
		m = m.and(number(from, func(v uint64) bool { return v <= n }))
	}
	if to != "" {
		m = m.and(number(to, func(v uint64) bool { return n <= v }))
	}
	return m
}

func number(text string, holds func(uint64) bool) match {
	v, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return may
	}
	return is(holds(v))
}

// flagBits are the TCP flags by name, in the header's bits.
var flagBits = map[string]uint8{"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128, "ALL": 63, "NONE": 0}

func tcpFlags(mask, want string, p Packet) match {
	bits := func(list string) (b uint8) {
		for _, name := range strings.Split(list, ",") {
			b |= flagBits[strings.ToUpper(name)]
		}
		return b
	}
	return is(p.Proto == 6 && p.HasPorts && p.Flags&bits(mask) == bits(want))
}

func ctState(list, state string) match {
	if state == "" {
		return may
	}
	return is(slices.Contains(strings.Split(strings.ToLower(list), ","), state))
}

func icmpType(text string, p Packet) match {
	if p.Proto != 1 {
		return no
	}
	kind, code, both := strings.Cut(text, "/")
	m := number(kind, func(n uint64) bool { return n == uint64(p.ICMPType) })
	if both {
		m = m.and(number(code, func(n uint64) bool { return n == uint64(p.ICMPCode) }))
	}
	return m
}

func inRange(text string, a netip.Addr) match {
	from, to, ok := strings.Cut(text, "-")
	first, err1 := netip.ParseAddr(from)
	last, err2 := netip.ParseAddr(to)
	if !ok || err1 != nil || err2 != nil {
		return may
	}
	return is(first.Compare(a) <= 0 && a.Compare(last) <= 0)
}

func (e *evaluation) addrType(name string, a netip.Addr) match {
	local := e.s.Owns(a)
	switch name {
	case "LOCAL":
		return is(local)
	case "UNICAST":
		return is(!local && a.IsGlobalUnicast())
	case "MULTICAST":
		return is(a.IsMulticast())
	}
	return may
}

// Quote is a command's words for a shell: a word that a shell would not take as it stands is in single quotes.
func Quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		plain := func(r rune) bool {
			return r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-+=:,./@%^", r))
		}
		if w == "" || strings.ContainsFunc(w, func(r rune) bool { return !plain(r) }) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
