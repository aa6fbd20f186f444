package tracer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// kernel answers what the running kernel has. Its version decides nothing.
type kernel struct {
	types *btf.Spec
	cache *btf.Cache
}

func openKernel() (*kernel, error) {
	cache := btf.NewCache()
	types, err := cache.Kernel()
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: /sys/kernel/btf/vmlinux does not exist", ErrNoBTF)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBTF, err)
	}
	return &kernel{types: types, cache: cache}, nil
}

// tracepoint is the prototype of a tracepoint, nil if the kernel has none of that name.
func (k *kernel) tracepoint(name string) *btf.FuncProto {
	var def *btf.Typedef
	if k.types.TypeByName("btf_trace_"+name, &def) != nil {
		return nil
	}
	pointer, ok := def.Type.(*btf.Pointer)
	if !ok {
		return nil
	}
	proto, _ := pointer.Target.(*btf.FuncProto)
	return proto
}

func (k *kernel) hasTracepoint(name string) bool { return k.tracepoint(name) != nil }

// hasFunction reports whether a function is in the kernel itself, or in a module that is loaded, if one is named.
func (k *kernel) hasFunction(name, module string) bool {
	var f *btf.Func
	if k.types.TypeByName(name, &f) == nil {
		return true
	}
	if module == "" || !isLoaded(module) {
		return false
	}
	types, err := k.cache.Module(module)
	return err == nil && types.TypeByName(name, &f) == nil
}

// hasDropReason reports whether kfree_skb says why: its parameters are a context, the packet, the location and, since 5.17, the reason.
func (k *kernel) hasDropReason() bool {
	proto := k.tracepoint("kfree_skb")
	return proto != nil && len(proto.Params) >= 4
}

// saysWhereConsumed reports whether consume_skb says where, since 6.3: its parameters are a context, the packet and the location.
func (k *kernel) saysWhereConsumed() bool {
	proto := k.tracepoint("consume_skb")
	return proto != nil && len(proto.Params) >= 3
}

// countsMissedKprobes reports whether a link says how often its kprobe was not run (since 6.7).
func (k *kernel) countsMissedKprobes() bool {
	var info *btf.Struct
	return k.types.TypeByName("bpf_link_info", &info) == nil && hasMember(info.Members, "missed")
}

// hasMember looks for a member of that name, also inside of other members.
func hasMember(members []btf.Member, name string) bool {
	for _, m := range members {
		if m.Name == name {
			return true
		}
		switch inner := m.Type.(type) {
		case *btf.Struct:
			if hasMember(inner.Members, name) {
				return true
			}
		case *btf.Union:
			if hasMember(inner.Members, name) {
				return true
			}
		}
	}
	return false
}

const reasonPrefix = "SKB_DROP_REASON_"

// subsystemReasons are the enums of reasons outside the core, since 6.4; their values have the subsystem in the upper 16 bits.
var subsystemReasons = []string{
	"mac80211_drop_reason",
	"ovs_drop_reason",
	"qdisc_drop_reason",
}

// dropReasons are the kernel's own names of its drop reasons, by number; empty where it has none.
func (k *kernel) dropReasons() map[uint32]string {
	names := map[uint32]string{}
	var core *btf.Enum
	if k.types.TypeByName("skb_drop_reason", &core) == nil {
		for _, v := range core.Values {
			names[uint32(v.Value)] = strings.TrimPrefix(v.Name, reasonPrefix)
		}
	}
	for _, s := range subsystemReasons {
		var enum *btf.Enum
		if k.types.TypeByName(s, &enum) != nil {
			continue
		}
		for _, v := range enum.Values {
			if v.Value>>16 != 0 {
				names[uint32(v.Value)] = strings.TrimPrefix(v.Name, "__")
			}
		}
	}
	return names
}

// reasonName is the name of a drop reason without its prefix; a number that has no name stays a number.
func reasonName(names map[uint32]string, reason uint32) string {
	if len(names) == 0 {
		return ""
	}
	if name, ok := names[reason]; ok {
		return name
	}
	if subsystem := reason >> 16; subsystem != 0 {
		return fmt.Sprintf("SUBSYS%d:%d", subsystem, reason&0xffff)
	}
	return fmt.Sprintf("REASON%d", reason)
}

// release is uname -r.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
