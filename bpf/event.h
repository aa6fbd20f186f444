/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The contract between the halves: what the kernel half writes into the ring and tracer/decode.go reads.
 *
 * A record is a header of 64 bytes and, behind it, sections, each with its type and length. Records are
 * little-endian and 8-byte aligned. Addresses, ports and TCP numbers stay in network byte order up to
 * decode.go. Both halves assert the sizes.
 */
#ifndef IPIPTRACE_EVENT_H
#define IPIPTRACE_EVENT_H

/*
 * A place is a point in the kernel where a packet can be seen. The numbers are the recording format's
 * too: never renumber, only add. tracer/event/place.go has the same list with the names.
 */
enum place {
	PLACE_NONE = 0,

	/* device */
	PLACE_NETIF_RECEIVE_SKB = 1,
	PLACE_NET_DEV_QUEUE = 2,
	PLACE_NET_DEV_START_XMIT = 3,
	PLACE_NET_DEV_XMIT = 4, /* value: what the driver returned, 0 = taken */
	PLACE_GRO_MERGED = 5, /* value: enum gro_result; peer: the packet it became part of, if known */

	/*
	 * The packet goes on in this sk_buff, a clone; peer: the one that it came in, which a tap may have. Said at the
	 * first place that sees the clone.
	 */
	PLACE_CLONED = 6,

	/* IP */
	PLACE_IP_RCV = 10, /* ip_rcv_core: every IPv4 packet, single or in a list */
	PLACE_IP_ROUTE_INPUT = 11, /* value: what ip_route_input_noref returned, 0 = routed */
	PLACE_IP_LOCAL_DELIVER = 12,
	PLACE_IP_FORWARD = 13,
	PLACE_IP_ERROR = 14,
	PLACE_IP_DEFRAG = 15, /* value: 0 = whole again, -EINPROGRESS = waits for the rest */
	PLACE_IP_LOCAL_OUT = 16,
	PLACE_IP_ROUTE_OUTPUT = 17, /* skb 0; value: why no way was found for a datagram of the service, -errno */

	/* netfilter */
	PLACE_NF_HOOK_SLOW = 20, /* value: 1 = accepted, 0 = stolen or queued, < 0 = dropped; aux: hook | pf << 8 */

	/*
	 * A rule of nftables drops the packet: by its own verdict, or by what its map or its iptables target said.
	 * peer: the rule's handle; aux: the handle of the rule behind it in its chain if value is 1; 0 = it is the
	 * last, -1 = not known
	 */
	PLACE_NFT_RULE = 25,
	PLACE_NFT_RESULT = 26,

	/* director */
	PLACE_IP_VS_IN = 21, /* returned; value: 1 = not for IPVS, 2 = taken (stolen), 0 = dropped */
	PLACE_IP_VS_SCHEDULE = 22, /* returned; value: 1 = a destination was chosen, 0 = none */
	PLACE_IP_VS_XMIT = 23, /* aux: enum ip_vs_method */
	PLACE_IP_VS_LEAVE = 24, /* no destination available: IPVS gives the packet up */

	/* tunnel */
	PLACE_TUNNEL4_RCV = 30,
	PLACE_IP_TUNNEL_RCV = 31,
	PLACE_GRO_CELLS_RECEIVE = 32, /* decapsulated: skb->dev is the tunnel from here on */

	/* socket */
	PLACE_TCP_V4_RCV = 40,
	PLACE_TCP_V4_DO_RCV = 41,
	PLACE_TCP_CHILD_PROCESS = 42,
	PLACE_TCP_TIMEWAIT = 43,
	PLACE_TCP_ADD_BACKLOG = 44,
	PLACE_TCP_CONN_REQUEST = 45, /* returned; value: 1 = a SYN/ACK was sent, 0 = the SYN was refused */
	PLACE_TCP_PROBE = 46, /* tracepoint: tcp_rcv_established has it */
	PLACE_INET_SOCK_SET_STATE = 47, /* value: new state; aux: old state; skb may be 0 */
	PLACE_UDP_RCV = 48,
	PLACE_UDP_QUEUE_RCV = 49, /* value: 0 = queued to the socket */
	PLACE_ICMP_RCV = 50,
	PLACE_TCP_DEFER_ACCEPT = 51, /* the listener waits for data: it frees the ACK that ends a handshake */

	/* the end */
	PLACE_KFREE_SKB = 60, /* value: enum skb_drop_reason of this kernel, 0 where it has none; aux: enum tcp_refusal */
	PLACE_CONSUME_SKB = 61, /* with a drop section: of a fragment, where the kernel says so much; of what a tap may have */
	PLACE_TCP_DROP = 63, /* a drop without an event of its own: seen as PLACE_KFREE_SKB */
	PLACE_LEFT_NETNS = 62, /* with --netns: first seen in another namespace; ends the journey */

