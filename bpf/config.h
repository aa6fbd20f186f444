/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What user space decides before a program is loaded. The verifier treats it as constant: unused branches cost nothing. */
#ifndef IPIPTRACE_CONFIG_H
#define IPIPTRACE_CONFIG_H

#include "event.h"

#define MAX_VIPS 16
#define MAX_PORTS 16

struct settings {
	__be32 vips[MAX_VIPS];
	__be16 ports[MAX_PORTS];
	__u32 vip_count;
	__u32 port_count; /* 0: every port */
	__be32 client; /* network address of the peers */
	__be32 client_mask; /* 0: everybody */
	__u32 netns; /* inode number, 0: all */
	__u32 proto; /* IP protocol number, 0: any */
	__u32 has_reason; /* the kfree_skb tracepoint has a reason as third argument */
	__u32 has_location; /* the consume_skb tracepoint says where, as second argument */
};

/* The instance of a program that several places share. */
struct watched {
	__u32 place; /* enum place */
	__u32 skb_arg; /* which argument is the packet, from 0 */
	__u32 begins; /* what the call is at is needed later: when it returns, or when the packet is freed in it */
	__u32 args; /* how many arguments the function has: fexit finds the return value behind them */
	__u32 aux; /* what the place says beside that the packet was there: see enum place */
	__u32 sk_arg; /* which argument is the socket that takes the packet, from 1; 0: none */
	__u32 called; /* it is the function that the place's own calls */
};

const volatile struct settings config;
const volatile struct watched instance;

#endif
