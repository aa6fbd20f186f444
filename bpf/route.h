/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The way back of a datagram. Where there is none the system call fails and no packet ever comes into
 * being: the lookup is the only place that shows it. (TCP's SYN/ACK: tcp_conn_request.)
 */
#ifndef IPIPTRACE_ROUTE_H
#define IPIPTRACE_ROUTE_H

#include "socket.h"

/* Read as the request that it would have answered. A socket that leaves its address to the route has none yet. */
static __always_inline bool answer_of(struct packet *p, struct flowi4 *fl4)
{
	p->flags = PACKET_FLOW | PACKET_PORTS;
	p->inner.protocol = IPPROTO_UDP;
	p->inner.saddr = BPF_CORE_READ(fl4, daddr);
	p->inner.daddr = BPF_CORE_READ(fl4, saddr);
	if (!p->inner.daddr && config.vip_count == 1)
		p->inner.daddr = config.vips[0];
	p->l4.tcp.sport = BPF_CORE_READ(fl4, uli.ports.dport);
	p->l4.tcp.dport = BPF_CORE_READ(fl4, uli.ports.sport);
	return matches(p);
}

static __always_inline bool is_datagram(struct flowi4 *fl4)
{
	return BPF_CORE_READ(fl4, __fl_common.flowic_proto) == IPPROTO_UDP;
}

static __always_inline int no_route(struct net *net, struct flowi4 *fl4, __u64 found)
{
	struct sighting s = { .place = PLACE_IP_ROUTE_OUTPUT,
			      .flags = EVENT_RETURN,
			      .value = found };
	struct track none = {};
	struct packet p = {};

	if (!ready || found < (__u64)-MAX_ERRNO)
		return 0;
	if (!is_datagram(fl4) || !answer_of(&p, fl4))
		return 0;
	none.netns = BPF_CORE_READ(net, ns.inum);
	if (!config.netns || none.netns == config.netns)
		emit_flow(&p, &none, 0, &s);
	return 0;
}

SEC("fexit/ip_route_output_flow")
int BPF_PROG(fexit_route_output, struct net *net, struct flowi4 *fl4, void *sk, void *found)
{
	return no_route(net, fl4, (__u64)found);
}

static __always_inline int route_begins(struct net *net, struct flowi4 *fl4, __u64 stack)
{
	struct call *call;

	if (!ready || !is_datagram(fl4))
		return 0;
	call = call_of(PLACE_IP_ROUTE_OUTPUT);
	if (call) {
		call->skb = (__u64)net;
		call->sk = (__u64)fl4;
		call->stack = stack;
	}
	return 0;
}

static __always_inline int route_returns(__u64 found, __u64 stack)
{
	struct call *call;

	if (!ready || found < (__u64)-MAX_ERRNO)
		return 0;
	call = call_of(PLACE_IP_ROUTE_OUTPUT);
	if (!call || !call->skb || !returns_from(call, stack))
		return 0;
	no_route((struct net *)call->skb, (struct flowi4 *)call->sk, found);
	call->skb = 0;
	return 0;
}

SEC("kprobe/ip_route_output_flow")
int BPF_KPROBE(kprobe_route_output, struct net *net, struct flowi4 *fl4)
{
	return route_begins(net, fl4, PT_REGS_SP_CORE(ctx));
}

SEC("kretprobe/ip_route_output_flow")
int BPF_KRETPROBE(kretprobe_route_output, __u64 found)
{
	return route_returns(found, PT_REGS_SP_CORE(ctx));
}

#endif
