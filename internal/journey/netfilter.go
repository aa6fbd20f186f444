package journey

import (
	"slices"
	"strings"

	"ipiptrace/internal/site"
	"ipiptrace/tracer/event"
)

// hookCallers maps who calls nf_hook_slow to the hook that it runs: each runs one only.
var hookCallers = map[string]string{
	"ip_rcv":                   "prerouting",
	"ip_sublist_rcv":           "prerouting",
	"ip_list_rcv":              "prerouting",
	"nf_hook_slow_list":        "prerouting",
	"ip_local_deliver":         "input",
	"ip_forward":               "forward",
	"__ip_local_out":           "output",
	"ip_output":                "postrouting",
	"ip_mc_output":             "postrouting",
	"__netif_receive_skb_core": "ingress",
	"__dev_queue_xmit":         "egress",
	"br_handle_frame":          "prerouting",
	"br_nf_pre_routing":        "prerouting",
	"br_pass_frame_up":         "input",
	"__br_forward":             "forward",
	"br_nf_forward":            "forward",
	"br_nf_forward_ip":         "forward",
	"br_nf_post_routing":       "postrouting",
	"br_forward_finish":        "postrouting",
}

// netfilterFunctions begin the names of the functions in which netfilter frees a packet that it drops.
// ip_vs_tunnel_xmit and what it calls are below nf_hook_slow too, but those drops are not netfilter's.
var netfilterFunctions = []string{"nf_", "nft_", "nfqnl_", "ipt_", "xt_", "ebt_", "br_nf_"}

// bridgeCallers run hooks of the family bridge. br_nf_… are br_netfilter's, and run those of IPv4.
var bridgeCallers = []string{"br_handle_frame", "br_pass_frame_up", "__br_forward", "br_forward_finish"}

// nfHook is the netfilter hook that decided over a drop, empty if it was not netfilter.
func nfHook(d event.Drop) string {
	hook, _ := hookOf(d)
	return hook
}

// hookOf is that hook, and whether it is one of the family bridge.
func hookOf(d event.Drop) (hook string, bridged bool) {
	if d.Reason != "NETFILTER_DROP" && !hasAnyPrefix(site.Function(d.Function), netfilterFunctions) {
		return "", false
	}
	slow := false
	for i, symbol := range d.Stack {
		f := site.Function(symbol)
		if slow || d.Reason == "NETFILTER_DROP" {
			if hook, ok := hookCallers[f]; ok {
				own := func(symbol string) bool { return site.Function(symbol) == "br_dev_xmit" }
				if f == "__br_forward" && slices.ContainsFunc(d.Stack[i:], own) {
					hook = "output" // of the machine itself, by the bridge
				}
				return hook, slices.Contains(bridgeCallers, f)
			}
		}
		slow = slow || f == "nf_hook_slow" || f == "nf_hook_slow_list"
	}
	return "", false
}

// ruledBy notes that a rule of nftables drops the packet. It will be freed next, so this is no step of its way.
func (a *Assembler) ruledBy(f *flight, e event.Event) {
	f.last, f.rounds = max(f.last, e.Time), 0
	f.ruled = key{e.Skb, e.Seen}
	f.rule = &NftRule{Handle: e.Peer, NextKnown: e.Value >= 0}
	if e.Value > 0 {
		f.rule.Next = uint64(e.Aux)
	}
}

// ruleFor is the rule that drops the sk_buff of an event; nil if none was seen, or it was another one's.
func (f *flight) ruleFor(e event.Event) *NftRule {
	if f.ruled != (key{e.Skb, e.Seen}) {
		return nil
	}
	return f.rule
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// Protocol families of netfilter (enum in include/uapi/linux/netfilter.h).
const nfprotoNetdev = 5

// inetHooks are enum nf_inet_hooks; the bridge's have the same order. netdevHooks are enum nf_dev_hooks.
var (
	inetHooks   = []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	netdevHooks = []string{"ingress", "egress"}
)

// hookName names the hook of a sighting at NfHookSlow: aux is hook | pf << 8.
func hookName(aux uint32) string {
	hooks := inetHooks
	if aux>>8 == nfprotoNetdev {
		hooks = netdevHooks
	}
	if hook := aux & 0xff; int(hook) < len(hooks) {
		return hooks[hook]
	}
	return ""
}

// verdictName names what nf_hook_slow returned.
func verdictName(value int32) string {
	switch {
	case value > 0:
		return "accept"
	case value < 0:
		return "drop"
	}
	return "stolen"
}
