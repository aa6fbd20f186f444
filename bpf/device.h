/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where packets come into the kernel and leave it. Only these places parse: they give a packet its identity. */
#ifndef IPIPTRACE_DEVICE_H
#define IPIPTRACE_DEVICE_H

#include "known.h"

static __always_inline void count_other(const struct packet *p)
{
	struct destination d = {
		.addr = p->inner.daddr,
		.port = p->flags & PACKET_PORTS ? p->l4.tcp.dport : 0,
		.protocol = p->inner.protocol,
		.tunnelled = !!(p->flags & PACKET_TUNNELLED),
	};
	__u64 one = 1, *n;

	n = bpf_map_lookup_elem(&others, &d);
	if (n)
		count(n);
	else
		bpf_map_update_elem(&others, &d, &one, BPF_NOEXIST);
}

/* __ip_local_out writes the length into the header behind the point where we look. */
static __always_inline void set_length(struct packet *p, struct sk_buff *skb)
{
	struct ipv4 *ip = p->flags & PACKET_TUNNELLED ? &p->outer : &p->inner;

	if (!ip->tot_len)
		ip->tot_len = __builtin_bswap16(BPF_CORE_READ(skb, len));
}

/* Where a packet is. */
struct spot {
	struct net_device *dev;
	__u32 ifindex;
	__u32 netns;
	const unsigned char *ip; /* its IP header */
};

/* A tap may get the sk_buff of what comes in by the device, of which the verifier knows the type. */
static __always_inline bool may_be_tapped(struct net_device *dev)
{
	return dev->ptype_specific.next != &dev->ptype_specific;
}

/* This CPU takes a packet in. */
static __always_inline void take_in(struct sk_buff *skb, const struct track *t)
{
	struct call *call;

	begin(0, skb, t);
	if (!t->tapped)
		return;
	call = begin(PLACE_CLONED, skb, t);
	if (call)
		call->head = (__u64)BPF_CORE_READ(skb, head);
	if (!taps)
		taps = 1;
}

/* A packet is given an identity, or the one it has is confirmed. */
static __always_inline int meet(struct sk_buff *skb, const struct spot *at, __u32 place)
{
	struct sighting s = { .place = place };
	struct packet p = {};
	struct track *t, fresh = {};
	__u64 key = (__u64)skb;
	bool ours, still = false;

	if (!ready)
		return 0;
	ours = parse(&p, at->ip);
	if (ours && place == PLACE_NETIF_RECEIVE_SKB && p.flags & PACKET_TUNNELLED &&
	    p.outer.protocol == IPPROTO_IPIP)
		count(&counters.ipip);
	t = find(key);
	if (t && ours) {
		name(&fresh, &p);
		still = !(p.flags & PACKET_QUOTED) &&
			is_still(t, &fresh, place == PLACE_NET_DEV_QUEUE, p.inner.protocol);
	}
	if (!ours && place == PLACE_NETIF_RECEIVE_SKB && is_odd(&p.outer, &p.inner)) {
		count(&counters.ipip);
		if (!is_carrier(&p.outer))
			count(&counters.not_ipv4);
	}
	if (ours && !still && !matches(&p)) {
		if (place == PLACE_NETIF_RECEIVE_SKB && !counters.matched)
			count_other(&p);
		ours = false;
	}
	if (!ours) {
		if (t)
			forget(key); /* the address has found another owner */
		return 0;
	}
	if (place == PLACE_IP_LOCAL_OUT)
		set_length(&p, skb);
	if (place == PLACE_NETIF_RECEIVE_SKB && p.outer.protocol == IPPROTO_IPIP &&
	    p.flags & PACKET_TUNNELLED)
		carries(&p.outer);
	if (!t)
		name(&fresh, &p);
	fresh.ifindex = at->ifindex;
	fresh.netns = at->netns;
	fresh.tunnelled = !!(p.flags & PACKET_TUNNELLED);
	if (place == PLACE_NETIF_RECEIVE_SKB)
		fresh.tapped = may_be_tapped(at->dev);
	fresh.last = place;
	if (config.netns && fresh.netns != config.netns) {
		if (still) {
			s.place = PLACE_LEFT_NETNS;
			emit(key, t, &s);
		}
		if (t)
			forget(key);
		return 0;
	}
	if (still) {
		bool changed = t->ifindex != fresh.ifindex || t->netns != fresh.netns ||
			       t->tunnelled != fresh.tunnelled || !same_ends(&t->ends, &fresh.ends);

		fresh.id = t->id;
		fresh.seen = t->seen;
		*t = fresh;
		if (!changed) {
			emit(key, &fresh, &s);
			take_in(skb, &fresh);
			return 0;
		}
	} else {
		s.flags = EVENT_FIRST;
		fresh.seen = bpf_ktime_get_ns();
	}
	/* An ICMP error says how a packet ended. It is not followed itself. */
	if (!still && !(p.flags & PACKET_QUOTED)) {
		count(&counters.matched);
		if (bpf_map_update_elem(&tracked, &key, &fresh, BPF_ANY)) {
			count(&counters.untracked);
			return 0;
		}
		if (t)
			s.flags |= EVENT_REUSED;
		else
			__sync_fetch_and_add(&in_flight, 1);
	}
	emit_packet(skb, at->dev, &p, &fresh, &s);
	if (!(p.flags & PACKET_QUOTED))
		take_in(skb, &fresh);
	return 0;
}

/* The programs of tracepoints know the types of their arguments: they read without a helper's call. */
static __always_inline int meet_typed(struct sk_buff *skb, const unsigned char *ip, __u32 place)
{
	struct net_device *dev = skb->dev;
	struct spot at = {
		.dev = dev, .ifindex = dev->ifindex, .netns = dev->nd_net.net->ns.inum, .ip = ip
	};

	return meet(skb, &at, place);
}

/* The network header is set behind this tracepoint; data is the IP header unless there is a VLAN tag in front. */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(netif_receive_skb, struct sk_buff *skb)
{
	return meet_typed(skb, skb->data, PLACE_NETIF_RECEIVE_SKB);
}

static __always_inline int transmit(struct sk_buff *skb, __u32 place)
{
	return meet_typed(skb, skb->head + skb->network_header, place);
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(net_dev_queue, struct sk_buff *skb)
{
	return transmit(skb, PLACE_NET_DEV_QUEUE);
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(net_dev_start_xmit, struct sk_buff *skb)
{
	return see(skb, PLACE_NET_DEV_START_XMIT);
}

#define GRO_MERGED 0
#define GRO_MERGED_FREE 1

/* A tunnel's packets pass GRO once more (gro_cells). One that is merged there is freed without any event. */
SEC("tp_btf/napi_gro_receive_entry")
int BPF_PROG(napi_gro_receive_entry, struct sk_buff *skb)
{
	struct call *call = call_of(PLACE_GRO_MERGED);
	struct track *t = known_for_sure(skb);

	if (!call)
		return 0;
	call->skb = t ? (__u64)skb : 0;
	call->seen = t ? t->seen : 0;
	return 0;
}

SEC("tp_btf/napi_gro_receive_exit")
int BPF_PROG(napi_gro_receive_exit, int ret)
{
	struct sighting s = { .place = PLACE_GRO_MERGED, .value = ret };
	struct call *call = call_of(PLACE_GRO_MERGED);
	struct track *t;

	if (!call || !call->skb || (ret != GRO_MERGED && ret != GRO_MERGED_FREE))
		return 0;
	t = find(call->skb);
	if (!t || t->seen != call->seen)
		return 0;
	emit(call->skb, t, &s);
	forget(call->skb);
	return 0;
}

#endif
