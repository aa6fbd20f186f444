package read

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// nftSet is a set of the kernel's.
type nftSet struct {
	family, table, name string
	isMap               bool
	// anonymous: it is within a rule, and nft lists it there.
	anonymous bool
	// addresses: its keys are IPv4 addresses, or ranges of them, and it is no map, nor do its elements expire.
	addresses bool
	// interval: they may be ranges.
	interval bool
	// elements is their number as far as it was counted: not further than a little beyond maxElements.
	elements int
}

// nftFamilies are NFPROTO_* (linux/netfilter.h) as nft names them.
var nftFamilies = map[uint8]string{1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}

// countSets counts the elements of all named sets. Kernels before 6.16 do not say how many there are: they are listed
// (nf_tables_dump_set, a thousand for each message), and what is left of a long list is not asked for.
func countSets(ctx context.Context) (sets []nftSet, err error) {
	err = nftDump(unix.NFT_MSG_GETSET, unix.NFPROTO_UNSPEC, nil, func(family uint8, attrs []syscall.NetlinkRouteAttr) bool {
		s := nftSet{family: nftFamilies[family]}
		var flags, keys uint32
		for _, a := range attrs {
			switch v := a.Value; a.Attr.Type & nlaTypeMask {
			case unix.NFTA_SET_TABLE:
				s.table = unix.ByteSliceToString(v)
			case unix.NFTA_SET_NAME:
				s.name = unix.ByteSliceToString(v)
			case unix.NFTA_SET_FLAGS:
				flags = bigWord32(v)
			case unix.NFTA_SET_KEY_TYPE:
				keys = bigWord32(v)
			}
		}
		s.addresses = keys == keyAddress && flags&^(unix.NFT_SET_INTERVAL|unix.NFT_SET_CONSTANT) == 0
		s.interval = flags&unix.NFT_SET_INTERVAL != 0
		s.isMap, s.anonymous = flags&unix.NFT_SET_MAP != 0, flags&unix.NFT_SET_ANONYMOUS != 0
		sets = append(sets, s)
		return ctx.Err() == nil
	})
	for i := 0; i < len(sets) && err == nil && ctx.Err() == nil; i++ {
		if !sets[i].anonymous {
			sets[i].elements, err = countElements(sets[i])
		}
	}
	return sets, cmp.Or(err, ctx.Err())
}

// keyAddress is nft's own number for a key that is an IPv4 address (enum datatypes of nftables).
const keyAddress = 7

func bigWord32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// countElements counts those of a set until there are too many.
func countElements(s nftSet) (n int, err error) {
	err = s.lists(func(list []byte) bool {
		n += countAttributes(list)
		return n <= maxElements
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil // it has gone since; if it is still listed, listing it says so
	}
	return n, err
}

// lists hands on the lists of elements of which the kernel makes up a set, until more says no.
func (s nftSet) lists(more func(list []byte) bool) error {
	family := uint8(unix.NFPROTO_UNSPEC)
	for number, name := range nftFamilies {
		if name == s.family {
			family = number
		}
	}
	of := append(
		nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_TABLE, nl.ZeroTerminated(s.table)).Serialize(),
		nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_SET, nl.ZeroTerminated(s.name)).Serialize()...)
	return nftDump(unix.NFT_MSG_GETSETELEM, family, of, func(_ uint8, attrs []syscall.NetlinkRouteAttr) bool {
		for _, a := range attrs {
			if a.Attr.Type&nlaTypeMask == unix.NFTA_SET_ELEM_LIST_ELEMENTS && !more(a.Value) {
				return false
			}
		}
		return true
	})
}

// countAttributes is how many there are, one after the other.
func countAttributes(b []byte) (n int) {
	for {
		_, _, rest, err := cutAttribute(b)
		if err != nil {
			return n
		}
		b, n = rest, n+1
	}
}

// nftDump asks nf_tables for a list, and hands on each message's attributes until more says no.
func nftDump(command int, family uint8, of []byte, more func(family uint8, attrs []syscall.NetlinkRouteAttr) bool) error {
	return netfilterDump(unix.NFNL_SUBSYS_NFTABLES<<8|command, family, of, func(message []byte) (bool, error) {
		attrs, err := nl.ParseRouteAttr(message[nl.SizeofNfgenmsg:])
		return err == nil && more(message[0], attrs), err
	})
}

// netfilterDump asks netfilter for a list, and hands on each message until more says no. It does not look at whom a
// message is for, as the library does: those of hooks are for nobody (nfnl_hook_dump_one takes the port of the answer).
func netfilterDump(kind int, family uint8, of []byte, more func(message []byte) (bool, error)) error {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.SetReceiveTimeout(&unix.Timeval{Sec: 1}); err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family})
	req.AddRawData(of)
	if err := s.Send(req); err != nil {
		return err
	}
	for {
		msgs, _, err := s.Receive()
		if err != nil {
			return err
		}
		for _, m := range msgs {
			if m.Header.Type == unix.NLMSG_DONE {
				return nil
			}
			if m.Header.Type == unix.NLMSG_ERROR {
				return syscall.Errno(-int32(word32(m.Data)))
			}
			if len(m.Data) < nl.SizeofNfgenmsg {
				continue
			}
			if on, err := more(m.Data); err != nil || !on {
				return err
			}
		}
	}
}
