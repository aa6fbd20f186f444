package read

import (
	"context"
	"encoding/json"

	"ipiptrace/internal/host"
)

// kernel is asked for what no file says. A test has stored answers.
type kernel struct {
	// sets counts the elements of nftables' sets, by netlink.
	sets func(context.Context) ([]nftSet, error)
	// outline is where the rules of nftables are, by netlink.
	outline func() ([]host.NftOutline, error)
	// devices are those of chains that a device's hook runs, by netlink.
	devices func() (map[nftChainName][]string, error)
	// addresses are the elements of a large set of them, as nft would list them.
	addresses func(context.Context, nftSet) (json.RawMessage, error)
	// calls is what a hook of netfilter runs, in order, by nfnetlink_hook.
	calls func(host.NfHook) ([]host.NfCallee, error)
	// entries is the number of entries of a table of iptables-legacy, by IPT_SO_GET_INFO.
	entries func(table string) (uint32, error)
	// settings has each device's settings below net/ipv4/conf, in the order of IPV4_DEVCONF_*, by netlink.
	settings func() (map[string][]int32, error)
	// sockets are those of a protocol, by inet_diag.
	sockets func(proto string) ([]host.Socket, error)
	// options adds those of a process's socket, which it borrows for that.
	options func(s *host.Socket, pid, fd int)
	// services adds what /proc/net/ip_vs leaves out, by netlink.
	services func(*host.IPVS) error
	// fou are the messages about the ports of FOU and GUE, by netlink.
	fou func() ([][]byte, error)
}

// running is this machine's.
func running() kernel {
	return kernel{
		sets: countSets, outline: outlineRules, devices: chainDevices, addresses: listAddresses, calls: callsAt, entries: legacyEntries,
		settings: deviceSettings, sockets: diagnosed, options: askOptions, services: detailed, fou: dumpFOU,
	}
}