	/* answers; skb is the packet that is answered */
	PLACE_SEND_RESET = 70,
	PLACE_ICMP_SEND = 71, /* aux: type << 8 | code */
};

/* How a director sends a packet on; the numbers are those of IP_VS_CONN_F_FWD_MASK (linux/ip_vs.h). */
enum ip_vs_method {
	IP_VS_METHOD_NAT = 0,
	IP_VS_METHOD_LOCAL = 1,
	IP_VS_METHOD_TUNNEL = 2,
	IP_VS_METHOD_DIRECT = 3,
	IP_VS_METHOD_BYPASS = 4,
};

/* Why TCP did not like a segment, where the kernel does not say. */
enum tcp_refusal {
	TCP_REFUSAL_UNSAID = 0,
	TCP_REFUSAL_PAWS = 1, /* tcp_paws_discard: its timestamp is older than the last one */
	TCP_REFUSAL_SEQUENCE = 2, /* tcp_sequence: it begins behind the receive window */
};

enum event_flag {
	EVENT_FIRST = 1, /* first sight of this packet: a packet section follows */
	EVENT_RETURN = 2, /* the function has returned, value is what it returned */
	EVENT_REUSED = 4, /* first sight, and the address belonged to another packet until now */
};

struct event {
	__u16 size; /* of the record, sections included */
	__u8 place; /* enum place */
	__u8 flags; /* enum event_flag */
	__s32 value; /* meaning: see enum place */
	__u64 time; /* CLOCK_MONOTONIC, nanoseconds */
	__u64 skb; /* address of the struct sk_buff */
	__u64 seen; /* time of first sight; with skb the packet's identity in this kernel */
	__u64 id; /* hash of the inner header, equal wherever the packet is seen: track.h */
	__u64 peer; /* address of another sk_buff: see enum place */
	__u32 netns; /* inode number of the network namespace */
	__u32 ifindex; /* in netns */
	__u32 cpu;
	__u32 aux; /* meaning: see enum place */
};

enum section_type {
	SECTION_PACKET = 1,
	SECTION_DROP = 2,
};

struct section {
	__u16 type; /* enum section_type */
	__u16 size; /* this header included */
	__u32 flags;
};

/* An IPv4 header as read from the packet, network byte order. */
struct ip_header {
	__be32 saddr;
	__be32 daddr;
	__be16 id;
	__be16 len;
	__be16 frag;
	__u8 ttl;
	__u8 protocol;
};

enum packet_flag {
	PACKET_TUNNELLED = 1, /* outer is valid: IPIP, GRE, GUE or FOU around inner */
	PACKET_QUOTED = 2, /* an ICMP error: inner is the header it quotes, outer the error's own */
	PACKET_FLOW = 4, /* no packet: only addresses, ports and protocol of inner are valid */
	PACKET_PORTS = 8, /* sport and dport are valid (first fragment of TCP or UDP) */
	PACKET_OPTIONS = 16, /* inner has IP options */
	PACKET_NO_INNER = 32, /* what IPIP carried is no IPv4 packet: only outer is valid, which may be taken off already */
	PACKET_FOU = 64, /* inner is right behind outer's UDP header, without a header of GUE */
};

/* What a packet looks like: on first sight and whenever its device or its outer header changed. */
struct packet_section {
	struct section section; /* flags: enum packet_flag */
	char dev[16];
	struct ip_header outer;
	struct ip_header inner;
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 tcp_flags;
	__u8 icmp_type; /* of inner, or of the error that quotes it */
	__u8 icmp_code;
	__u8 pad;
	__be16 udp_len;
	__u16 segments; /* skb_shinfo(skb)->gso_segs, 0 or 1 = not merged */
	__u32 skb_len;
	__be16 outer_sport; /* if outer is UDP's, with PACKET_TUNNELLED */
	__be16 outer_dport;
	__u32 zero;
};

#define STACK_DEPTH 24

struct drop_section {
	struct section section; /* flags: 0 */
	__u64 location; /* the address that the tracepoint reports: a return address */
	__u64 depth; /* valid entries of stack */
	__u64 stack[STACK_DEPTH];
};

_Static_assert(sizeof(struct event) == 64, "struct event");
_Static_assert(sizeof(struct packet_section) == 88, "struct packet_section");
_Static_assert(sizeof(struct drop_section) == 24 + 8 * STACK_DEPTH, "struct drop_section");

#endif
