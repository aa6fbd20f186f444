package read

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// maxAddresses bounds the elements that are read of a set of addresses. For each message the kernel begins from the first
// element again (nft_rhash_walk), so the time grows with the square: 0.7 s of a CPU for 200,000.
const maxAddresses = 1 << 19

// address is an element of such a set: an address, the first one of a range, or with end the first one behind a range.
type address struct {
	at  uint32
	end bool
}

// errNoAddress: the element has more than an address, and what it means is not for us to say.
var errNoAddress = errors.New("it has elements that are more than addresses")

// listAddresses lists a set of addresses by netlink, as nft would: that takes twice the time and 130 MB for 200,000.
func listAddresses(ctx context.Context, s nftSet) (list json.RawMessage, err error) {
	var all []address
	var odd error
	err = s.lists(func(list []byte) bool {
		for len(list) > 0 && odd == nil {
			var one []byte
			if _, one, list, odd = cutAttribute(list); odd == nil {
				var a address
				a, odd = addressOf(one)
				all = append(all, a)
			}
		}
		if len(all) > maxAddresses {
			odd = fmt.Errorf("it has more than %d elements", maxAddresses)
		}
		return odd == nil && ctx.Err() == nil
	})
	if err = cmp.Or(odd, err, ctx.Err()); err != nil {
		return nil, err
	}
	return spans(all, s.interval), nil
}

// cutAttribute cuts the first of several attributes off. There may be a million of them: nl.ParseRouteAttr makes a list of
// each few.
func cutAttribute(b []byte) (kind uint16, value, rest []byte, err error) {
	if len(b) < unix.SizeofRtAttr {
		return 0, nil, nil, unix.EINVAL
	}
	length := int(binary.NativeEndian.Uint16(b))
	if length < unix.SizeofRtAttr || length > len(b) {
		return 0, nil, nil, unix.EINVAL
	}
	kind = binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask
	return kind, b[unix.SizeofRtAttr:length], b[min((length+3)&^3, len(b)):], nil // NLA_ALIGN
}

// addressOf reads an element's attributes: its key, whether it is the end of a range, and a comment.
func addressOf(element []byte) (a address, err error) {
	key := false
	for len(element) > 0 {
		var kind uint16
		var value []byte
		if kind, value, element, err = cutAttribute(element); err != nil {
			return a, err
		}
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			kind, data, rest, err := cutAttribute(value)
			if err != nil || kind != unix.NFTA_DATA_VALUE || len(data) != 4 || len(rest) > 0 {
				return a, errNoAddress
			}
			a.at, key = binary.BigEndian.Uint32(data), true
		case unix.NFTA_SET_ELEM_FLAGS:
			flags := bigWord32(value)
			if a.end = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0; flags&^unix.NFT_SET_ELEM_INTERVAL_END != 0 {
				return a, errNoAddress // the one for what is in no other
			}
		case unix.NFTA_SET_ELEM_USERDATA, unix.NFTA_SET_ELEM_PAD:
		default:
			return a, errNoAddress
		}
	}
	if !key {
		return a, errNoAddress
	}
	return a, nil
}

// spans are the elements in the form of libnftables-json(5). In a set of ranges each one begins with an element and ends
// before the next one, whatever that is; one that does not end goes on to the last address.
func spans(all []address, ranges bool) json.RawMessage {
	slices.SortFunc(all, func(a, b address) int {
		if c := cmp.Compare(a.at, b.at); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1
		}
		return 1
	})
	text := []byte{'['}
	for i, a := range all {
		if a.end {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		last := a.at
		if ranges {
			last = ^uint32(0)
			if i+1 < len(all) {
				last = max(a.at, all[i+1].at-1)
			}
		}
		if last == a.at {
			text = quoted(text, a.at)
		} else {
			text = append(quoted(append(quoted(append(text, `{"range":[`...), a.at), ','), last), `]}`...)
		}
	}
	return append(text, ']')
}

func quoted(text []byte, a uint32) []byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], a)
	return append(netip.AddrFrom4(b).AppendTo(append(text, '"')), '"')
}
