package read

import (
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// nftDevices adds the devices of chains that a device's hook runs, where nft's list has none: that of nft 1.0.6 leaves them
// out.
func (r *reader) nftDevices() error {
	lacks := func(c host.NftChain) bool { return (c.Hook == "ingress" || c.Hook == "egress") && len(c.Devices) == 0 }
	if !slices.ContainsFunc(r.s.Nft, func(t host.NftTable) bool { return slices.ContainsFunc(t.Chains, lacks) }) {
		return nil
	}
	devices, err := r.kernel.devices()
	if err != nil {
		return fmt.Errorf("the devices of chains: %w", err)
	}
	for _, t := range r.s.Nft {
		for i := range t.Chains {
			if c := &t.Chains[i]; lacks(*c) {
				c.Devices = devices[nftChainName{t.Family, t.Name, c.Name}]
			}
		}
	}
	return nil
}

type nftChainName struct{ family, table, chain string }

// hookDevices is NFTA_HOOK_DEVS (linux/netfilter/nf_tables.h): a list of names.
const hookDevices = 4

// chainDevices lists the devices whose hooks run a chain, by netlink (nft_dump_basechain_hook).
func chainDevices() (map[nftChainName][]string, error) {
	all := map[nftChainName][]string{}
	err := nftDump(unix.NFT_MSG_GETCHAIN, unix.NFPROTO_UNSPEC, nil, func(family uint8, attrs []syscall.NetlinkRouteAttr) bool {
		name := nftChainName{family: nftFamilies[family]}
		var devices []string
		for _, a := range attrs {
			switch v := a.Value; a.Attr.Type & nlaTypeMask {
			case unix.NFTA_CHAIN_TABLE:
				name.table = unix.ByteSliceToString(v)
			case unix.NFTA_CHAIN_NAME:
				name.chain = unix.ByteSliceToString(v)
			case unix.NFTA_CHAIN_HOOK:
				devices = devicesOf(v)
			}
		}
		if len(devices) > 0 {
			all[name] = devices
		}
		return true
	})
	return all, err
}

// devicesOf are the devices of a hook.
func devicesOf(hook []byte) (names []string) {
	for _, a := range attributesIn(hook) {
		if a.Attr.Type&nlaTypeMask != hookDevices {
			continue
		}
		for _, device := range attributesIn(a.Value) {
			names = append(names, unix.ByteSliceToString(device.Value))
		}
	}
	slices.Sort(names)
	return names
}
