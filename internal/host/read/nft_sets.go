package read

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// How much is read of sets: nft (1.0.6) takes 1.1 s and 130 MB to list 200,000 elements on a machine that has nothing else
// to do.
const (
	// maxElements bounds the elements of all sets together.
	maxElements = 1 << 16
	// maxSets bounds the sets that are listed each by a process of its own.
	maxSets = 64
)

// nftSet is a named set of the kernel's.
type nftSet struct {
	family, table, name string
	isMap               bool
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
		var flags uint32
		for _, a := range attrs {
			switch v := a.Value; a.Attr.Type & nlaTypeMask {
			case unix.NFTA_SET_TABLE:
				s.table = unix.ByteSliceToString(v)
			case unix.NFTA_SET_NAME:
				s.name = unix.ByteSliceToString(v)
			case unix.NFTA_SET_FLAGS:
				if len(v) >= 4 {
					flags = binary.BigEndian.Uint32(v)
				}
			}
		}
		if s.isMap = flags&unix.NFT_SET_MAP != 0; flags&unix.NFT_SET_ANONYMOUS == 0 {
			sets = append(sets, s)
		}
		return ctx.Err() == nil
	})
	for i := 0; i < len(sets) && err == nil && ctx.Err() == nil; i++ {
		sets[i].elements, err = countElements(sets[i])
	}
	return sets, cmp.Or(err, ctx.Err())
}

// countElements counts those of a set until there are too many.
func countElements(s nftSet) (n int, err error) {
	family := uint8(unix.NFPROTO_UNSPEC)
	for number, name := range nftFamilies {
		if name == s.family {
			family = number
		}
	}
	of := append(
		nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_TABLE, nl.ZeroTerminated(s.table)).Serialize(),
		nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_SET, nl.ZeroTerminated(s.name)).Serialize()...)
	err = nftDump(unix.NFT_MSG_GETSETELEM, family, of, func(_ uint8, attrs []syscall.NetlinkRouteAttr) bool {
		for _, a := range attrs {
			if a.Attr.Type&nlaTypeMask == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				n += countAttributes(a.Value)
			}
		}
		return n <= maxElements
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil // it has gone since; if it is still listed, listing it says so
	}
	return n, err
}

// countAttributes is how many there are, one after the other, each with its length in front.
func countAttributes(b []byte) (n int) {
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			break
		}
		b, n = b[min((length+3)&^3, len(b)):], n+1 // NLA_ALIGN
	}
	return n
}

// nftDump asks nf_tables for a list, and hands on each message's attributes until more says no.
func nftDump(command int, family uint8, of []byte, more func(family uint8, attrs []syscall.NetlinkRouteAttr) bool) error {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.SetReceiveTimeout(&unix.Timeval{Sec: 1}); err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|command, unix.NLM_F_DUMP)
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
			attrs, err := nl.ParseRouteAttr(m.Data[nl.SizeofNfgenmsg:])
			if err != nil {
				return err
			}
			if !more(m.Data[0], attrs) {
				return nil
			}
		}
	}
}

// askedSets are the names of the sets that rules of a table ask: "@blocked" wherever a rule has it as a word.
func askedSets(t *host.NftTable) map[string]bool {
	asked := map[string]bool{}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			for _, e := range r.Exprs {
				addAsked(asked, e)
			}
		}
	}
	return asked
}

func addAsked(asked map[string]bool, expr json.RawMessage) {
	for {
		at := bytes.Index(expr, []byte(`"@`))
		if at < 0 {
			return
		}
		var word string
		if json.NewDecoder(bytes.NewReader(expr[at:])).Decode(&word) == nil {
			asked[word[1:]] = true
		}
		expr = expr[at+2:]
	}
}

// readSets reads the elements of those sets that rules ask, the small ones first, and says of each other set that it was
// not read.
func (r *reader) readSets(tables []host.NftTable, counted []nftSet) {
	slices.SortStableFunc(counted, func(a, b nftSet) int { return cmp.Compare(a.elements, b.elements) })
	for i := range tables {
		asked := askedSets(&tables[i])
		for j := range tables[i].Sets {
			if s := &tables[i].Sets[j]; s.Elem == nil {
				s.Unread = notCounted
			}
			if s := &tables[i].Sets[j]; s.Elem == nil && !asked[s.Name] {
				s.Unread = notAsked
			}
		}
	}
	elements, listed := 0, 0
	for _, c := range counted {
		s := set(table(tables, c.family, c.table), c.name)
		if s == nil || s.Unread != notCounted {
			continue
		}
		elements, listed = elements+c.elements, listed+1
		switch {
		case elements > maxElements:
			s.Unread = fmt.Sprintf("sets with more than %d elements are not read", maxElements)
		case listed > maxSets:
			s.Unread = fmt.Sprintf("rules ask more than %d sets", maxSets)
		default:
			s.Unread = ""
			if err := r.readSet(s, c); err != nil {
				s.Elem, s.Unread = nil, plain(err)
			}
		}
	}
}

// Why the elements of a set were not read.
const (
	notCounted = "its elements were not counted"
	notAsked   = "no rule asks it"
)

func set(t *host.NftTable, name string) *host.NftSet {
	if t == nil {
		return nil
	}
	for i := range t.Sets {
		if t.Sets[i].Name == name {
			return &t.Sets[i]
		}
	}
	return nil
}

// readSet has nft list a set. It is asked in JSON: of words nft would make a command, and any text may be a name.
func (r *reader) readSet(to *host.NftSet, from nftSet) error {
	kind := "set"
	if from.isMap {
		kind = "map"
	}
	type named struct {
		Family string `json:"family"`
		Table  string `json:"table"`
		Name   string `json:"name"`
	}
	command, err := json.Marshal(map[string]any{"nftables": []any{
		map[string]any{"list": map[string]any{kind: named{from.family, from.table, from.name}}},
	}})
	if err != nil {
		return err
	}
	found := false
	err = r.run(r.ctx, nftPrograms, []string{"--json", "--handle", "--numeric", string(command)}, func(out io.Reader) error {
		return nftObjects(out, func(o nftObject) {
			if s := cmp.Or(o.Set, o.Map); s != nil && s.Name == to.Name && s.Handle == to.Handle {
				to.Flags, to.Elem, found = s.Flags, s.Elem, true
			}
		})
	})
	if err == nil && !found {
		err = errors.New("the set has changed")
	}
	return err
}
