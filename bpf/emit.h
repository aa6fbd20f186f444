/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a sighting to a record in the ring: reserve, fill, submit. Every record that finds no room counts. */
#ifndef IPIPTRACE_EMIT_H
#define IPIPTRACE_EMIT_H

#include "track.h"

/* What a place has to say beside "the packet was here". */
struct sighting {
	__u32 place;
	__u32 flags;
	__s32 value;
	__u32 aux;
	__u64 peer;
};

static __always_inline void fill_event(struct event *e, __u32 size, __u64 skb,
				       const struct track *t, const struct sighting *s)
{
	e->size = size;
	e->place = s->place;
	e->flags = s->flags;
	e->value = s->value;
	e->time = s->flags & EVENT_FIRST ? t->seen : bpf_ktime_get_ns();
	e->skb = skb;
	e->seen = t->seen;
	e->id = t->id;
	e->peer = s->peer;
	e->netns = t->netns;
	e->ifindex = t->ifindex;
	e->cpu = bpf_get_smp_processor_id();
	e->aux = s->aux;
}

static __always_inline void emit(__u64 skb, const struct track *t, const struct sighting *s)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		count(&counters.lost);
		return;
	}
	fill_event(e, sizeof(*e), skb, t, s);
	bpf_ringbuf_submit(e, 0);
}

static __always_inline void fill_header(struct ip_header *to, const struct ipv4 *from)
{
	to->saddr = from->saddr;
	to->daddr = from->daddr;
	to->id = from->id;
	to->len = from->tot_len;
	to->frag = from->frag_off;
	*(__u16 *)&to->ttl = *(const __u16 *)&from->ttl; /* and protocol */
}

static __always_inline void fill_packet(struct packet_section *s, struct sk_buff *skb,
					struct net_device *dev, const struct packet *p)
{
	struct skb_shared_info *shared = (void *)(BPF_CORE_READ(skb, head) +
						  BPF_CORE_READ(skb, end));
	bool udp = p->inner.protocol == IPPROTO_UDP;
	const __u8 *icmp; /* type and code */

	s->section.type = SECTION_PACKET;
	s->section.size = sizeof(*s);
	s->section.flags = p->flags;
	bpf_probe_read_kernel_str(s->dev, sizeof(s->dev), dev->name);
	fill_header(&s->outer, &p->outer);
	fill_header(&s->inner, &p->inner);
	s->sport = p->l4.tcp.sport;
	s->dport = p->l4.tcp.dport;
	if (p->inner.protocol == IPPROTO_TCP) {
		s->seq = p->l4.tcp.seq;
		s->ack = p->l4.tcp.ack;
		s->tcp_flags = p->l4.tcp.flags;
	} else {
		s->seq = 0;
		s->ack = 0;
		s->tcp_flags = 0;
	}
	icmp = p->flags & PACKET_QUOTED ? &p->icmp_type : &p->l4.icmp.type;
	s->icmp_type = icmp[0];
	s->icmp_code = icmp[1];
	s->pad = 0;
	s->udp_len = udp ? p->l4.udp.len : 0;
	s->segments = BPF_CORE_READ(shared, gso_segs);
	s->skb_len = BPF_CORE_READ(skb, len);
	*(__u64 *)&s->outer_sport = *(const __u64 *)&p->outer_sport; /* outer_dport and zero, too */
}

/* The device that a packet is to leave by, before it is told so. */
static __always_inline struct net_device *dst_dev(struct sk_buff *skb)
{
	struct dst_entry *dst = (struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & ~7UL);

	return BPF_CORE_READ(dst, dev);
}

struct packet_record {
	struct event event;
	struct packet_section packet;
};

static __always_inline void emit_packet(struct sk_buff *skb, struct net_device *dev,
					const struct packet *p, const struct track *t,
					const struct sighting *s)
{
	struct packet_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);

	if (!r) {
		count(&counters.lost);
		return;
	}
	fill_event(&r->event, sizeof(*r), (__u64)skb, t, s);
	fill_packet(&r->packet, skb, dev, p);
	bpf_ringbuf_submit(r, 0);
}

/* This CPU begins a call with the packet. */
static __always_inline struct call *begin(__u32 place, struct sk_buff *skb, const struct track *t)
{
	struct call *call = call_of(place);

	if (call) {
		call->skb = (__u64)skb;
		call->seen = t->seen;
	}
	return call;
}

/*
 * Is it this call that returns? Softirqs interrupt tasks, which may be moved to another CPU: each has a stack of its
 * own, and a call that nests lies deeper on it. The other calls say nothing then.
 */
static __always_inline bool returns_from(const struct call *call, __u64 stack)
{
	return stack - call->stack <= 2 * sizeof(__u64);
}

#endif
