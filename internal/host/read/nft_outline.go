package read

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// errSlow says that a program took longer than it may.
var errSlow = errors.New("took longer than")

// manySets is how many sets within rules are worth a word. The kernel finds each of them by going through all of its
// table (nft_set_lookup), and nft asks for each: for 10,000 that takes 4 s of the kernel's time, for 20,000 four times that.
const manySets = 4096

// outlined is the error of a ruleset that nft did not list in time, with what may be why; what is known of the rules then
// is where they are.
func (r *reader) outlined(err error, sets []nftSet) error {
	if !errors.Is(err, errSlow) && r.ctx.Err() == nil {
		return err
	}
	r.s.NftOutline, _ = r.kernel.outline()
	n := 0
	for _, s := range sets {
		if s.anonymous {
			n++
		}
	}
	if n < manySets {
		return err
	}
	return fmt.Errorf("%w: rules have %d sets within themselves, each of which the kernel looks for among all", err, n)
}

// outlineRules lists where the rules of all tables are, by netlink: one list, whatever is in the rules (nf_tables_dump_rules).
func outlineRules() (all []host.NftOutline, err error) {
	err = nftDump(unix.NFT_MSG_GETRULE, unix.NFPROTO_UNSPEC, nil, func(family uint8, attrs []syscall.NetlinkRouteAttr) bool {
		at, handle := host.NftOutline{Family: nftFamilies[family]}, uint64(0)
		for _, a := range attrs {
			switch v := a.Value; a.Attr.Type & nlaTypeMask {
			case unix.NFTA_RULE_TABLE:
				at.Table = unix.ByteSliceToString(v)
			case unix.NFTA_RULE_CHAIN:
				at.Chain = unix.ByteSliceToString(v)
			case unix.NFTA_RULE_HANDLE:
				if len(v) == 8 {
					handle = binary.BigEndian.Uint64(v)
				}
			}
		}
		if last := len(all) - 1; last >= 0 && all[last].Family == at.Family && all[last].Table == at.Table && all[last].Chain == at.Chain {
			all[last].Handles = append(all[last].Handles, handle)
			return true
		}
		at.Handles = []uint64{handle}
		all = append(all, at)
		return true
	})
	return all, err
}
