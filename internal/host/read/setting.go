package read

import (
	"encoding/binary"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Of linux/if_link.h: attributes, and what need not be told.
const (
	iflaInetConf       = 1
	rtextFilterNoStats = 1 << 3
)

// deviceSettings has what /proc/sys/net/ipv4/conf/DEV/* show of all devices, by one list of them (inet_fill_link_af). A device
// that has none of IPv4 is not in it.
func deviceSettings() (map[string][]int32, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextFilterNoStats)))
	all := map[string][]int32{}
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, func(m []byte) bool {
		if name, values := settingsOf(m); len(values) > 0 {
			all[name] = values
		}
		return true
	})
	return all, err
}

// settingsOf reads a device's name and settings in a message of rtnetlink.
func settingsOf(m []byte) (name string, values []int32) {
	if len(m) < unix.SizeofIfInfomsg {
		return "", nil
	}
	for _, a := range attributesIn(m[unix.SizeofIfInfomsg:]) {
		switch a.Attr.Type & nlaTypeMask {
		case unix.IFLA_IFNAME:
			name = unix.ByteSliceToString(a.Value)
		case unix.IFLA_AF_SPEC:
			values = inetConf(a.Value)
		}
	}
	return name, values
}

// inetConf are the settings of IPv4 in IFLA_AF_SPEC.
func inetConf(b []byte) (values []int32) {
	for _, family := range attributesIn(b) {
		if family.Attr.Type&nlaTypeMask != unix.AF_INET {
			continue
		}
		for _, a := range attributesIn(family.Value) {
			if a.Attr.Type&nlaTypeMask != iflaInetConf {
				continue
			}
			for v := a.Value; len(v) >= 4; v = v[4:] {
				values = append(values, int32(binary.NativeEndian.Uint32(v)))
			}
		}
	}
	return values
}

// attributesIn are those of a message, as far as they can be read.
func attributesIn(b []byte) []syscall.NetlinkRouteAttr {
	all, _ := nl.ParseRouteAttr(b)
	return all
}
