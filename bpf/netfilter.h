/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Netfilter: nf_hook_slow runs the hooks of one point; it is not called where there are none. And which rule
 * of nftables drops a packet.
 */
#ifndef IPIPTRACE_NETFILTER_H
#define IPIPTRACE_NETFILTER_H

#include "known.h"

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

static __always_inline int hook_begins(struct sk_buff *skb, struct nf_hook_state *state)
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

SEC("kprobe/nf_hook_slow")
int BPF_KPROBE(kprobe_nf_hook_slow, struct sk_buff *skb, struct nf_hook_state *state)
{
	return hook_begins(skb, state);
}

/*
 * nf_tables is a module, and not every kernel has the types of modules. So these are laid out as every kernel
 * since 4.14 has them; user space believes a handle only if the ruleset has such a rule.
 */
struct nft_pktinfo {
	struct sk_buff *skb;
};

struct nft_expr_ops {
	void *eval, *clone;
	__u32 size; /* of the struct nft_expr and what is behind it */
};

struct nft_regs {
	__u32 code; /* of the verdict: NFT_CONTINUE when a rule begins */
};

struct nft_expr {
	struct nft_expr_ops *ops;
	struct { /* nft_immediate_expr */
		__u32 code;
		__u64 chain;
		__u8 dreg;
	} immediate;
};

#define NF_DROP 0
#define NFT_REG_VERDICT 0

/* What an expression has to do with the verdict: aux of the places. */
enum nft_decides {
	NFT_ALWAYS = 0, /* it rejects */
	NFT_IMMEDIATE = 1, /* where its data say so */
};

/* 2 KiB of expressions are looked through, a few words at a time. */
#define NFT_RULE_WORDS 256
#define NFT_WORDS_AT_ONCE 16

#define RULE_IN_LIST(word) ((word) & ((1ULL << 42) - 1)) /* its handle */
#define RULE_IN_BLOB(word) ((word) >> 13 & ((1ULL << 42) - 1))

/* The kernel counts handles in 64 bits; 32 are enough for four thousand million rules. */
static __always_inline bool is_handle(__u64 handle)
{
	return handle && handle >> 32 == 0;
}

enum rule_header { NO_RULE, IN_LIST, IN_BLOB, UNREADABLE };

/*
 * What begins a rule with so many bytes of expressions, and lies in front of them:
 *
 *  struct nft_rule_dp, from 5.17 on: is_last:1, dlen:12, handle:42; behind it the next rule's, or the end.
 *  struct nft_rule: next, prev, handle:42, genmask:2, dlen:12; the next rule is in a list.
 *
 * A global function: the verifier looks at it once, and not again at every turn of the loop.
 */
__noinline int rule_header(__u64 at, __u32 length)
{
	__u64 word, next, back;

	if (bpf_probe_read_kernel(&word, sizeof(word), (void *)at))
		return UNREADABLE;
	if ((word >> 44 & 0xfff) == length && is_handle(RULE_IN_LIST(word))) {
		at -= 16;
		if (!bpf_probe_read_kernel(&next, sizeof(next), (void *)at) &&
		    !bpf_probe_read_kernel(&back, sizeof(back), (void *)(next + 8)) && back == at)
			return IN_LIST;
	}
	if ((word & 1) == 0 && (word >> 1 & 0xfff) == length && is_handle(RULE_IN_BLOB(word)))
		return IN_BLOB;
	return NO_RULE;
}

/* The same for some words, from `at` downwards: how many are not it in the upper bytes, enum rule_header in the lowest. */
__noinline __u32 rule_header_near(__u64 at, __u32 length)
{
	for (__u32 i = 0; i < NFT_WORDS_AT_ONCE; i++) {
		int header = rule_header(at - 8 * i, length + 8 * i);

		if (header != NO_RULE)
			return i << 8 | header;
	}
	return NFT_WORDS_AT_ONCE << 8 | NO_RULE;
}

/* The rule that ends with an expression, as those with a verdict do. Its header says how long it is. */
static __always_inline bool rule_that_ends(__u64 end, struct sighting *s)
{
	__u64 at = end - 8, word;
	__u32 header = NO_RULE;

	for (__u32 words = 0; words < NFT_RULE_WORDS; words += NFT_WORDS_AT_ONCE) {
		__u32 near = rule_header_near(at, words * 8);

		at -= 8 * (near >> 8);
		header = near & 0xff;
		if (header != NO_RULE)
			break;
	}
	if ((header != IN_LIST && header != IN_BLOB) ||
	    bpf_probe_read_kernel(&word, sizeof(word), (void *)at))
		return false;
	if (header == IN_LIST) {
		s->peer = RULE_IN_LIST(word);
		s->value = -1;
		return true;
	}
	s->peer = RULE_IN_BLOB(word);
	if (bpf_probe_read_kernel(&word, sizeof(word), (void *)end))
		return false;
	s->value = !(word & 1);
	if (s->value)
		s->aux = RULE_IN_BLOB(word);
	return true;
}

