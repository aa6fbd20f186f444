/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Is the packet at a place one that we know, in this sk_buff or in another one?
 *
 * A packet socket for one protocol on one device is asked behind IP (ptype_specific): it gets the sk_buff that came, and
 * ip_rcv_core goes on in a clone (skb_share_check). No place sees that happen.
 */
#ifndef IPIPTRACE_KNOWN_H
#define IPIPTRACE_KNOWN_H

#include "emit.h"

/* A clone that a packet socket or a raw socket has is not the one in which the packet goes on. */
static __always_inline bool is_of_tap(struct sk_buff *skb)
{
	struct sock *sk = BPF_CORE_READ(skb, sk);

	return sk && (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_PACKET ||
		      BPF_CORE_READ(sk, sk_type) == SOCK_RAW);
}

/*
 * Is the sk_buff at this address a clone of the packet that this CPU took in last, whose own a tap may have? Then the
 * packet is known by it from here on. A clone's data lie where its original's do.
 *
 * A global function: the verifier looks at it once, and not in every program.
 */
__noinline int goes_on_in(__u64 address)
{
	struct sighting s = { .place = PLACE_CLONED, .flags = EVENT_FIRST };
	struct sk_buff *skb = (void *)address;
	struct call *call = call_of(PLACE_CLONED);
	struct net_device *dev;
	struct track *from, *old, now = {};
	struct packet p = {};
	__u64 head;

	if (!call || !call->head || call->skb == address)
		return 0;
	head = (__u64)BPF_CORE_READ(skb, head);
	if (call->head != head || is_of_tap(skb))
		return 0;
	from = find(call->skb);
	if (!from || from->seen != call->seen ||
	    !parse(&p, (void *)(head + BPF_CORE_READ(skb, network_header))))
		return 0;
	name(&now, &p);
	if (!is_still(from, &now, true, p.inner.protocol))
		return 0;
	old = look_up(address);
	if (old && old->core == now.core)
		return 0; /* a copy that goes its own way: a door has seen it */
	now.id = from->id;
	now.seen = bpf_ktime_get_ns();
	now.ifindex = from->ifindex;
	now.netns = from->netns;
	now.tunnelled = !!(p.flags & PACKET_TUNNELLED);
	now.last = from->last;
	s.peer = call->skb;
	forget(call->skb);
	call->head = 0;
	begin(0, skb, &now);
	if (bpf_map_update_elem(&tracked, &address, &now, BPF_ANY)) {
		count(&counters.untracked);
		return 0;
	}
	if (old)
		s.flags |= EVENT_REUSED;
	else
		__sync_fetch_and_add(&in_flight, 1);
	dev = BPF_CORE_READ(skb, dev);
	emit_packet(skb, dev ? dev : dst_dev(skb), &p, &now, &s);
	return 1;
}

/*
 * The packet at a place that only knows its address, where following() says that there may be one. No comparison: an
 * address that found a new owner passed a place that parses on its way here, unless it is that of a clone which a tap has
 * left to IP: what is known by it then is a packet of before.
 */
static __always_inline struct track *known_of_some(struct sk_buff *skb)
{
	struct track *t = look_up((__u64)skb);

	if (taps && goes_on_in(address_of(skb)))
		t = look_up((__u64)skb);
	return t;
}

static __always_inline struct track *known(struct sk_buff *skb)
{
	return following() ? known_of_some(skb) : NULL;
}

/*
 * The same where the address may have come back with something that is no packet of ours, or none at all.
 * p is what the packet looks like now; `changed` is set if NAT has been at it.
 */
static __always_inline struct track *known_as(struct sk_buff *skb, struct packet *p, bool *changed)
{
	struct track *t = known(skb), now = {};

	if (!t)
		return NULL;
	if (parse(p, BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header))) {
		name(&now, p);
		*changed = !same_ends(&t->ends, &now.ends);
		if (is_still(t, &now, true, p->inner.protocol))
			return t;
	}
	forget((__u64)skb);
	return NULL;
}

static __always_inline struct track *known_for_sure(struct sk_buff *skb)
{
	struct packet p = {};
	bool changed;

	return known_as(skb, &p, &changed);
}

/* The packet was at a place that only says so. begins: see struct watched. */
static __always_inline int pass(struct sk_buff *skb, struct track *t, __u32 place, __u32 aux,
				struct sock *sk, bool begins)
{
	struct sighting s = { .place = place, .aux = aux };
	struct call *call;

	t->last = place;
	emit((__u64)skb, t, &s);
	if (!begins)
		return 0;
	call = begin(place, skb, t);
	if (call && sk && !config.has_reason) {
		call->sk = (__u64)sk;
		call->drops = BPF_CORE_READ(sk, sk_drops.counter);
	}
	return 0;
}

/* The same of a program that serves one place. */
static __always_inline int see(struct sk_buff *skb, __u32 place)
{
	struct track *t = known(skb);

	return t ? pass(skb, t, place, 0, NULL, instance.begins) : 0;
}

#endif
