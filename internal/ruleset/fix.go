package ruleset

import "ipiptrace/internal/command"

// Fix is the command that takes back what the rule does to this packet, and to as little else as it can.
func Fix(r Rule, p Packet) command.Fix {
	if r.Backend != "nft" {
		return iptablesFix(r, p)
	}
	family := command.OneOf("the family of the table", r.Family, "ip", "inet", "netdev")
	table, chain := command.Identifier("table", r.Table), command.Identifier("chain", r.Chain)
	switch {
	case r.Policy != "":
		return command.Of("nft insert rule % % % % accept", family, table, chain, nftMatchOf(p))
	case r.Element != "":
		return command.Of("nft delete element % % % '{ % }'", family, table, command.Identifier("set", r.Set), command.Element(r.Element))
	}
	return command.Of("nft delete rule % % % handle %", family, table, chain, command.Number(r.Handle))
}

func iptablesFix(r Rule, p Packet) command.Fix {
	program := command.OneOf("the program of the rule", r.Backend, "iptables-nft", "iptables-legacy")
	table := command.OneOf("the table", r.Table, "filter", "nat", "mangle", "raw", "security")
	if r.Policy != "" {
		return command.Of("% -t % -I % % -j ACCEPT", program, table, command.IPTablesChain(r.Chain), iptablesMatch(p))
	}
	return command.Of("% -t % -D % %", program, table, command.IPTablesChain(r.Chain), command.IPTablesRule(r.Args))
}

// iptablesMatch describes the packet's service: of a tunnelled one the director's address.
func iptablesMatch(p Packet) command.Part {
	switch {
	case p.Proto == 4:
		return command.Say("-s").And(command.Address(p.Src), command.Say("-p 4"))
	case !p.HasPorts:
		return command.Say("-d").And(command.Address(p.Dst), command.Say("-p"), command.Number(p.Proto))
	case p.Hook == "output" || p.Hook == "postrouting":
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
	case p.Hook == "output" || p.Hook == "postrouting":
		return command.Say("ip saddr").And(command.Address(p.Src), protocol[p.Proto], command.Say("sport"), command.Number(p.Sport))
	}
	return command.Say("ip daddr").And(command.Address(p.Dst), protocol[p.Proto], command.Say("dport"), command.Number(p.Dport))
}

// protocol are the names of those that have ports.
var protocol = map[uint8]command.Part{6: command.Say("tcp"), 17: command.Say("udp")}
