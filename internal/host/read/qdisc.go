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

// Of linux/pkt_sched.h: where fq, fq_codel and cake have their limits among their options, in packets or in bytes of memory.
var limitsOf = map[string]struct {
	attr  uint16
	least uint32
}{
	"fq":       {attr: 1, least: 1},           // TCA_FQ_PLIMIT
	"fq_codel": {attr: 9, least: leastOwned},  // TCA_FQ_CODEL_MEMORY_LIMIT
	"cake":     {attr: 10, least: leastOwned}, // TCA_CAKE_MEMORY, 0 for none
}

// leastOwned is less memory than a packet takes (skb->truesize), in bytes: what describes it alone takes about as much.
const leastOwned = 200

// limits adds the limits of queues that netlink.QdiscList leaves out.
func (r *reader) limits() error {
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	errs := []error{err}
	for _, m := range msgs {
		errs = append(errs, limitOf(m, r.s.Qdiscs))
	}
	return errors.Join(errs...)
}

// limitOf takes the limit of a queue over from a message.
func limitOf(m []byte, to []host.Qdisc) error {
	if len(m) < tcmsgSize {
		return errors.New("a queueing discipline's message is too short")
	}
	attrs, err := nl.ParseRouteAttr(m[tcmsgSize:])
	if err != nil {
		return err
	}
	kind, options := "", []byte(nil)
	for _, a := range attrs {
		switch a.Attr.Type & nlaTypeMask {
		case tcaKind:
			kind = unix.ByteSliceToString(a.Value)
		case tcaOptions:
			options = a.Value
		}
	}
	limit, least, ok := limitIn(kind, options)
	if !ok {
		return nil
	}
	index, handleOf := binary.NativeEndian.Uint32(m[4:]), binary.NativeEndian.Uint32(m[8:])
	parent := binary.NativeEndian.Uint32(m[12:])
	for i := range to {
		if q := &to[i]; q.Link == index && q.Handle == handle(handleOf) && q.Parent == parentOf(parent) {
			q.Limit, q.NoRoom = limit, limit < least && (kind != "cake" || limit > 0)
		}
	}
	return nil
}

// limitIn is the limit among a discipline's options, and the least that leaves room for a packet: pfifo and bfifo have
// nothing else (struct tc_fifo_qopt).
func limitIn(kind string, options []byte) (limit, least uint32, ok bool) {
	if kind == "pfifo" || kind == "bfifo" {
		if len(options) < 4 {
			return 0, 0, false
		}
		return binary.NativeEndian.Uint32(options), 1, true
	}
	at, known := limitsOf[kind]
	attrs, err := nl.ParseRouteAttr(options)
	if !known || err != nil {
		return 0, 0, false
	}
	for _, a := range attrs {
		if a.Attr.Type&nlaTypeMask == at.attr && len(a.Value) >= 4 {
			return binary.NativeEndian.Uint32(a.Value), at.least, true
		}
	}
	return 0, 0, false
}
