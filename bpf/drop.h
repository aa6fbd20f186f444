/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The end of a packet. Both tracepoints fire for the last reference only; silent frees have no event at all. */
#ifndef IPIPTRACE_DROP_H
#define IPIPTRACE_DROP_H

#include "known.h"

struct drop_record {
	struct event event;
	struct drop_section drop;
};

/* The same with what the packet looks like: it was not seen before, or not like this. */
struct death_record {
	struct event event;
	struct packet_section packet;
	struct drop_section drop;
};

/* A location of 0 is the caller of the function that freed: user space finds it in the stack. */
static __always_inline void fill_drop(void *ctx, struct drop_section *s, __u64 location)
{
	long bytes;

	s->section.type = SECTION_DROP;
	s->section.size = sizeof(*s);
	s->section.flags = 0;
	s->location = location;
	bytes = bpf_get_stack(ctx, s->stack, sizeof(s->stack), 0);
	s->depth = bytes > 0 ? bytes / 8 : 0;
}

static __always_inline void emit_drop(void *ctx, struct sk_buff *skb, const struct track *t,
				      const struct sighting *s, __u64 location)
{
	struct drop_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);

	if (!r) {
		count(&counters.lost);
		return;
	}
	fill_event(&r->event, sizeof(*r), (__u64)skb, t, s);
	fill_drop(ctx, &r->drop, location);
	bpf_ringbuf_submit(r, 0);
}

/* The last of a packet, and what it looks like. */
static __always_inline void emit_last(void *ctx, struct sk_buff *skb, const struct track *t,
				      const struct packet *p, struct sighting *s, __u64 location)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct death_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);

	if (!r) {
		count(&counters.lost);
		return;
	}
	fill_event(&r->event, sizeof(*r), (__u64)skb, t, s);
	fill_packet(&r->packet, skb, dev ? dev : dst_dev(skb), p);
	fill_drop(ctx, &r->drop, location);
	bpf_ringbuf_submit(r, 0);
}

#define NO_HEADER 0xffff

/*
 * The packet that dies, if it is one of the service: it matches, or it is what a director of the service sent in IPIP and
 * is no IPv4 packet, or in GUE and was taken for FOU.
 */
static __always_inline bool read_dead(struct packet *p, const unsigned char *ip)
{
	__u8 kind = 0;
	int in_front;

	bpf_probe_read_kernel(&kind, sizeof(kind), ip);
	if (kind >> 4 != 4)
		ip -= gue_left(address_of(ip));
	if (parse(p, ip))
		return !(p->flags & PACKET_QUOTED) && matches(p);
	in_front = odd_outer(address_of(ip));
	if (in_front < 0 || !read_ip(&p->outer, ip - in_front))
		return false;
	__builtin_memset(&p->inner, 0, sizeof(p->inner));
	p->flags = PACKET_NO_INNER;
	return true;
}

/*
 * XDP, a full backlog and, where functions can't be watched, the hooks of output free packets that no
 * other place has seen. Whether it had a life before that is told by where it is freed: user space knows.
 */
static __always_inline int emit_death(void *ctx, struct sk_buff *skb, __u64 location, __s32 reason)
{
	struct sighting s = { .place = PLACE_KFREE_SKB, .flags = EVENT_FIRST, .value = reason };
	__u16 header = BPF_CORE_READ(skb, network_header);
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct track t = {};
	struct packet p = {};
	unsigned char *ip;

	if (!ready)
		return 0;
	ip = header && header != NO_HEADER ? BPF_CORE_READ(skb, head) + header
					   : BPF_CORE_READ(skb, data);
	if (!read_dead(&p, ip))
		return 0;
	if (!dev)
		dev = dst_dev(skb);
	/* In a socket's queue a datagram has neither device nor route left: 0 says that its namespace is not known. */
	t.netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
	if (config.netns && t.netns != config.netns && (t.netns || p.inner.protocol != IPPROTO_UDP))
		return 0;
	name(&t, &p);
	if (p.flags & PACKET_NO_INNER)
		t.id = mix(mix(p.outer.id, carrier_of(&p.outer)), p.outer.tot_len);
	t.ifindex = BPF_CORE_READ(dev, ifindex);
	t.seen = bpf_ktime_get_ns();
	emit_last(ctx, skb, &t, &p, &s, location);
	return 0;
}

