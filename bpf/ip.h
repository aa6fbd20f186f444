/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Places that only say "the packet was here", and those that also say what became of the call. One
 * program each and kind, made into an instance per kernel function by tracer/probe.go.
 */
#ifndef IPIPTRACE_IP_H
#define IPIPTRACE_IP_H

#include "emit.h"

SEC("fentry/ip_local_deliver")
int fentry_seen(__u64 *ctx)
{
	switch (instance.skb_arg) {
	case 0:
		return see((struct sk_buff *)ctx[0], instance.place);
	case 1:
		return see((struct sk_buff *)ctx[1], instance.place);
	default:
		return see((struct sk_buff *)ctx[2], instance.place);
	}
}

SEC("kprobe/ip_local_deliver")
int kprobe_seen(struct pt_regs *ctx)
{
	switch (instance.skb_arg) {
	case 0:
		return see((struct sk_buff *)PT_REGS_PARM1_CORE(ctx), instance.place);
	case 1:
		return see((struct sk_buff *)PT_REGS_PARM2_CORE(ctx), instance.place);
	default:
		return see((struct sk_buff *)PT_REGS_PARM3_CORE(ctx), instance.place);
	}
}

/* The places whose return ends a journey: the packet is the socket's now, whatever its address is used for next. */
static __always_inline bool is_end(__u32 place, __s32 value, __u32 last)
{
	switch (place) {
	case PLACE_TCP_V4_RCV:
		return last != PLACE_TCP_ADD_BACKLOG; /* there it waits for tcp_v4_do_rcv */
	case PLACE_TCP_V4_DO_RCV:
		return true;
	case PLACE_UDP_QUEUE_RCV:
		return value == 0;
	default:
		return false;
	}
}

/*
 * A function that see() saw beginning on this CPU has returned. Softirqs do not nest on a CPU, so there
 * is one call of each under way; the packet itself may be gone by now and is not touched.
 */
static __always_inline int returned(__u32 place, __s32 value)
{
	struct sighting s = { .place = place, .flags = EVENT_RETURN, .value = value };
	struct call *call;
	struct track *t;

	if (!counters.in_flight)
		return 0;
	call = call_of(place < CALLS ? place : 0);
	if (!call || !call->skb)
		return 0;
	t = find(call->skb);
	if (t && t->seen == call->seen) {
		emit(call->skb, t, &s);
		if (is_end(place, value, t->last))
			forget(call->skb);
	}
	call->skb = 0;
	return 0;
}

/* The return value stands behind the arguments. */
SEC("fexit/ip_local_deliver")
int fexit_returned(__u64 *ctx)
{
	switch (instance.args) {
	case 1:
		return returned(instance.place, ctx[1]);
	case 2:
		return returned(instance.place, ctx[2]);
	case 3:
		return returned(instance.place, ctx[3]);
	case 4:
		return returned(instance.place, ctx[4]);
	default:
		return returned(instance.place, ctx[5]);
	}
}

SEC("kretprobe/ip_local_deliver")
int kretprobe_returned(struct pt_regs *ctx)
{
	return returned(instance.place, PT_REGS_RC_CORE(ctx));
}

#endif
