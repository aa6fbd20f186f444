package read

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// routeTypes are RTN_* (rtnetlink(7)).
var routeTypes = map[int]string{
	1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast",
	6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw", 10: "nat",
}

func (r *reader) routes() error {
	all, err := r.rt.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	for _, from := range all {
		to := host.Route{
			Table: uint32(from.Table), Dst: prefix(from.Dst), Type: routeTypes[from.Type], Protocol: uint8(from.Protocol),
			Scope: scopes[int(from.Scope)], TOS: uint8(from.Tos), Priority: uint32(from.Priority), Source: addr(from.Src),
			MTU: uint32(from.MTU), AdvMSS: uint32(from.AdvMSS),
		}
		if !to.Dst.IsValid() {
			to.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		for _, h := range from.MultiPath {
			to.Hops = append(to.Hops, hop(h.LinkIndex, h.Gw, h.Flags))
			to.Hops[len(to.Hops)-1].Weight = uint32(h.Hops) + 1
		}
		if from.LinkIndex != 0 {
			to.Hops = append(to.Hops, hop(from.LinkIndex, from.Gw, from.Flags))
		}
		r.s.Routes = append(r.s.Routes, to)
	}
	return err
}

func hop(link int, gw net.IP, flags int) host.Hop {
	return host.Hop{
		Link: uint32(link), Gateway: addr(gw),
		Dead: flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0, Onlink: flags&unix.RTNH_F_ONLINK != 0,
	}
}

// ruleActions are FR_ACT_* (linux/fib_rules.h).
var ruleActions = map[uint8]string{1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}

// Of linux/fib_rules.h: the header's size, a flag, and the numbers of attributes.
const (
	ruleHeaderSize = 12
	ruleInvert     = 2

	ruleDst, ruleSrc, ruleIIF, ruleGoto, rulePriority, ruleMark = 1, 2, 3, 4, 6, 10
	ruleSuppress, ruleTable, ruleMask, ruleOIF, ruleL3mdev      = 14, 15, 16, 17, 19
	ruleIPProto, ruleSport, ruleDport                           = 22, 23, 24
)

func (r *reader) rules() error {
	req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_INET))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		to, err := ruleOf(m)
		if err != nil {
			return err
		}
		r.s.Rules = append(r.s.Rules, to)
	}
	return nil
}

// ruleOf reads struct fib_rule_hdr and its attributes.
func ruleOf(m []byte) (to host.Rule, err error) {
	if len(m) < ruleHeaderSize {
		return to, fmt.Errorf("a rule of %d bytes", len(m))
	}
	to = host.Rule{
		TOS: m[3], Table: uint32(m[4]), Action: ruleActions[m[7]], Suppress: -1,
		Invert: binary.NativeEndian.Uint32(m[8:])&ruleInvert != 0,
	}
	attrs, err := nl.ParseRouteAttr(m[ruleHeaderSize:])
	if err != nil {
		return to, err
	}
	for _, a := range attrs {
		switch v := a.Value; a.Attr.Type {
		case ruleDst:
			to.To = prefix(&net.IPNet{IP: v, Mask: net.CIDRMask(int(m[1]), 32)})
		case ruleSrc:
			to.From = prefix(&net.IPNet{IP: v, Mask: net.CIDRMask(int(m[2]), 32)})
		case ruleIIF:
			to.IIF = unix.ByteSliceToString(v)
		case ruleOIF:
			to.OIF = unix.ByteSliceToString(v)
		case ruleGoto:
			to.Goto = word32(v)
		case rulePriority:
			to.Priority = word32(v)
		case ruleMark:
			to.Mark = word32(v)
		case ruleMask:
			to.Mask = word32(v)
		case ruleSuppress:
			to.Suppress = int(int32(word32(v)))
		case ruleTable:
			to.Table = word32(v)
		case ruleL3mdev:
			to.L3mdev = len(v) > 0 && v[0] != 0
		case ruleIPProto:
			to.IPProto = v[0]
		case ruleSport:
			to.Sport = [2]uint16{word16(v), word16(v[2:])}
		case ruleDport:
			to.Dport = [2]uint16{word16(v), word16(v[2:])}
		}
	}
	if to.Mark == 0 {
		to.Mask = 0
	}
	if to.Action == "" {
		return to, fmt.Errorf("rule %d has the unknown action %d", to.Priority, m[7])
	}
	return to, nil
}
