/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Netfilter: nf_hook_slow runs the hooks of one point; it is not called where there are none. */
#ifndef IPIPTRACE_NETFILTER_H
#define IPIPTRACE_NETFILTER_H

#include "emit.h"

/* The hook number became a byte in 5.17 (commit 6802db48fc27): read as many bytes as this kernel has. */
static __always_inline __u32 hook_of(struct nf_hook_state *state)
{
	__u8 byte;

	if (bpf_core_field_size(state->hook) == sizeof(__u32))
		return BPF_CORE_READ(state, hook);
	bpf_core_read(&byte, sizeof(byte), &state->hook);
	return byte;
}

/* fexit alone: calls nest (a hook may send a packet of its own), so the entry cannot be remembered per CPU. */
SEC("fexit/nf_hook_slow")
int BPF_PROG(fexit_nf_hook_slow, struct sk_buff *skb, struct nf_hook_state *state, void *entries,
	     unsigned int s, int ret)
{
	struct sighting what = { .place = PLACE_NF_HOOK_SLOW, .flags = EVENT_RETURN, .value = ret };
	struct track *t = known(skb);

	if (!t)
		return 0;
	t->last = PLACE_NF_HOOK_SLOW;
	what.aux = hook_of(state) | BPF_CORE_READ(state, pf) << 8;
	emit((__u64)skb, t, &what);
	return 0;
}

SEC("kprobe/nf_hook_slow")
int BPF_KPROBE(kprobe_nf_hook_slow, struct sk_buff *skb, struct nf_hook_state *state)
{
	struct sighting what = { .place = PLACE_NF_HOOK_SLOW };
	struct track *t = known(skb);

	if (!t)
		return 0;
	t->last = PLACE_NF_HOOK_SLOW;
	what.aux = hook_of(state) | BPF_CORE_READ(state, pf) << 8;
	emit((__u64)skb, t, &what);
	return 0;
}

#endif
