package read

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"

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
	return errors.Join(err, r.nexthops())
}

func hop(link int, gw net.IP, flags int) host.Hop {
	return host.Hop{
		Link: uint32(link), Gateway: addr(gw),
		Dead: flags&unix.RTNH_F_DEAD != 0, LinkDown: flags&unix.RTNH_F_LINKDOWN != 0, Onlink: flags&unix.RTNH_F_ONLINK != 0,
	}
}

// ruleActions are FR_ACT_* (linux/fib_rules.h).
var ruleActions = map[uint8]string{1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}

// Of linux/fib_rules.h: the header's size, a flag, and the numbers of attributes.
const (
	ruleHeaderSize = 12
	ruleInvert     = 2

	ruleDst, ruleSrc, ruleIIF, ruleGoto, rulePriority, ruleMark      = 1, 2, 3, 4, 6, 10
	ruleRealm, ruleTunID, ruleSuppressGroup, ruleSuppress, ruleTable = 11, 12, 13, 14, 15
	ruleMask, ruleOIF, rulePad, ruleL3mdev, ruleUIDs, ruleProtocol   = 16, 17, 18, 19, 20, 21
	ruleIPProto, ruleSport, ruleDport, ruleDSCP, ruleSportMask       = 22, 23, 24, 25, 28
	ruleDportMask, ruleDSCPMask                                      = 29, 30
)

// rules asks for them as they are: netlink.RuleList leaves out selectors that it does not know.
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

// ruleOf reads struct fib_rule_hdr and its attributes. What it does not know it says in the rule.
func ruleOf(m []byte) (to host.Rule, err error) {
	if len(m) < ruleHeaderSize {
		return to, fmt.Errorf("a rule of %d bytes", len(m))
	}
	to = host.Rule{
		TOS: m[3], Table: uint32(m[4]), Action: ruleActions[m[7]], Suppress: -1,
		Invert: binary.NativeEndian.Uint32(m[8:])&ruleInvert != 0,
	}
	var unread []string
	if to.Action == "" {
		unread = append(unread, fmt.Sprintf("action %d", m[7]))
	}
	attrs, err := nl.ParseRouteAttr(m[ruleHeaderSize:])
	if err != nil {
		return to, err
	}
	for _, a := range attrs {
		v := ruleAttr{value: a.Value, srcBits: int(m[2]), dstBits: int(m[1])}
		if word := v.put(&to, a.Attr.Type&nlaTypeMask); word != "" {
			unread = append(unread, word)
		}
	}
	to.Unread = strings.Join(unread, ", ")
	return to, nil
}

// ruleAttr is an attribute of a rule, with the lengths of prefixes that the rule's header has.
type ruleAttr struct {
	value            []byte
	srcBits, dstBits int
}

// put takes an attribute over into a rule, and returns in words what it has no place for.
func (a ruleAttr) put(to *host.Rule, kind uint16) (unread string) {
	v := a.value
	switch kind {
	case ruleDst:
		to.To = prefix(&net.IPNet{IP: v, Mask: net.CIDRMask(a.dstBits, 32)})
	case ruleSrc:
		to.From = prefix(&net.IPNet{IP: v, Mask: net.CIDRMask(a.srcBits, 32)})
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
		if to.Mask = word32(v); to.Mask == 0 {
			to.Mark = 0 // nothing of it is compared
		}
	case ruleSuppress:
		to.Suppress = int(int32(word32(v)))
	case ruleTable:
		to.Table = word32(v)
	case ruleL3mdev:
		to.L3mdev = len(v) > 0 && v[0] != 0
	default:
		return a.putNewer(to, kind)
	}
	return ""
}

// putNewer is put for the selectors that few rules have.
func (a ruleAttr) putNewer(to *host.Rule, kind uint16) (unread string) {
	v := a.value
	switch {
	case kind == ruleRealm, kind == rulePad, kind == ruleProtocol: // say nothing of the packet
	case kind == ruleSuppressGroup:
		return fmt.Sprintf("suppress_ifgroup %d", word32(v))
	case kind == ruleTunID && len(v) == 8:
		to.TunID = binary.BigEndian.Uint64(v)
	case kind == ruleUIDs && len(v) == 8 && word32(v[4:]) != math.MaxUint32:
		to.UIDFirst, to.UIDEnd = word32(v), word32(v[4:])+1
	case kind == ruleIPProto && len(v) == 1:
		to.IPProto = v[0]
	case kind == ruleSport && len(v) == 4:
		to.Sport = [2]uint16{word16(v), word16(v[2:])}
	case kind == ruleDport && len(v) == 4:
		to.Dport = [2]uint16{word16(v), word16(v[2:])}
	case kind == ruleSportMask && len(v) == 2:
		to.SportMask = word16(v)
	case kind == ruleDportMask && len(v) == 2:
		to.DportMask = word16(v)
	case kind == ruleDSCP && len(v) == 1:
		to.DSCP = v[0]
		if to.DSCPMask == 0 {
			to.DSCPMask = allDSCP
		}
	case kind == ruleDSCPMask && len(v) == 1:
		to.DSCPMask = v[0]
	default:
		return fmt.Sprintf("attribute %d", kind)
	}
	return ""
}

// allDSCP are the bits of a DSCP.
const allDSCP = 0x3f
