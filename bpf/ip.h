/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Places that only say "the packet was here", and those that also say what became of the call. One
 * program each and kind, made into an instance per kernel function by tracer/probe.go.
 */
#ifndef IPIPTRACE_IP_H
#define IPIPTRACE_IP_H

#include "known.h"

/*
 * The argument of that number. The verifier knows the number: the other cases do not exist for it.
 * Assembler, because the compiler would compute an address in ctx, which the verifier does not take.
 */
static __always_inline __u64 fentry_arg(__u64 *ctx, __u32 number)
{
	__u64 arg;

	switch (number) {
	case 0:
		asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(arg) : "r"(ctx));
		return arg;
	case 1:
		asm volatile("%0 = *(u64 *)(%1 + 8)" : "=r"(arg) : "r"(ctx));
		return arg;
	case 2:
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(arg) : "r"(ctx));
		return arg;
	case 3:
		asm volatile("%0 = *(u64 *)(%1 + 24)" : "=r"(arg) : "r"(ctx));
		return arg;
	case 4:
		asm volatile("%0 = *(u64 *)(%1 + 32)" : "=r"(arg) : "r"(ctx));
		return arg;
	default:
		asm volatile("%0 = *(u64 *)(%1 + 40)" : "=r"(arg) : "r"(ctx));
		return arg;
	}
}

static __always_inline __u64 kprobe_arg(struct pt_regs *ctx, __u32 number)
{
	switch (number) {
	case 0:
		return PT_REGS_PARM1_CORE(ctx);
	case 1:
		return PT_REGS_PARM2_CORE(ctx);
	case 2:
		return PT_REGS_PARM3_CORE(ctx);
	default:
		return PT_REGS_PARM4_CORE(ctx);
	}
}

/* What most packets meet comes first: no packet is followed, or not this one. */
SEC("fentry/ip_local_deliver")
int fentry_seen(__u64 *ctx)
{
	struct sock *sk = NULL;
	struct sk_buff *skb;
	struct track *t;

	if (!following())
		return 0;
	skb = (struct sk_buff *)fentry_arg(ctx, instance.skb_arg);
	t = known_of_some(skb);
	if (!t)
		return 0;
	if (instance.sk_arg)
		sk = (struct sock *)fentry_arg(ctx, instance.sk_arg - 1);
	return pass(skb, t, instance.place, instance.aux, sk, instance.begins);
}

SEC("kprobe/ip_local_deliver")
int kprobe_seen(struct pt_regs *ctx)
{
	struct sock *sk = NULL;
	struct sk_buff *skb;
	struct track *t;

	if (!following())
		return 0;
	skb = (struct sk_buff *)kprobe_arg(ctx, instance.skb_arg);
	t = known_of_some(skb);
	if (!t)
		return 0;
	if (instance.sk_arg)
		sk = (struct sock *)kprobe_arg(ctx, instance.sk_arg - 1);
	return pass(skb, t, instance.place, instance.aux, sk, instance.begins);
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
 * A function that was seen beginning on this CPU has returned. Softirqs do not nest on a CPU, so there
 * is one call of each under way; the packet itself may be gone by now and is not touched.
 */
static __always_inline int returned(__u32 place, __u64 value)
{
	struct sighting s = { .place = place, .flags = EVENT_RETURN, .value = value };
	struct track *t, known;
	struct call *call;

	if (!following())
		return 0;
	call = call_of(place);
	if (!call || !call->skb)
		return 0;
	if (place == PLACE_TCP_CONN_REQUEST)
		s.value = call->answered;
	if (place == PLACE_IP_VS_SCHEDULE)
		s.value = value && value < (__u64)-MAX_ERRNO;
	t = find(call->skb);
	if (t && t->seen == call->seen) {
		known = *t;
		/* At once: another CPU may give the address to its next packet, which must not be forgotten. */
		if (is_end(place, value, known.last))
			forget(call->skb);
		emit(call->skb, &known, &s);
	}
	call->skb = 0;
	return 0;
}

/* The return value stands behind the arguments. */
SEC("fexit/ip_local_deliver")
int fexit_returned(__u64 *ctx)
{
	return returned(instance.place, fentry_arg(ctx, instance.args));
}

/* The same for a function that calls itself, in the end: the packet is known by the argument. */
SEC("fexit/ip_vs_in_hook")
int fexit_result(__u64 *ctx)
{
	struct sighting s = { .flags = EVENT_RETURN };
	struct sk_buff *skb;
	struct track *t;

	if (!following())
		return 0;
	skb = (struct sk_buff *)fentry_arg(ctx, instance.skb_arg);
	t = known_of_some(skb);
	if (!t)
		return 0;
	s.place = instance.place;
	s.value = fentry_arg(ctx, instance.args);
	emit((__u64)skb, t, &s);
	return 0;
}

SEC("kretprobe/ip_local_deliver")
int kretprobe_returned(struct pt_regs *ctx)
{
	return returned(instance.place, PT_REGS_RC_CORE(ctx));
}

#endif
