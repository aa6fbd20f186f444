package read

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// Of linux/rtnetlink.h: the length of struct tcmsg and the numbers of attributes.
const (
	tcmsgSize = 20

	tcaKind, tcaOptions = 1, 2
)

// fifoLimits adds the limits of pfifo and bfifo, which netlink.QdiscList leaves out.
func (r *reader) fifoLimits() error {
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	errs := []error{err}
	for _, m := range msgs {
		errs = append(errs, fifoLimit(m, r.s.Qdiscs))
	}
	return errors.Join(errs...)
}

// fifoLimit takes the limit of a queue of packets or bytes (struct tc_fifo_qopt) over from a message.
func fifoLimit(m []byte, to []host.Qdisc) error {
	if len(m) < tcmsgSize {
		return errors.New("a queueing discipline's message is too short")
	}
	attrs, err := nl.ParseRouteAttr(m[tcmsgSize:])
	if err != nil {
		return err
	}
	kind, limit := "", uint32(0)
	for _, a := range attrs {
		switch a.Attr.Type & nlaTypeMask {
		case tcaKind:
			kind = unix.ByteSliceToString(a.Value)
		case tcaOptions:
			if len(a.Value) >= 4 {
				limit = binary.NativeEndian.Uint32(a.Value)
			}
		}
	}
	if kind != "pfifo" && kind != "bfifo" {
		return nil
	}
	index, handleOf := binary.NativeEndian.Uint32(m[4:]), binary.NativeEndian.Uint32(m[8:])
	parent := binary.NativeEndian.Uint32(m[12:])
	for i := range to {
		if q := &to[i]; q.Link == index && q.Handle == handle(handleOf) && q.Parent == parentOf(parent) {
			q.Limit = limit
		}
	}
	return nil
}
