package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

func TestTheStackTellsTheHook(t *testing.T) {
	for what, test := range map[string]struct {
		d       event.Drop
		hook    string
		bridged bool
	}{
		"input":                        {event.Drop{Function: "nf_hook_slow", Stack: []string{"nf_hook_slow", "ip_local_deliver"}}, "input", false},
		"a rule":                       {event.Drop{Function: "nft_do_chain", Reason: "NETFILTER_DROP", Stack: []string{"nft_do_chain+0x5", "nft_do_chain_ipv4", "nf_hook_slow", "ip_rcv"}}, "prerouting", false},
		"ingress":                      {event.Drop{Function: "nf_hook_slow", Stack: []string{"nf_hook_slow", "__netif_receive_skb_core.constprop.0"}}, "ingress", false},
		"a bridge's own prerouting":    {event.Drop{Function: "nft_do_chain", Reason: "NETFILTER_DROP", Stack: []string{"nft_do_chain", "nft_do_chain_bridge", "br_handle_frame"}}, "prerouting", true},
		"a bridge's input":             {event.Drop{Function: "nf_hook_slow", Stack: []string{"nf_hook_slow", "br_pass_frame_up", "br_handle_frame_finish"}}, "input", true},
		"a bridge that forwards":       {event.Drop{Function: "nf_hook_slow", Stack: []string{"nf_hook_slow", "__br_forward", "br_handle_frame_finish"}}, "forward", true},
		"what a bridge's owner sends":  {event.Drop{Function: "nf_hook_slow", Stack: []string{"nf_hook_slow", "__br_forward", "br_dev_xmit"}}, "output", true},
		"IPv4's prerouting, by bridge": {event.Drop{Function: "nf_hook_slow", Stack: []string{"nf_hook_slow", "br_nf_pre_routing", "nf_hook_slow", "br_handle_frame"}}, "prerouting", false},
		"no hook":                      {event.Drop{Function: "ip_rcv_finish_core", Stack: []string{"ip_rcv_finish_core", "ip_rcv"}}, "", false},
	} {
		if hook, bridged := hookOf(test.d); hook != test.hook || bridged != test.bridged {
			t.Errorf("%s: %q, bridged %t; want %q, %t", what, hook, bridged, test.hook, test.bridged)
		}
	}
}

// TestAHookThatDropsSaysSoWhereTheFreeingIsMissed has the kernel skip the probe of kfree_skb, which runs on that CPU already: it
// frees the packet before the hook's function returns, and knows no packet there if it was seen.
func TestAHookThatDropsSaysSoWhereTheFreeingIsMissed(t *testing.T) {
	k := newKernel()
	k.packet(1, syn()).tunnelled().uses(event.NftRule, 2, 0, 0).hook(1, -1)
	k.silence(time.Second)
	j := withID(t, k.assemble(t, everywhere()), 1)
	if j.Fate != Dropped || j.Drop.NfHook != "input" || j.Drop.Reason != "" || j.Gaps != 1 {
		t.Errorf("%s, drop %+v, %d gaps; want a drop by input with a gap", j.Fate, j.Drop, j.Gaps)
	}
}
