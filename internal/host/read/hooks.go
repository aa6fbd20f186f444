package read

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// Of linux/netfilter/nfnetlink_hook.h.
const (
	nfnlSubsysHook = 12 // its only message is NFNL_MSG_HOOK_GET, 0

	hookNumber   = 1
	hookPriority = 2
	hookDevice   = 3
	hookFunction = 4
	hookChain    = 6

	hookChainDesc = 1

	hookChainTable  = 1
	hookChainFamily = 2
	hookChainName   = 3
)

// hookFamily are the hooks of a family of netfilter, by their numbers.
type hookFamily struct {
	number byte
	hooks  []string
}

var (
	inetHooks    = []string{"prerouting", "input", "forward", "output", "postrouting"}
	hookFamilies = map[string]hookFamily{
		"ip":     {unix.NFPROTO_IPV4, inetHooks},
		"bridge": {unix.NFPROTO_BRIDGE, inetHooks},
		"netdev": {unix.NFPROTO_NETDEV, []string{"ingress", "egress"}},
	}
	tableFamilies = map[byte]string{
		unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_NETDEV: "netdev", unix.NFPROTO_IPV6: "ip6",
	}
)

// hooks asks the kernel in which order it runs chains, at hooks that run several. Only if nfnetlink_hook is there: the
// question would load it. What is not answered is not unread state: without an order each of the chains may be the first.
func (r *reader) hooks() {
	if there, _ := r.modules.has("nfnetlink_hook"); !there {
		return
	}
	for _, h := range crowded(r.s) {
		if calls, err := r.kernel.calls(h); err == nil {
			h.Calls = calls
			r.s.Hooks = append(r.s.Hooks, h)
		}
	}
}

// crowded are the hooks that run several chains.
func crowded(s *host.Snapshot) (hooks []host.NfHook) {
	var once []host.NfHook
	add := func(family, hook, device string) {
		same := func(h host.NfHook) bool { return h.Family == family && h.Hook == hook && h.Device == device }
		switch {
		case !slices.ContainsFunc(once, same):
			once = append(once, host.NfHook{Family: family, Hook: hook, Device: device})
		case !slices.ContainsFunc(hooks, same):
			hooks = append(hooks, host.NfHook{Family: family, Hook: hook, Device: device})
		}
	}
	for _, t := range s.Nft {
		for _, c := range t.Chains {
			switch {
			case c.Hook == "" || t.Dormant || t.Family == "ip6" || t.Family == "arp":
			case c.Hook == "ingress", c.Hook == "egress":
				for _, dev := range c.Devices {
					add("netdev", c.Hook, dev)
				}
			case t.Family == "bridge":
				add("bridge", c.Hook, "")
			default:
				add("ip", c.Hook, "")
			}
		}
	}
	for _, t := range s.IPTables {
		for _, c := range t.Chains {
			if hook := strings.ToLower(c.Name); t.Backend == "iptables-legacy" && slices.Contains(inetHooks, hook) {
				add("ip", hook, "")
			}
		}
	}
	return hooks
}

// callsAt asks for what a hook runs, in the order in which it does (nfnl_hook_dump).
func callsAt(h host.NfHook) (calls []host.NfCallee, err error) {
	family := hookFamilies[h.Family]
	of := nl.NewRtAttr(hookNumber, binary.BigEndian.AppendUint32(nil, uint32(slices.Index(family.hooks, h.Hook)))).Serialize()
	if h.Device != "" {
		of = append(of, nl.NewRtAttr(hookDevice, nl.ZeroTerminated(h.Device)).Serialize()...)
	}
	err = netfilterDump(nfnlSubsysHook<<8, family.number, of, func(message []byte) (bool, error) {
		calls = append(calls, calleeOf(message[nl.SizeofNfgenmsg:]))
		return true, nil
	})
	return calls, err
}

// calleeOf reads the attributes of a message.
func calleeOf(b []byte) (c host.NfCallee) {
	eachAttr(b, func(kind uint16, value []byte) {
		switch kind {
		case hookPriority:
			if len(value) == 4 {
				c.Priority = int(int32(binary.BigEndian.Uint32(value)))
			}
		case hookFunction:
			c.Function = nl.BytesToString(value)
		case hookChain:
			eachAttr(value, func(kind uint16, value []byte) {
				if kind == hookChainDesc {
					eachAttr(value, func(kind uint16, value []byte) { describe(&c, kind, value) })
				}
			})
		}
	})
	return c
}

// describe reads an attribute of a chain's description.
func describe(c *host.NfCallee, kind uint16, value []byte) {
	switch {
	case kind == hookChainTable:
		c.Table = nl.BytesToString(value)
	case kind == hookChainName:
		c.Chain = nl.BytesToString(value)
	case kind == hookChainFamily && len(value) == 1:
		c.Family = tableFamilies[value[0]]
	}
}

// eachAttr goes through attributes as far as they are whole.
func eachAttr(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofNlAttr || length > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:length])
		b = b[min((length+3)&^3, len(b)):]
	}
}
