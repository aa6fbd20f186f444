/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The end of a packet. Both tracepoints fire for the last reference only; silent frees have no event at all. */
#ifndef IPIPTRACE_DROP_H
#define IPIPTRACE_DROP_H

#include "emit.h"

struct drop_record {
	struct event event;
	struct drop_section drop;
};

/* The third argument, the reason, came with 5.17 (commit c504e5c2f964); user space knows from BTF. */
SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sighting s = { .place = PLACE_KFREE_SKB };
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct track *t = known_for_sure(skb);
	struct drop_record *r;
	long bytes;

	if (!t)
		return 0;
	if (config.has_reason)
		s.value = ctx[2];
	r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	if (r) {
		fill_event(&r->event, sizeof(*r), (__u64)skb, t, &s);
		r->drop.section.type = SECTION_DROP;
		r->drop.section.size = sizeof(r->drop);
		r->drop.section.flags = 0;
		r->drop.location = ctx[1];
		bytes = bpf_get_stack(ctx, r->drop.stack, sizeof(r->drop.stack), 0);
		r->drop.depth = bytes > 0 ? bytes / 8 : 0;
		bpf_ringbuf_submit(r, 0);
	} else {
		count(&counters.lost);
	}
	forget((__u64)skb);
	return 0;
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
