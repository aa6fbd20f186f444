/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * kprobe.multi: one program at all functions and one at all returns, so that the kernel looks all symbols up at once
 * and changes its text once. The cookie says what else would be the instance of a program.
 */
#ifndef IPIPTRACE_MULTI_H
#define IPIPTRACE_MULTI_H

#include "ip.h"
#include "netfilter.h"
#include "socket.h"
#include "route.h"
#include "drop.h"

/* A cookie, from its lowest bits on; tracer/multi.go makes it. */
static __always_inline struct watched unpack(__u64 cookie)
{
	struct watched w = {
		.place = cookie & 0xff,
		.skb_arg = cookie >> 8 & 0xf,
		.sk_arg = cookie >> 12 & 0xf,
		.begins = cookie >> 16 & 0x1,
		.called = cookie >> 17 & 0x1,
		.aux = cookie >> 32,
	};

	return w;
}

#define ARG(number, type) ((type)kprobe_arg(ctx, number))

SEC("kprobe.multi/ip_local_deliver")
int multi_seen(struct pt_regs *ctx)
{
	struct watched w = unpack(bpf_get_attach_cookie(ctx));
	struct sock *sk = NULL;
	struct sk_buff *skb;
	struct track *t;

	switch (w.place) {
	case PLACE_NF_HOOK_SLOW:
		return hook_begins(ARG(0, struct sk_buff *), ARG(1, struct nf_hook_state *));
	case PLACE_NFT_RULE:
		return nft_rule(ARG(0, struct nft_expr *), ARG(2, struct nft_pktinfo *), w.aux);
	case PLACE_NFT_RESULT:
		return nft_begins(ARG(0, struct nft_expr *), ARG(1, struct nft_regs *),
				  ARG(2, struct nft_pktinfo *), PT_REGS_SP_CORE(ctx));
	case PLACE_IP_LOCAL_OUT:
		return local_out(ARG(0, struct net *), ARG(2, struct sk_buff *));
	case PLACE_IP_ROUTE_OUTPUT:
		return route_begins(ARG(0, struct net *), ARG(1, struct flowi4 *),
				    PT_REGS_SP_CORE(ctx));
	case PLACE_TCP_CONN_REQUEST:
		return w.called ? make_synack() : conn_request(ARG(3, struct sk_buff *));
	case PLACE_TCP_DEFER_ACCEPT:
		return check_req(ARG(0, struct sock *), ARG(1, struct sk_buff *),
				 ARG(2, struct request_sock *));
	case PLACE_TCP_DROP:
		return tcp_drop(ctx, ARG(0, struct sk_buff *));
	case PLACE_ICMP_SEND:
		return answer_icmp(ARG(0, struct sk_buff *), ARG(1, int), ARG(2, int));
	}
	skb = ARG(w.skb_arg, struct sk_buff *);
	t = known(skb);
	if (!t)
		return 0;
	if (w.sk_arg)
		sk = ARG(w.sk_arg - 1, struct sock *);
	return pass(skb, t, w.place, w.aux, sk, w.begins);
}

SEC("kretprobe.multi/ip_local_deliver")
int multi_returned(struct pt_regs *ctx)
{
	struct watched w = unpack(bpf_get_attach_cookie(ctx));

	switch (w.place) {
	case PLACE_NFT_RESULT:
		return nft_returns(PT_REGS_SP_CORE(ctx));
	case PLACE_IP_ROUTE_OUTPUT:
		return route_returns(PT_REGS_RC_CORE(ctx), PT_REGS_SP_CORE(ctx));
	}
	return returned(w.place, PT_REGS_RC_CORE(ctx));
}

/* A symbol that user space asks for: attaching by address spares the kernel the search through all its symbols. */
struct symbol {
	char name[56];
	__u64 address; /* out */
};

SEC("syscall")
int find_symbol(struct symbol *ctx)
{
	char name[sizeof(ctx->name)];
	__u64 address = 0;

	__builtin_memcpy(name, ctx->name, sizeof(name));
	name[sizeof(name) - 1] = 0;
	if (bpf_kallsyms_lookup_name(name, sizeof(name), 0, &address))
		return 1;
	ctx->address = address;
	return 0;
}

#endif