/* The third argument, the reason, came with 5.17 (commit c504e5c2f964); user space knows from BTF. */
SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct sighting s = { .place = PLACE_KFREE_SKB, .value = config.has_reason ? ctx[2] : 0 };
	struct packet p = {};
	bool changed = false;
	struct track *t = known_as(skb, &p, &changed);

	if (!t)
		return emit_death(ctx, skb, ctx[1], s.value);
	if (changed)
		emit_last(ctx, skb, t, &p, &s, ctx[1]);
	else
		emit_drop(ctx, skb, t, &s, ctx[1]);
	forget((__u64)skb);
	return 0;
}

/* The packet's socket, if it has counted a drop in the call that this CPU is in. */
static __always_inline struct sock *socket_dropped(struct sk_buff *skb, const struct track *t,
						   __u32 place)
{
	struct call *call = call_of(place);
	struct sock *sk;

	if (!call || call->skb != (__u64)skb || call->seen != t->seen || !call->sk)
		return NULL;
	sk = (struct sock *)call->sk;
	return BPF_CORE_READ(sk, sk_drops.counter) != call->drops ? sk : NULL;
}

/* What tcp_validate_incoming minds, in its order. The option is still what the segment had. */
static __always_inline __u32 refusal(struct sock *sk, struct sk_buff *skb)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 end = BPF_CORE_READ(tp, rcv_wup) + BPF_CORE_READ(tp, rcv_wnd), seq;

	if (BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.saw_tstamp) &&
	    (__s32)(BPF_CORE_READ(tp, rx_opt.ts_recent) - BPF_CORE_READ(tp, rx_opt.rcv_tsval)) > 1)
		return TCP_REFUSAL_PAWS;
	if (tcp_seq(skb, &seq) && (__s32)(seq - end) > 0)
		return TCP_REFUSAL_SEQUENCE;
	return TCP_REFUSAL_UNSAID;
}

/*
 * Kernels without drop reasons free what TCP drops in silence: tcp_drop counts in the socket, then
 * __kfree_skb. What TCP has processed is freed there too, without being counted.
 */
static __always_inline int tcp_drop(void *ctx, struct sk_buff *skb)
{
	struct sighting s = { .place = PLACE_KFREE_SKB };
	struct track *t = known(skb);
	struct sock *sk;

	if (!t)
		return 0;
	sk = socket_dropped(skb, t, PLACE_TCP_V4_DO_RCV);
	if (!sk)
		sk = socket_dropped(skb, t, PLACE_TCP_CHILD_PROCESS);
	if (!sk)
		return 0;
	s.aux = refusal(sk, skb);
	emit_drop(ctx, skb, t, &s, 0);
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

/*
 * What a tap may have says where it is freed: by the tap it is nothing.
 *
 * Kernels that say so much (inet_frag_destroy, SKB_CONSUMED) free the fragments of a datagram that will never be
 * whole as if they had done their work: user space knows where that is.
 */
SEC("tp_btf/consume_skb")
int consume_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct sighting s = { .place = PLACE_CONSUME_SKB };
	struct packet p = {};
	bool changed;
	struct track *t = known_as(skb, &p, &changed);

	if (!t)
		return 0;
	if (t->tapped || (config.has_location && is_fragment(&p)))
		emit_drop(ctx, skb, t, &s, config.has_location ? ctx[1] : 0);
	else
		emit((__u64)skb, t, &s);
	forget((__u64)skb);
	return 0;
}

#endif
