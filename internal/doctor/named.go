package doctor

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"

	"ipiptrace/internal/host"
)

// letIn are addresses that rules which do not drop name as a source, an address of each network: who is let in by name may be the
// director, or the clients, where neither is known.
func letIn(s *host.Snapshot) (all []netip.Addr) {
	add := func(p netip.Prefix, ok bool) {
		if a := within(p); ok && p.Addr().Is4() && p.Bits() > 0 && len(all) < maxSamples && !slices.Contains(all, a) && !s.Owns(a) {
			all = append(all, a)
		}
	}
	for _, t := range s.IPTables {
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				add(sourceOfIPTables(rule.Args))
			}
		}
	}
	for _, t := range s.Nft {
		sets := map[string]json.RawMessage{}
		for _, set := range t.Sets {
			sets[set.Name] = set.Elem
		}
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				if len(all) == maxSamples {
					return all
				}
				if drops := func(e json.RawMessage) bool {
					return bytes.Contains(e, []byte(`"drop"`)) || bytes.Contains(e, []byte(`"reject"`))
				}; t.IPTables || slices.ContainsFunc(rule.Exprs, drops) {
					continue
				}
				for _, e := range rule.Exprs {
					add(sourceOfNft(e, sets))
				}
			}
		}
	}
	return all
}

// sourceOfIPTables is the source that a rule asks for, as iptables-save writes it.
func sourceOfIPTables(args []string) (source netip.Prefix, ok bool) {
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "!":
			return source, false
		case "-s":
			source, _ = netip.ParsePrefix(args[i+1])
		case "-j":
			ok = args[i+1] != "DROP" && args[i+1] != "REJECT"
		}
	}
	return source, ok && source.IsValid()
}

// sourceOfNft is the source for which an expression asks, as libnftables-json(5) has it; of several, and of a set, the first.
func sourceOfNft(e json.RawMessage, sets map[string]json.RawMessage) (source netip.Prefix, ok bool) {
	if !bytes.Contains(e, []byte(`"saddr"`)) {
		return source, false
	}
	var of struct {
		Match struct {
			Op   string
			Left struct {
				Payload struct{ Protocol, Field string }
			}
			Right json.RawMessage
		}
	}
	if json.Unmarshal(e, &of) != nil || of.Match.Left.Payload.Field != "saddr" || of.Match.Left.Payload.Protocol != "ip" || of.Match.Op == "!=" {
		return source, false
	}
	right := of.Match.Right
	var name string
	if json.Unmarshal(right, &name) == nil && len(name) > 1 && name[0] == '@' {
		right = sets[name[1:]]
	}
	return firstOf(right)
}

// firstOf is an address, a network, the beginning of a range, or the first of several.
func firstOf(value json.RawMessage) (netip.Prefix, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		a, err := netip.ParseAddr(text)
		return netip.PrefixFrom(a, a.BitLen()), err == nil
	}
	var several []json.RawMessage
	if json.Unmarshal(value, &several) == nil {
		if len(several) == 0 {
			return netip.Prefix{}, false
		}
		return firstOf(several[0])
	}
	var of struct {
		Prefix *struct {
			Addr string
			Len  int
		}
		Range, Set []json.RawMessage
		Elem       *struct{ Val json.RawMessage }
	}
	if json.Unmarshal(value, &of) != nil {
		return netip.Prefix{}, false
	}
	switch {
	case of.Prefix != nil:
		a, err := netip.ParseAddr(of.Prefix.Addr)
		if err != nil {
			return netip.Prefix{}, false
		}
		p, err := a.Prefix(of.Prefix.Len)
		return p, err == nil
	case len(of.Range) > 0:
		return firstOf(of.Range[0])
	case len(of.Set) > 0:
		return firstOf(of.Set[0])
	case of.Elem != nil:
		return firstOf(of.Elem.Val)
	}
	return netip.Prefix{}, false
}
