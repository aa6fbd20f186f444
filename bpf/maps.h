/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef IPIPTRACE_MAPS_H
#define IPIPTRACE_MAPS_H

#include "config.h"

/* Where a packet comes from and goes to: its inner header's. */
struct ends {
	__be32 saddr, daddr;
	__be16 sport, dport; /* 0 if it has none */
};

/* A packet that is followed. Key: the address of its sk_buff. */
struct track {
	__u64 seen; /* time of first sight */
	__u64 id; /* hash of core and of the ends at first sight */
	__u64 core; /* hash of what stays of the packet when its ends change */
	struct ends ends; /* as last looked at */
	__u32 ifindex; /* where it was last seen */
	__u32 netns;
	__u8 tunnelled; /* it had an outer header when last looked at */
	__u8 tapped; /* it came in by a device of which a tap may have it */
	__u16 last; /* enum place */
};

/* Many packets are freed without any event. What they leave behind goes when it is the oldest. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct track);
} tracked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries,
	       8 << 20); /* 5,000 packets with all their events; user space may change it */
} events SEC(".maps");

/* What a CPU is at: the calls that are under way, by place, and the packet that it last took in. */
struct call {
	__u64 skb;
	__u64 seen;
	__u64 sk; /* with instance.sk_arg: the socket, and how many packets it had dropped by then; nftables: the registers */
	__u32 drops;
	__u32 answered; /* tcp_conn_request: the SYN/ACK was handed on */
	__u64 stack; /* where softirqs and tasks both call: where this call's return address lies */
	__u64 expr; /* nftables: the expression */
	__u64 head; /* PLACE_CLONED, the packet last taken in whose sk_buff a tap may have: where its data lie */
};

#define CALLS 64 /* places below 64 can have their return watched; 0 is the packet last taken in */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CALLS);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

/* Where packets go that do not match: said when nothing does. */
struct destination {
	__be32 addr;
	__be16 port;
	__u8 protocol;
	__u8 tunnelled;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, struct destination);
	__type(value, __u64);
} others SEC(".maps");

/* Read by user space through a mapping of .bss, without a system call. */
struct counts {
	__u64 lost; /* events that did not fit into the ring */
	__u64 untracked; /* packets that matched and could not be followed */
	__u64 matched; /* packets that matched */
	__u64 ipip; /* IPIP packets that arrived */
	__u64 not_ipv4; /* of them those that carried no IPv4 packet, and came from no director of the service */
};

struct counts counters;

/*
 * Between whom IPIP has carried packets that match: the outer header's addresses, where their hash says. Of two pairs with
 * one hash the later one is known.
 */
#define CARRIERS_BITS 6
__u64 carriers[1 << CARRIERS_BITS];

/*
 * Set while the run lasts. Before every probe is attached a packet would be seen at half of its places; when the run
 * is to end, what is still coming would keep the ring from ever being empty.
 */
__u32 ready;

/*
 * Set once a packet came in by a device that somebody listens on for one protocol: from then on a sk_buff that is not
 * known may be a clone of one that is.
 */
__u32 taps;

/*
 * The number of tracked packets; too high where ends were silent, never too low. User space ends the run by a number
 * far below 0: from then on nothing is looked up, whatever calls that are under way still add to it.
 */
__s64 in_flight;

/* Is there any packet that a place could know? */
static __always_inline bool following(void)
{
	return in_flight > 0;
}

static __always_inline void count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

#endif
