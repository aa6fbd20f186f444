package site

import "testing"

func TestEndsAreSites(t *testing.T) {
	for what, test := range map[string]struct {
		end      End
		is, isnt []Site
	}{
		"a reason names the site, whatever function freed":        {End{Function: "any", Reason: "IP_RPFILTER"}, []Site{ReversePath}, []Site{Martian, SourceCheckUnsaid}},
		"without a reason both checks of the source are possible": {End{Function: "ip_rcv_finish_core", Reason: NotSpecified}, []Site{SourceCheckUnsaid}, []Site{ReversePath, Martian}},
		"tcp_v4_rcv and a reset: nobody listens":                  {End{Function: "tcp_v4_rcv", Answer: Answer{Reset: true}}, []Site{NoSocket}, []Site{SocketUnsaid, ChecksumUnsaid}},
		"tcp_v4_rcv and silence, without reasons":                 {End{Function: "tcp_v4_rcv"}, []Site{SocketUnsaid, ChecksumUnsaid, MinTTLUnsaid}, []Site{NoSocket}},
		"a hook":                                   {End{Function: "nft_do_chain", Reason: "NETFILTER_DROP", Hook: "input"}, []Site{Hook, InputHook, NfTables}, []Site{HookUnnamed, IPVS}},
		"a hook, and IPVS in it":                   {End{Function: "nf_hook_slow", Reason: "NETFILTER_DROP", Hook: "input", Decider: "ip_vs_in"}, []Site{IPVS}, []Site{Hook, NfTables}},
		"a hook whose caller was not named":        {End{Function: "0xffffffff81000000", Reason: "NETFILTER_DROP"}, []Site{HookUnnamed}, []Site{Hook}},
		"a delivered datagram without a reply":     {End{NoReply: true}, []Site{NoReply}, []Site{Astray}},
		"a reply that left by the tunnel":          {End{NoReply: true, Astray: true}, []Site{Astray}, []Site{NoReply}},
		"too long for the way":                     {End{Function: "ip_vs_tunnel_xmit", Answer: Answer{ICMP: true, Type: 3, Code: 4}}, []Site{TooBig, IPVSOutput}, []Site{IPVSUnreachable}},
		"a queueing discipline's own reason":       {End{Reason: "QDISC_OVERLIMIT"}, []Site{Qdisc}, nil},
		"what nobody knows is no site":             {End{Function: "no_such_function"}, nil, []Site{XDP, NoSocket, Hook, Qdisc, MinTTLUnsaid}},
		"TTL used up is no damaged header":         {End{Function: "ip_forward", Reason: "IP_INHDR", Answer: Answer{ICMP: true, Type: 11}}, []Site{TTL, Forward}, []Site{Header}},
		"tc without a reason, but in no hook":      {End{Function: "__dev_queue_xmit"}, []Site{TCUnsaid, QdiscUnsaid}, nil},
		"the device's egress hook is netfilter's":  {End{Function: "__dev_queue_xmit", Hook: "egress"}, []Site{Hook}, []Site{TCUnsaid}},
		"IPsec's tunnel is asked behind IPIP's":    {End{Function: "xfrm_input"}, []Site{NoTunnelUnsaid}, []Site{NoTunnel}},
		"a refusal of the tunnel without a reason": {End{Function: "ipip_tunnel_rcv", Reason: NotSpecified}, []Site{TunnelPolicy, TunnelPolicyUnsaid}, nil},
	} {
		set := Of(test.end)
		for _, s := range test.is {
			if !set.Has(s) {
				t.Errorf("%s: %+v is not site %d", what, test.end, s)
			}
		}
		if set.Has(test.isnt...) {
			t.Errorf("%s: %+v is one of %v", what, test.end, test.isnt)
		}
	}
}

// TestEverySiteHasAFunctionOrAReason: a site without a row is never found.
func TestEverySiteHasAFunctionOrAReason(t *testing.T) {
	known := map[Site]bool{}
	for _, r := range table {
		known[r.site] = true
		if r.functions == nil && r.reasons == nil && r.prefixes == nil && r.when == nil {
			t.Errorf("everything is site %d", r.site)
		}
	}
	for s := range last {
		if !known[s] {
			t.Errorf("nothing is site %d", s)
		}
	}
}

func TestSymbolsNameFunctions(t *testing.T) {
	for symbol, want := range map[string]string{
		"ip_rcv_finish_core.constprop.0+0x1f4": "ip_rcv_finish_core", "nf_queue.cold": "nf_queue", "nft_do_chain+0x46f [nf_tables]": "nft_do_chain", "tcp_v4_rcv": "tcp_v4_rcv",
	} {
		if got := Function(symbol); got != want {
			t.Errorf("%s: %s, want %s", symbol, got, want)
		}
	}
}
