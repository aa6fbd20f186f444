package read

import (
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// Of linux/rtnetlink.h: messages and attributes that netlink has no names for.
const (
	getNexthop, newNexthop = 106, 104

	routeDst, routePriority, routeTable, routeNexthop = 1, 6, 15, 30
	routeHeaderSize, nexthopHeaderSize                = 12, 8
)

// nexthops gives routes the numbers of their nexthop objects (`ip nexthop`), which netlink.RouteList leaves out. A machine
// without such objects is not asked for its routes again.
func (r *reader) nexthops() error {
	ask := nl.NewNetlinkRequest(getNexthop, unix.NLM_F_DUMP)
	ask.AddRawData(make([]byte, nexthopHeaderSize))
	objects, err := ask.Execute(unix.NETLINK_ROUTE, newNexthop)
	if err != nil || len(objects) == 0 {
		return nil // before Linux 5.3 there were none
	}
	dump := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	dump.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET}})
	msgs, err := dump.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if to, ok := nexthopOf(m); ok {
			giveNexthop(r.s.Routes, to)
		}
	}
	return nil
}

// giveNexthop gives the first route that is as one of the kernel's, and has no object yet, that one's.
func giveNexthop(all []host.Route, from host.Route) {
	for i := range all {
		to := &all[i]
		if to.Nexthop == 0 && to.Table == from.Table && to.Dst == from.Dst && to.TOS == from.TOS && to.Priority == from.Priority && to.Type == from.Type {
			to.Nexthop = from.Nexthop
			return
		}
	}
}

// nexthopOf reads what names a route, and the number of its nexthop object, from struct rtmsg and its attributes; ok is false
// if it has none.
func nexthopOf(m []byte) (to host.Route, ok bool) {
	if len(m) < routeHeaderSize || m[0] != unix.AF_INET {
		return to, false
	}
	attrs, err := nl.ParseRouteAttr(m[routeHeaderSize:])
	if err != nil {
		return to, false
	}
	to = host.Route{TOS: m[3], Table: uint32(m[4]), Type: routeTypes[int(m[7])]}
	dst := make([]byte, 4)
	for _, a := range attrs {
		switch v := a.Value; a.Attr.Type & nlaTypeMask {
		case routeDst:
			copy(dst, v)
		case routePriority:
			to.Priority = word32(v)
		case routeTable:
			to.Table = word32(v)
		case routeNexthop:
			to.Nexthop = word32(v)
		}
	}
	to.Dst = netip.PrefixFrom(netip.AddrFrom4([4]byte(dst)), int(m[1]))
	return to, to.Nexthop != 0
}