static __always_inline void rule_drops(const struct nft_expr *expr, __u64 skb, __u32 place)
{
	struct sighting s = { .place = place };
	struct nft_expr_ops *ops = NULL;
	struct track *t = find(skb);
	__u32 size = 0;

	if (!t)
		return;
	bpf_probe_read_kernel(&ops, sizeof(ops), &expr->ops);
	bpf_probe_read_kernel(&size, sizeof(size), &ops->size);
	if (rule_that_ends(address_of(expr) + size, &s))
		emit(skb, t, &s);
}

static __always_inline __u64 skb_of(const struct nft_pktinfo *pkt)
{
	__u64 skb = 0;

	bpf_probe_read_kernel(&skb, sizeof(skb), &pkt->skb);
	return skb;
}

/* Expressions whose verdict is known when they begin. */
static __always_inline int nft_rule(const struct nft_expr *expr, const struct nft_pktinfo *pkt,
				    __u32 decides)
{
	__u32 code = NF_DROP;
	__u8 dreg = NFT_REG_VERDICT;

	if (!following())
		return 0;
	if (decides == NFT_IMMEDIATE) {
		bpf_probe_read_kernel(&code, sizeof(code), &expr->immediate.code);
		bpf_probe_read_kernel(&dreg, sizeof(dreg), &expr->immediate.dreg);
	}
	if (code == NF_DROP && dreg == NFT_REG_VERDICT)
		rule_drops(expr, skb_of(pkt), PLACE_NFT_RULE);
	return 0;
}

SEC("fentry/nft_immediate_eval")
int BPF_PROG(fentry_nft_rule, struct nft_expr *expr, struct nft_regs *regs, struct nft_pktinfo *pkt)
{
	return nft_rule(expr, pkt, instance.aux);
}

SEC("kprobe/nft_immediate_eval")
int BPF_KPROBE(kprobe_nft_rule, struct nft_expr *expr, struct nft_regs *regs,
	       struct nft_pktinfo *pkt)
{
	return nft_rule(expr, pkt, instance.aux);
}

/* Those that have to be awaited: a map's element, an iptables target. */
static __always_inline int nft_result(const struct nft_expr *expr, const struct nft_regs *regs,
				      __u64 skb)
{
	__u32 code;

	if (!bpf_probe_read_kernel(&code, sizeof(code), &regs->code) && code == NF_DROP)
		rule_drops(expr, skb, PLACE_NFT_RESULT);
	return 0;
}

SEC("fexit/nft_lookup_eval")
int BPF_PROG(fexit_nft_result, struct nft_expr *expr, struct nft_regs *regs,
	     struct nft_pktinfo *pkt)
{
	if (!following())
		return 0;
	return nft_result(expr, regs, skb_of(pkt));
}

static __always_inline int nft_begins(struct nft_expr *expr, struct nft_regs *regs,
				      struct nft_pktinfo *pkt, __u64 stack)
{
	__u64 skb;
	struct call *call;

	if (!following())
		return 0;
	skb = skb_of(pkt);
	call = find(skb) ? call_of(PLACE_NFT_RESULT) : NULL;
	if (call) {
		call->skb = skb;
		call->sk = (__u64)regs;
		call->expr = (__u64)expr;
		call->stack = stack;
	}
	return 0;
}

static __always_inline int nft_returns(__u64 stack)
{
	struct call *call;
	__u64 skb;

	if (!following())
		return 0;
	call = call_of(PLACE_NFT_RESULT);
	if (!call || !call->skb || !returns_from(call, stack))
		return 0;
	skb = call->skb;
	call->skb = 0;
	return nft_result((struct nft_expr *)call->expr, (struct nft_regs *)call->sk, skb);
}

SEC("kprobe/nft_lookup_eval")
int BPF_KPROBE(kprobe_nft_result, struct nft_expr *expr, struct nft_regs *regs,
	       struct nft_pktinfo *pkt)
{
	return nft_begins(expr, regs, pkt, PT_REGS_SP_CORE(ctx));
}

SEC("kretprobe/nft_lookup_eval")
int kretprobe_nft_result(struct pt_regs *ctx)
{
	return nft_returns(PT_REGS_SP_CORE(ctx));
}

#endif
