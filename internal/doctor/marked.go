package doctor

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/host"
)

// target is what a rule compares that gives packets a mark: a service of IPVS may be all that has one. Fields are zero where
// the rule does not ask.
type target struct {
	addr  netip.Addr
	proto uint8
	port  uint16
}

// markers are what rules give a mark that a service of IPVS is for, as far as they name one address each.
func markers(s *host.Snapshot) (all []target) {
	if s.IPVS == nil {
		return nil
	}
	add := func(t target, mark uint32) {
		is := func(v host.Service) bool { return v.Mark == mark }
		if t.addr.Is4() && mark != 0 && slices.ContainsFunc(s.IPVS.Services, is) && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	for _, t := range s.IPTables {
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				add(ofIPTables(rule.Args))
			}
		}
	}
	for _, t := range s.Nft {
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				add(ofNft(rule.Exprs))
			}
		}
	}
	return all
}

// ofIPTables is the target of a rule as iptables-save writes it; the mark is 0 if it gives none.
func ofIPTables(args []string) (t target, mark uint32) {
	protos := map[string]uint8{"tcp": protoTCP, "udp": protoUDP, "6": protoTCP, "17": protoUDP}
	for i := 0; i+1 < len(args); i++ {
		switch word := args[i+1]; args[i] {
		case "!":
			return target{}, 0
		case "-d":
			if p, err := netip.ParsePrefix(word); err == nil && p.IsSingleIP() {
				t.addr = p.Addr()
			}
		case "-p":
			t.proto = protos[word]
		case "--dport":
			n, _ := strconv.ParseUint(word, 10, 16)
			t.port = uint16(n)
		case "--set-mark", "--set-xmark":
			value, _, _ := strings.Cut(word, "/")
			n, _ := strconv.ParseUint(value, 0, 32)
			mark = uint32(n)
		}
	}
	return t, mark
}

// ofNft is the target of a rule as libnftables-json(5) has it.
func ofNft(exprs []json.RawMessage) (t target, mark uint32) {
	if !slices.ContainsFunc(exprs, func(e json.RawMessage) bool { return bytes.Contains(e, []byte(`"mangle"`)) }) {
		return t, 0 // of fifty thousand rules hardly any
	}
	for _, raw := range exprs {
		var e struct {
			Match *struct {
				Op   string
				Left struct {
					Payload struct{ Protocol, Field string }
				}
				Right json.RawMessage
			}
			Mangle *struct {
				Key struct {
					Meta struct{ Key string }
				}
				Value json.RawMessage
			}
		}
		if json.Unmarshal(raw, &e) != nil {
			continue
		}
		switch {
		case e.Mangle != nil && e.Mangle.Key.Meta.Key == "mark":
			_ = json.Unmarshal(e.Mangle.Value, &mark)
		case e.Match != nil && e.Match.Op == "==":
			t.take(e.Match.Left.Payload.Protocol, e.Match.Left.Payload.Field, e.Match.Right)
		}
	}
	return t, mark
}

func (t *target) take(protocol, field string, right json.RawMessage) {
	switch protos := map[string]uint8{"tcp": protoTCP, "udp": protoUDP, "th": 0}; {
	case protocol == "ip" && field == "daddr":
		var text string
		if json.Unmarshal(right, &text) == nil {
			t.addr, _ = netip.ParseAddr(text)
		}
	case field == "dport":
		proto, known := protos[protocol]
		if !known {
			return
		}
		t.proto = proto
		_ = json.Unmarshal(right, &t.port)
	}
}
