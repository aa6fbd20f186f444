package ruleset

import (
	"bytes"
	"encoding/json"
	"slices"

	"ipiptrace/internal/command"
)

// Fix is the command that undoes what the rule does to this packet, and changes as little else as it can: a rule that drops
// whatever comes to it keeps what is behind it closed, and stays.
func Fix(r Rule, p Packet) command.Fix {
	if r.Owned {
		return command.None("the table belongs to a process, and only that may change it (flags owner)")
	}
	if r.Broad {
		return Spare(r, p)
	}
	if r.Backend != "nft" {
		return iptablesFix(r, p)
	}
	family := command.OneOf("the family of the table", r.Family, "ip", "inet", "netdev", "bridge", "arp")
	table, chain := command.Identifier("table", r.Table), command.Identifier("chain", r.Chain)
	switch {
	case r.Policy != "":
		return command.Of("nft insert rule % % % % accept", family, table, chain, nftMatchOf(p))
	case r.Element != "":
		return command.Of("nft delete element % % % '{ % }'", family, table, command.Identifier("set", r.Set), command.Element(r.Element))
	}
	return command.Of("nft delete rule % % % handle %", family, table, chain, command.Number(r.Handle))
}

// broad reports whether expressions of a rule drop every packet.
func broad(exprs []json.RawMessage) bool {
	is := func(e json.RawMessage, keys ...string) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return bytes.HasPrefix(e, []byte(`{"`+key+`"`)) })
	}
	ends := false
	for _, e := range exprs {
		switch {
		case is(e, "drop", "reject"):
			ends = true
		case !is(e, "counter", "log"):
			return false
		}
	}
	return ends
}

// broadArgs is broad of a rule of iptables.
func broadArgs(args []string) bool {
	for len(args) >= 4 && args[0] == "-m" && args[1] == "comment" && args[2] == "--comment" {
		args = args[4:]
	}
	return len(args) >= 2 && args[0] == "-j" && (args[1] == "DROP" || args[1] == "REJECT")
}

// readBack are the matches and targets that iptables reads back as it has saved them. A rule that has no others is deleted by
// its text, wherever it has moved since. TestNativeDeletions compares them with this machine's iptables.
//
// Of others iptables does not find the rule again ("Bad rule": recent, connlimit), or saves a name with a space as two words
// (recent, hashlimit, helper, set, cgroup).
var readBack = []string{
	"tcp", "udp", "icmp", "sctp", "dccp", "ah", "esp", "ipcomp", "multiport", "iprange", "length", "ttl", "tos", "dscp", "ecn", "tcpmss",
	"comment", "conntrack", "state", "connmark", "connbytes", "mark", "addrtype", "pkttype", "mac", "physdev", "policy", "devgroup", "realm",
	"limit", "statistic", "time", "u32",
	"DROP", "ACCEPT", "RETURN", "REJECT", "NFQUEUE", "DNAT", "REDIRECT",
}

// textual reports whether iptables finds a rule again by its text.
func textual(args []string) bool {
	for i := range args[:max(len(args)-1, 0)] {
		if (args[i] == "-m" || args[i] == "-j") && !slices.Contains(readBack, args[i+1]) {
			return false
		}
	}
	return true
}

// ByHandle reports whether a rule of iptables is deleted by the handle that nft shows of it.
func (r Rule) ByHandle() bool {
	return r.Backend == "iptables-nft" && r.Policy == "" && r.InKernel != 0 && !textual(r.Args)
}

// iptablesFix deletes a rule, or lets the packet's service pass before the chain's policy is asked.
//
// A rule that iptables would not find by its text is deleted by its handle with nft: no other rule ever gets that handle.
// iptables-legacy has only numbers, which change: there the command compares the line before it deletes.
func iptablesFix(r Rule, p Packet) command.Fix {
	program := command.OneOf("the program of the rule", r.Backend, "iptables-nft", "iptables-legacy")
	table := command.OneOf("the table", r.Table, "filter", "nat", "mangle", "raw", "security")
	chain := command.IPTablesChain(r.Chain)
	if r.Policy != "" {
		return command.Of("% -t % -I % % -j ACCEPT", program, table, chain, iptablesMatch(p))
	}
	if textual(r.Args) {
		return command.Of("% -t % -D % %", program, table, chain, command.IPTablesRule(r.Args))
	}
	if r.ByHandle() {
		byHandle := command.Of("nft delete rule ip % % handle %", table, command.Identifier("chain", r.Chain), command.Number(r.InKernel))
		if byHandle.Refused() == "" {
			return byHandle
		}
	}
	number := command.Number(r.Number)
	return command.Guarded("the rule", command.Of("% -t % -S % %", program, table, chain, number), r.Line, command.Of("% -t % -D % %", program, table, chain, number))
}

// iptablesMatch describes the packet's service: of a tunnelled one the director's address.
func iptablesMatch(p Packet) command.Part {
	switch {
	case p.Proto == 4:
		return command.Say("-s").And(command.Address(p.Src), command.Say("-p 4"))
	case !p.HasPorts:
		return command.Say("-d").And(command.Address(p.Dst), command.Say("-p"), command.Number(p.Proto))
	case p.fromService():
		return command.Say("-s").And(command.Address(p.Src), command.Say("-p"), protocol[p.Proto], command.Say("--sport"), command.Number(p.Sport))
	}
	return command.Say("-d").And(command.Address(p.Dst), command.Say("-p"), protocol[p.Proto], command.Say("--dport"), command.Number(p.Dport))
}

func nftMatchOf(p Packet) command.Part {
	switch {
	case p.Proto == 4:
		return command.Say("ip saddr").And(command.Address(p.Src), command.Say("ip protocol 4"))
	case !p.HasPorts:
		return command.Say("ip daddr").And(command.Address(p.Dst), command.Say("ip protocol"), command.Number(p.Proto))
	case p.fromService():
		return command.Say("ip saddr").And(command.Address(p.Src), protocol[p.Proto], command.Say("sport"), command.Number(p.Sport))
	}
	return command.Say("ip daddr").And(command.Address(p.Dst), protocol[p.Proto], command.Say("dport"), command.Number(p.Dport))
}

// protocol names the protocols that have ports.
var protocol = map[uint8]command.Part{6: command.Say("tcp"), 17: command.Say("udp")}
