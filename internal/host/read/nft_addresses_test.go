package read

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// element is one as the kernel lists it.
func element(key []byte, flags uint32, more ...uint16) (b []byte) {
	data := nl.NewRtAttr(unix.NFTA_DATA_VALUE, key)
	of := nl.NewRtAttr(unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, data.Serialize())
	b = append(b, of.Serialize()...)
	if flags != 0 {
		b = append(b, nl.NewRtAttr(unix.NFTA_SET_ELEM_FLAGS, binary.BigEndian.AppendUint32(nil, flags)).Serialize()...)
	}
	for _, kind := range more {
		b = append(b, nl.NewRtAttr(int(kind), []byte("abcde")).Serialize()...)
	}
	return b
}

func TestAnElementIsAnAddressAndNothingElse(t *testing.T) {
	for want, b := range map[address][]byte{
		{0x0a000001, false}: element([]byte{10, 0, 0, 1}, 0),
		{0x0a000002, false}: element([]byte{10, 0, 0, 2}, 0, unix.NFTA_SET_ELEM_USERDATA),
		{0, true}:           element(make([]byte, 4), unix.NFT_SET_ELEM_INTERVAL_END),
	} {
		if got, err := addressOf(b); err != nil || got != want {
			t.Errorf("%v, %+v, want %+v", err, got, want)
		}
	}
	const catchAll = 2
	for what, b := range map[string][]byte{
		"nothing":              nil,
		"a network of IPv6":    element(make([]byte, 16), 0),
		"what is in no other":  element(make([]byte, 4), catchAll),
		"one that goes":        element(make([]byte, 4), 0, unix.NFTA_SET_ELEM_TIMEOUT),
		"one with a limit":     element(make([]byte, 4), 0, unix.NFTA_SET_ELEM_EXPR),
		"one that is cut off":  element(make([]byte, 4), 0)[:10],
		"one with an odd kind": element(make([]byte, 4), 0, 99),
	} {
		if got, err := addressOf(b); !errors.Is(err, errNoAddress) && !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s: %v, %+v", what, err, got)
		}
	}
}

// TestRangesEndBeforeTheNextOneBegins has elements of sets that nft 1.0.6 made, as ranges and as addresses.
func TestRangesEndBeforeTheNextOneBegins(t *testing.T) {
	for _, c := range []struct {
		all    []address
		ranges bool
		want   string
	}{
		{nil, false, `[]`},
		{[]address{{3, false}, {1, false}}, false, `["0.0.0.1","0.0.0.3"]`},
		{[]address{{0, true}, {5, false}, {9, true}}, true, `[{"range":["0.0.0.5","0.0.0.8"]}]`},
		{[]address{{9, true}, {9, false}, {5, false}, {10, true}}, true, `[{"range":["0.0.0.5","0.0.0.8"]},"0.0.0.9"]`},
		{[]address{{5, false}, {9, false}, {10, true}}, true, `[{"range":["0.0.0.5","0.0.0.8"]},"0.0.0.9"]`},
		{[]address{{0, false}}, true, `[{"range":["0.0.0.0","255.255.255.255"]}]`},
		{[]address{{^uint32(0), false}}, true, `["255.255.255.255"]`},
	} {
		if got := spans(c.all, c.ranges); string(got) != c.want {
			t.Errorf("%v: %s, want %s", c.all, got, c.want)
		}
	}
}

// FuzzAddresses reads any bytes for a list of elements: what comes of it is JSON.
func FuzzAddresses(f *testing.F) {
	f.Add(element([]byte{10, 0, 0, 1}, 0, unix.NFTA_SET_ELEM_USERDATA), true)
	f.Fuzz(func(t *testing.T, list []byte, ranges bool) {
		countAttributes(list)
		var all []address
		for len(list) > 0 {
			_, one, rest, err := cutAttribute(list)
			if err != nil {
				break
			}
			if a, err := addressOf(one); err == nil {
				all = append(all, a)
			}
			list = rest
		}
		if a, err := addressOf(list); err == nil {
			all = append(all, a)
		}
		if text := spans(all, ranges); !json.Valid(text) {
			t.Errorf("%s", text)
		}
	})
}
