package read

import (
	"encoding/binary"
	"errors"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// maxExceptions bounds what is kept of the path MTUs that the kernel has learned: of a director they may be many.
const maxExceptions = 4096

// Of linux/rtnetlink.h: the length of struct rtmsg, and the number of the metric that is an MTU.
const (
	rtmsgSize = 12
	rtaxMTU   = 2
)

// exceptions reads what the kernel has learned of single destinations (fib_nh_exception), which `ip route show cache` shows.
// A kernel that checks requests strictly (4.20) leaves the routes out.
func (r *reader) exceptions() error {
	if !r.options.Exceptions {
		return nil
	}
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer sock.Close()
	err = errors.Join(
		unix.SetsockoptInt(sock.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1),
		sock.SetReceiveTimeout(&unix.Timeval{Sec: 1}),
	)
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: sock}}
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Flags: unix.RTM_F_CLONED}})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if x, ok := exceptionOf(m); ok && len(r.s.Exceptions) < maxExceptions {
			r.s.Exceptions = append(r.s.Exceptions, x)
		}
	}
	return nil
}

// exceptionOf reads struct rtmsg and its attributes; ok is false for what has no MTU of its own.
func exceptionOf(m []byte) (x host.Exception, ok bool) {
	if len(m) < rtmsgSize || binary.NativeEndian.Uint32(m[8:])&unix.RTM_F_CLONED == 0 {
		return x, false
	}
	attrs, err := nl.ParseRouteAttr(m[rtmsgSize:])
	if err != nil {
		return x, false
	}
	for _, a := range attrs {
		switch a.Attr.Type & nlaTypeMask {
		case unix.RTA_DST:
			x.Dst = addr(net.IP(a.Value))
		case unix.RTA_GATEWAY:
			x.Gateway = addr(net.IP(a.Value))
		case unix.RTA_OIF:
			x.Link = word32(a.Value)
		case unix.RTA_METRICS:
			x.MTU = metric(a.Value, rtaxMTU)
		}
	}
	return x, x.Dst.IsValid() && x.MTU > 0
}

func metric(nested []byte, number uint16) uint32 {
	attrs, err := nl.ParseRouteAttr(nested)
	if err != nil {
		return 0
	}
	for _, a := range attrs {
		if a.Attr.Type&nlaTypeMask == number {
			return word32(a.Value)
		}
	}
	return 0
}
