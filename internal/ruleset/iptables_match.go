package ruleset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// options are those of rules that are compared with the packet: how many words follow, and what they say. there is
// false if the packet has no such field: then the rule does not match, negated or not.
var options = map[string]struct {
	words int
	says  func(e *evaluation, words []string) (m match, there bool)
}{
	"-s":                  {1, func(e *evaluation, w []string) (match, bool) { return e.unless("saddr", within(w[0], e.p.Src)), true }},
	"-d":                  {1, func(e *evaluation, w []string) (match, bool) { return e.unlessNATed(within(w[0], e.p.Dst)), true }},
	"-i":                  {1, func(e *evaluation, w []string) (match, bool) { return device(w[0], e.p.IIF, e.p.hasIIF()), true }},
	"-o":                  {1, func(e *evaluation, w []string) (match, bool) { return device(w[0], e.p.OIF, e.p.hasOIF()), true }},
	"-p":                  {1, func(e *evaluation, w []string) (match, bool) { return protocolIs(w[0], e.p.Proto), true }},
	"-f":                  {0, func(e *evaluation, _ []string) (match, bool) { return is(e.p.Fragment), true }},
	"--sport":             {1, sourcePorts},
	"--source-port":       {1, sourcePorts},
	"--sports":            {1, sourcePorts},
	"--source-ports":      {1, sourcePorts},
	"--dport":             {1, destinationPorts},
	"--destination-port":  {1, destinationPorts},
	"--dports":            {1, destinationPorts},
	"--destination-ports": {1, destinationPorts},
	"--ports": {1, func(e *evaluation, w []string) (match, bool) {
		return e.unless("sport", ports(w[0], e.p.sport())).or(e.unlessNATed(ports(w[0], e.p.dport()))), e.p.HasPorts
	}},
	"--syn":       {0, func(e *evaluation, _ []string) (match, bool) { return tcpFlags("FIN,SYN,RST,ACK", "SYN", e.p) }},
	"--tcp-flags": {2, func(e *evaluation, w []string) (match, bool) { return tcpFlags(w[0], w[1], e.p) }},
	"--ctstate":   {1, func(e *evaluation, w []string) (match, bool) { return e.ctState(w[0]), true }},
	"--state":     {1, func(e *evaluation, w []string) (match, bool) { return e.ctState(w[0]), true }},
	"--icmp-type": {1, func(e *evaluation, w []string) (match, bool) {
		return icmpType(w[0], e.p), e.p.Proto == 1 && !e.p.Fragment
	}},
	"--src-range": {1, func(e *evaluation, w []string) (match, bool) { return e.unless("saddr", inRange(w[0], e.p.Src)), true }},
	"--dst-range": {1, func(e *evaluation, w []string) (match, bool) { return e.unlessNATed(inRange(w[0], e.p.Dst)), true }},
	"--src-type": {1, func(e *evaluation, w []string) (match, bool) {
		return e.unless("saddr", e.addrType(w[0], e.p.Src)), true
	}},
	"--dst-type": {1, func(e *evaluation, w []string) (match, bool) { return e.unlessNATed(e.addrType(w[0], e.p.Dst)), true }},
	"--ttl-eq": {1, func(e *evaluation, w []string) (match, bool) {
		return e.unless("ttl", number(w[0], func(n uint64) match { return e.p.ttl().span(n, n) })), true
	}},
	"--ttl-lt": {1, func(e *evaluation, w []string) (match, bool) {
		return e.unless("ttl", number(w[0], func(n uint64) match { return e.p.ttl().span(n, math.MaxUint64).not() })), true
	}},
	"--ttl-gt": {1, func(e *evaluation, w []string) (match, bool) {
		return e.unless("ttl", number(w[0], func(n uint64) match { return e.p.ttl().span(0, n).not() })), true
	}},
	"--length": {1, func(e *evaluation, w []string) (match, bool) {
		if !e.p.hasLength() || e.hasChanged("length") {
			return may, true
		}
		return span(w[0], e.p.length()), true
	}},
	"--mark": {1, func(e *evaluation, w []string) (match, bool) { return e.marks(w[0]), true }},
}

// understood are the extensions all of whose options are above, or that do nothing.
var understood = []string{
	"tcp", "udp", "icmp", "multiport", "comment", "conntrack", "state", "iprange", "addrtype", "ttl", "length", "mark", "standard",
}

// harmless are options that say nothing of the packet; the number is how many words follow.
var harmless = map[string]int{
	"--comment": 1, "--reject-with": 1, "--log-prefix": 1, "--log-level": 1, "--set-xmark": 1, "--set-mark": 1,
	"--to-destination": 1, "--to-source": 1, "--to-ports": 1, "--set-mss": 1, "--clamp-mss-to-pmtu": 0, "--notrack": 0, "-c": 2,
	"--log-ip-options": 0, "--log-tcp-options": 0, "--log-tcp-sequence": 0, "--log-uid": 0, "--nflog-group": 1, "--nflog-prefix": 1,
	"--queue-num": 1, "--queue-bypass": 0,
}

