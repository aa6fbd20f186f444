/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The end of a packet. Both tracepoints fire for the last reference only; silent frees have no event at all. */
#ifndef IPIPTRACE_DROP_H
#define IPIPTRACE_DROP_H

#include "emit.h"

struct drop_record {
	struct event event;
	struct drop_section drop;
};

/* A location of 0 is the caller of the function that freed: user space finds it in the stack. */
static __always_inline void emit_drop(void *ctx, struct sk_buff *skb, const struct track *t,
				      __u64 location, __s32 reason)
{
	struct sighting s = { .place = PLACE_KFREE_SKB, .value = reason };
	struct drop_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	long bytes;

	if (!r) {
		count(&counters.lost);
		return;
	}
	fill_event(&r->event, sizeof(*r), (__u64)skb, t, &s);
	r->drop.section.type = SECTION_DROP;
	r->drop.section.size = sizeof(r->drop);
	r->drop.section.flags = 0;
	r->drop.location = location;
	bytes = bpf_get_stack(ctx, r->drop.stack, sizeof(r->drop.stack), 0);
	r->drop.depth = bytes > 0 ? bytes / 8 : 0;
	bpf_ringbuf_submit(r, 0);
}

/* The third argument, the reason, came with 5.17 (commit c504e5c2f964); user space knows from BTF. */
SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct track *t = known_for_sure(skb);

	if (!t)
		return 0;
	emit_drop(ctx, skb, t, ctx[1], config.has_reason ? ctx[2] : 0);
	forget((__u64)skb);
	return 0;
}

/* Is this CPU in a call in which the packet's socket has counted a drop? */
static __always_inline bool socket_dropped(struct sk_buff *skb, const struct track *t, __u32 place)
{
	struct call *call = call_of(place);
	struct sock *sk;

	if (!call || call->skb != (__u64)skb || call->seen != t->seen || !call->sk)
		return false;
	sk = (struct sock *)call->sk;
	return BPF_CORE_READ(sk, sk_drops.counter) != call->drops;
}

/*
 * Kernels without drop reasons free what TCP drops in silence: tcp_drop counts in the socket, then
 * __kfree_skb. What TCP has processed is freed there too, without being counted.
 */
static __always_inline int tcp_drop(void *ctx, struct sk_buff *skb)
{
	struct track *t = known(skb);

	if (!t)
		return 0;
	if (!socket_dropped(skb, t, PLACE_TCP_V4_DO_RCV) &&
	    !socket_dropped(skb, t, PLACE_TCP_CHILD_PROCESS))
		return 0;
	emit_drop(ctx, skb, t, 0, 0);
	forget((__u64)skb);
	return 0;
}

SEC("fentry/__kfree_skb")
int BPF_PROG(fentry_tcp_drop, struct sk_buff *skb)
{
	return tcp_drop(ctx, skb);
}

SEC("kprobe/__kfree_skb")
int BPF_KPROBE(kprobe_tcp_drop, struct sk_buff *skb)
{
	return tcp_drop(ctx, skb);
}

SEC("tp_btf/consume_skb")
int BPF_PROG(consume_skb, struct sk_buff *skb)
{
	struct sighting s = { .place = PLACE_CONSUME_SKB };
	struct track *t = known_for_sure(skb);

	if (!t)
		return 0;
	emit((__u64)skb, t, &s);
	forget((__u64)skb);
	return 0;
}

#endif
