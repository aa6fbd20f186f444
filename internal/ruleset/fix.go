package ruleset

import "fmt"

// Fix is the command that takes back what the rule does to this packet, and to as little else as it can.
func Fix(r Rule, p Packet) []string {
	nftName := func(s string) string { return Quote([]string{s}) }
	switch {
	case r.Backend != "nft" && r.Policy != "":
		return []string{Quote(append([]string{r.Backend, "-t", r.Table, "-I", r.Chain}, append(iptablesMatch(p), "-j", "ACCEPT")...))}
	case r.Backend != "nft":
		return []string{Quote(append([]string{r.Backend, "-t", r.Table, "-D", r.Chain}, r.Args...))}
	case r.Policy != "":
		return []string{fmt.Sprintf("nft insert rule %s %s %s %s accept", r.Family, nftName(r.Table), nftName(r.Chain), nftMatchOf(p))}
	case r.Element != "":
		return []string{fmt.Sprintf("nft delete element %s %s %s %s", r.Family, nftName(r.Table), nftName(r.Set), Quote([]string{"{ " + r.Element + " }"}))}
	}
	return []string{fmt.Sprintf("nft delete rule %s %s %s handle %d", r.Family, nftName(r.Table), nftName(r.Chain), r.Handle)}
}

// iptablesMatch describes the packet's service: of a tunnelled one the director's address.
func iptablesMatch(p Packet) (args []string) {
	switch {
	case p.Proto == 4:
		return []string{"-s", p.Src.String(), "-p", "4"}
	case !p.HasPorts:
		return []string{"-d", p.Dst.String(), "-p", fmt.Sprint(p.Proto)}
	case p.Hook == "output" || p.Hook == "postrouting":
		return []string{"-s", p.Src.String(), "-p", protocolName(p.Proto), "--sport", fmt.Sprint(p.Sport)}
	}
	return []string{"-d", p.Dst.String(), "-p", protocolName(p.Proto), "--dport", fmt.Sprint(p.Dport)}
}

func nftMatchOf(p Packet) string {
	switch {
	case p.Proto == 4:
		return fmt.Sprintf("ip saddr %s ip protocol 4", p.Src)
	case !p.HasPorts:
		return fmt.Sprintf("ip daddr %s ip protocol %d", p.Dst, p.Proto)
	case p.Hook == "output" || p.Hook == "postrouting":
		return fmt.Sprintf("ip saddr %s %s sport %d", p.Src, protocolName(p.Proto), p.Sport)
	}
	return fmt.Sprintf("ip daddr %s %s dport %d", p.Dst, protocolName(p.Proto), p.Dport)
}

func protocolName(n uint8) string {
	return map[uint8]string{1: "icmp", 6: "tcp", 17: "udp"}[n]
}