// arguments compares a rule's arguments with the packet. What is not understood may match: the options of an extension
// that is not, too, whose names others have for something else (--mark of connmark).
func (e *evaluation) arguments(args []string) (m match, target string, isGoto bool) {
	m = yes
	negated, foreign := false, false
	more := func(i int) bool {
		return i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") && args[i+1] != "!"
	}
	for i := 0; i < len(args); i++ {
		words := func(n int) []string {
			from := min(i+1, len(args))
			i = min(i+n, len(args))
			w := slices.Clone(args[from:min(i+1, len(args))])
			for len(w) < n {
				w = append(w, "")
			}
			return w
		}
		switch option := args[i]; option {
		case "!":
			negated = true
			continue
		case "-j":
			target = words(1)[0]
		case "-g":
			target, isGoto = words(1)[0], true
		case "-m":
			name := words(1)[0]
			if foreign = !slices.Contains(understood, name); foreign {
				m = m.and(may)
				e.doubts(m, "-m "+name)
			}
		default:
			if foreign && target == "" && strings.HasPrefix(option, "--") {
				for more(i) {
					words(1)
				}
				break
			}
			m = m.and(e.option(option, negated, target, words, func() bool { return more(i) }))
			e.doubts(m, option)
		}
		negated = false
	}
	return m, target, isGoto
}

// option is what one of them says. Behind the target they are the target's.
func (e *evaluation) option(name string, negated bool, target string, words func(int) []string, more func() bool) match {
	if n, known := harmless[name]; known {
		words(n)
		return yes
	}
	o, known := options[name]
	if !known || target != "" {
		for more() {
			words(1)
		}
		if target != "" {
			return yes
		}
		return may
	}
	m, there := o.says(e, words(o.words))
	switch {
	case !there:
		return no
	case negated:
		return m.not()
	}
	return m
}

// unless is a comparison of a field that a rule may have changed.
func (e *evaluation) unless(field string, m match) match {
	if e.hasChanged(field) {
		return may
	}
	return m
}

// unlessNATed is a comparison of the destination: a rule before may have changed that.
func (e *evaluation) unlessNATed(m match) match {
	if e.natted || e.hasChanged("daddr") {
		return may
	}
	return m
}

func sourcePorts(e *evaluation, w []string) (match, bool) {
	return e.unless("sport", ports(w[0], e.p.sport())), e.p.HasPorts
}

func destinationPorts(e *evaluation, w []string) (match, bool) {
	return e.unlessNATed(ports(w[0], e.p.dport())), e.p.HasPorts
}

// device compares with a device, which must be there without a name if it is not known.
func device(pattern, dev string, must bool) match {
	if must && dev == "" {
		return may
	}
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
	return number(name, func(n uint64) match { return is(n == uint64(proto)) })
}

// ports compares with "80", "80:90", "80,443,1000:2000".
func ports(list string, port possible) match {
	m := no
	for _, part := range strings.Split(list, ",") {
		m = m.or(span(part, port))
	}
	return m
}

// span compares with "n" or "from:to", either end of which may be missing.
func span(text string, of possible) match {
	first, last, isRange := strings.Cut(text, ":")
	if !isRange {
		return number(text, func(n uint64) match { return of.span(n, n) })
	}
	return number(cmp.Or(first, "0"), func(from uint64) match {
		return number(cmp.Or(last, "65535"), func(to uint64) match { return of.span(from, to) })
	})
}

func number(text string, compare func(uint64) match) match {
	v, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return may
	}
	return compare(v)
}

// marks compares with "value" or "value/mask".
func (e *evaluation) marks(text string) match {
	value, mask, masked := strings.Cut(text, "/")
	v, err := strconv.ParseUint(value, 0, 32)
	bits := uint64(1<<32 - 1)
	if masked && err == nil {
		bits, err = strconv.ParseUint(mask, 0, 32)
	}
	if err != nil || !e.marked {
		return may
	}
	return is(uint64(e.mark)&bits == v)
}

// flagBits are the TCP flags by name, in the header's bits.
var flagBits = map[string]uint8{"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128, "ALL": 63, "NONE": 0}

func tcpFlags(mask, want string, p Packet) (m match, there bool) {
	bits := func(list string) (b uint8) {
		for _, name := range strings.Split(list, ",") {
			b |= flagBits[strings.ToUpper(name)]
		}
		return b
	}
	return is(p.Flags&bits(mask) == bits(want)), p.Proto == 6 && p.HasPorts
}

// ctState compares with "NEW,ESTABLISHED"; DNAT and SNAT are among the words, too, and not known.
func (e *evaluation) ctState(list string) match {
	e.asked = true
	m := no
	for _, name := range strings.Split(strings.ToLower(list), ",") {
		bit, known := ctNames[name]
		switch {
		case name == "dnat":
			m = m.or(e.redirected())
		case !known:
			m = m.or(may)
		case e.ct.single():
			m = m.or(is(uint64(e.ct) == bit))
		case uint64(e.ct)&bit != 0:
			m = m.or(may)
		}
	}
	return m
}

// icmpType compares with "8", "3/1" or "any".
func icmpType(text string, p Packet) match {
	if text == "any" || text == "255" {
		return yes
	}
	kind, code, both := strings.Cut(text, "/")
	m := number(kind, func(n uint64) match { return is(n == uint64(p.ICMPType)) })
	if both {
		m = m.and(number(code, func(n uint64) match { return is(n == uint64(p.ICMPCode)) }))
	}
	return m
}
