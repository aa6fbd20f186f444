package ruleset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"ipiptrace/internal/host"
)

// Mend does to a state what [Fix] does to the machine. The state's tables are copied before they are changed: others
// read them.
func Mend(s *host.Snapshot, r Rule, p Packet) {
	if r.Broad {
		MendSpared(s, r, p)
		return
	}
	if r.Backend != "nft" {
		s.IPTables = mendIPTables(s.IPTables, r, p)
	}
	if s.NftOutline = slices.Clone(s.NftOutline); r.Backend == "nft" && r.Policy == "" && r.Element == "" {
		for i, c := range s.NftOutline {
			if c.Family == r.Family && c.Table == r.Table && c.Chain == r.Chain {
				s.NftOutline[i].Handles = slices.DeleteFunc(slices.Clone(c.Handles), func(h uint64) bool { return h == r.Handle })
			}
		}
	}
	if r.Backend != "iptables-legacy" { // what iptables-nft shows is in tables of nft
		s.Nft = mendNft(s.Nft, r, p)
	}
}

// MendSpared is Mend of what [Spare] does.
func MendSpared(s *host.Snapshot, r Rule, p Packet) {
	r.Policy, r.Broad = "accept", false
	Mend(s, r, p)
}

func mendNft(tables []host.NftTable, r Rule, p Packet) []host.NftTable {
	tables = slices.Clone(tables)
	for i := range tables {
		t := &tables[i]
		if t.Family != r.Family || t.Name != r.Table || t.IPTables == (r.Backend == "nft") {
			continue
		}
		if r.Element != "" && r.Policy == "" {
			t.Sets = withoutElement(t.Sets, r)
			continue
		}
		t.Chains = slices.Clone(t.Chains)
		for k := range t.Chains {
			if c := &t.Chains[k]; c.Name == r.Chain {
				c.Rules = r.mendedNft(c.Rules, p)
			}
		}
	}
	return tables
}

// mendedNft are the rules of the chain after the repair.
func (r Rule) mendedNft(rules []host.NftRule, p Packet) []host.NftRule {
	handle := r.Handle
	if r.Backend != "nft" {
		handle = r.InKernel
	}
	if r.Policy != "" {
		return append([]host.NftRule{{Text: "accept", Exprs: acceptance(p)}}, rules...)
	}
	return slices.DeleteFunc(slices.Clone(rules), func(x host.NftRule) bool { return x.Handle == handle })
}

// acceptance are the expressions of the rule that nftMatchOf and "accept" make.
func acceptance(p Packet) (exprs []json.RawMessage) {
	equals := func(protocol, field string, value any) {
		text, _ := json.Marshal(value)
		exprs = append(exprs, fmt.Appendf(nil, `{"match":{"op":"==","left":{"payload":{"protocol":%q,"field":%q}},"right":%s}}`, protocol, field, text))
	}
	field, port, number := "daddr", "dport", p.Dport
	address := p.Dst
	if p.Proto == 4 || p.HasPorts && p.fromService() {
		field, port, number, address = "saddr", "sport", p.Sport, p.Src
	}
	equals("ip", field, address)
	if p.Proto == 4 || !p.HasPorts {
		equals("ip", "protocol", p.Proto)
	} else {
		equals(portProtocols[p.Proto], port, number)
	}
	return append(exprs, json.RawMessage(`{"accept":null}`))
}

// portProtocols names the protocols that have ports.
var portProtocols = map[uint8]string{6: "tcp", 17: "udp"}

// withoutElement are the sets without the rule's element.
func withoutElement(sets []host.NftSet, r Rule) []host.NftSet {
	sets = slices.Clone(sets)
	for i := range sets {
		if sets[i].Name != r.Set {
			continue
		}
		left := []json.RawMessage{}
		eachOf(sets[i].Elem, func(one json.RawMessage) {
			if el := elementOf(one); written(el.raw) != r.Element {
				left = append(left, one)
			}
		})
		sets[i].Elem, _ = json.Marshal(left)
	}
	return sets
}

func mendIPTables(tables []host.IPTables, r Rule, p Packet) []host.IPTables {
	tables = slices.Clone(tables)
	for i := range tables {
		t := &tables[i]
		if t.Backend != r.Backend || t.Table != r.Table {
			continue
		}
		t.Chains = slices.Clone(t.Chains)
		for k := range t.Chains {
			c := &t.Chains[k]
			switch {
			case c.Name != r.Chain:
			case r.Policy != "":
				c.Rules = append([]host.IPTablesRule{{Args: acceptanceArgs(p)}}, c.Rules...)
			case r.Number >= 1 && r.Number <= len(c.Rules):
				c.Rules = slices.Delete(slices.Clone(c.Rules), r.Number-1, r.Number)
			}
		}
	}
	return tables
}

// acceptanceArgs are the arguments of the rule that iptablesMatch and "-j ACCEPT" make.
func acceptanceArgs(p Packet) []string {
	number := func(n uint16) string { return strconv.Itoa(int(n)) }
	var match []string
	switch {
	case p.Proto == 4:
		match = []string{"-s", p.Src.String(), "-p", "4"}
	case !p.HasPorts:
		match = []string{"-d", p.Dst.String(), "-p", number(uint16(p.Proto))}
	case p.fromService():
		match = []string{"-s", p.Src.String(), "-p", portProtocols[p.Proto], "--sport", number(p.Sport)}
	default:
		match = []string{"-d", p.Dst.String(), "-p", portProtocols[p.Proto], "--dport", number(p.Dport)}
	}
	return append(match, "-j", "ACCEPT")
}
