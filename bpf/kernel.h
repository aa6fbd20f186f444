/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types and fields that we touch, cut by hand. CO-RE moves every access to where the running
 * kernel has the field, so order and neighbours do not matter here; names and meaning do.
 */
#ifndef IPIPTRACE_KERNEL_H
#define IPIPTRACE_KERNEL_H

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* Only the map types and flags in use; values are uapi. */
enum { BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_LRU_HASH = 9, BPF_MAP_TYPE_RINGBUF = 27 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };

#define __VMLINUX_H__ /* bpf_tracing.h: registers by their kernel names */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs { /* amd64 */
	unsigned long di, si, dx, cx, r8, r9, ax, sp, ip, bp;
};

struct ns_common {
	unsigned int inum; /* what `stat -L /proc/self/ns/net` shows as inode */
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct list_head {
	struct list_head *next; /* itself if the list is empty */
};

struct net_device {
	char name[16];
	struct list_head
		ptype_specific; /* who wants packets of one protocol that come in by this device */
	int ifindex;
	possible_net_t nd_net;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	unsigned long _skb_refdst; /* struct dst_entry *, flags in the low bits */
	struct net_device *dev; /* NULL in the TCP socket code, another union member in UDP's queue */
	unsigned int len; /* of the whole packet from data on */
	unsigned int data_len; /* of that in page fragments, not in the linear part */
	struct sk_buff *prev; /* in a queue */
	struct sock *sk; /* who has it, or may have it (early demux) */
	__u16 network_header; /* offset from head */
	__u16 transport_header;
	unsigned int end; /* offset from head: skb_shared_info begins there (64-bit kernels) */
	unsigned char *head;
	unsigned char *data;
};

struct skb_shared_info {
	unsigned short gso_segs;
};

struct sock_common {
	__be32 skc_daddr; /* the peer */
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	unsigned short skc_family;
	possible_net_t skc_net;
};

typedef struct {
	int counter;
} atomic_t;

struct sk_buff_head {
	struct sk_buff *prev;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	__u16 sk_type; /* as in socket(2) */
	__u16 sk_protocol; /* a bit field before 5.6 */
	atomic_t sk_drops; /* tcp_drop counts here before it frees */
};

struct inet_sock {
	__be16 inet_sport; /* the local port; stays when the socket has given it back, skc_num does not */
};

struct tcp_options_received {
	__u32 ts_recent; /* the last timestamp that was good */
	__u32 rcv_tsval; /* of the segment that is being looked at, if saw_tstamp */
	__u16 saw_tstamp : 1;
};

/* The receive window ends at rcv_wup + rcv_wnd (tcp_receive_window). */
struct tcp_sock {
	struct tcp_options_received rx_opt;
	__u32 rcv_wup;
	__u32 rcv_wnd;
};

struct request_sock_queue {
	__u8 rskq_defer_accept; /* how many timeouts a request without data may wait */
};

/* A listener's, too. */
struct inet_connection_sock {
	struct request_sock_queue icsk_accept_queue;
};

struct request_sock {
	__u8 num_timeout : 7;
};

struct tcp_request_sock {
	__u32 rcv_isn; /* the SYN's sequence number */
};

struct flowi_common {
	__u8 flowic_proto;
};

union flowi_uli {
	struct {
		__be16 dport;
		__be16 sport;
	} ports;
};

/* What a route is looked up for. */
struct flowi4 {
	struct flowi_common __fl_common;
	__be32 saddr; /* 0: the route decides */
	__be32 daddr;
	union flowi_uli uli;
};

struct nf_hook_state {
	unsigned int hook; /* enum nf_inet_hooks; a byte since 5.17 */
	__u8 pf;
};

#pragma clang attribute pop

#define AF_INET 2
#define AF_PACKET 17
#define SOCK_RAW 3
#define IPPROTO_ICMP 1
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_GRE 47
#define ETH_P_IP 0x0800
#define IP_OFFSET 0x1fff
#define IP_MF 0x2000
#define UDP_LEN 8
#define GUE_NOT_DATA 0xe0 /* another version, or a control message */
#define GUE_LENGTH 0x1f /* of what follows the first four bytes, in words */
#define GRE_CSUM 0x8000
#define GRE_KEY 0x2000
#define GRE_SEQ 0x1000
#define GRE_VERSION 0x0007
#define MAX_ERRNO 4095

#endif
