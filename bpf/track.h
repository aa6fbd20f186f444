/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packet identity: is this one of ours, and is it the one we know by this address?
 *
 * The address of a sk_buff is not enough. Many healthy packets are freed without any event and the
 * address is another packet's within microseconds, so whatever comes back is compared by the hash of
 * its inner header.
 */
#ifndef IPIPTRACE_TRACK_H
#define IPIPTRACE_TRACK_H

#include "maps.h"

struct ipv4 {
	union {
		struct {
			__u8 ihl : 4, version : 4; /* little-endian kernels only */
		};
		__u8 kind; /* both */
	};
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__be16 check;
	__be32 saddr;
	__be32 daddr;
};

/* The first bytes behind an IP header, whatever the protocol. */
union l4 {
	struct {
		__be16 sport, dport;
		__be32 seq, ack;
		__u8 doff, flags;
		__be16 window;
	} tcp;
	struct {
		__be16 sport, dport, len, check;
	} udp;
	struct {
		__u8 type, code;
		__be16 check;
		__be32 rest;
	} icmp;
};

struct packet {
	struct ipv4 outer;
	struct ipv4 inner;
	union l4 l4; /* of inner */
	__u8 icmp_type, icmp_code; /* PACKET_QUOTED: of the error */
	__u16 pad;
	__u32 flags; /* enum packet_flag */
	__be16 outer_sport, outer_dport; /* if outer is UDP's, and not PACKET_QUOTED */
	__u32 zero;
} __attribute__((aligned(8)));

/*
 * A UDP header, and what may be a tunnelled packet behind it. Of a GUE header `kind` is the first byte, and `tos` the
 * second one, the protocol.
 */
struct datagram {
	__be16 sport, dport, len, check;
	struct ipv4 payload;
};

#define PLAIN_IPV4 0x45 /* kind: IPv4 without options */

/* IP options make the header longer; an impossible length is read as 5 words: the addresses are where they are. */
static __always_inline __u32 header_len(const struct ipv4 *ip)
{
	return ip->ihl < 5 ? 20 : ip->ihl * 4;
}

static __always_inline bool read_ip(struct ipv4 *ip, const unsigned char *from)
{
	return bpf_probe_read_kernel(ip, sizeof(*ip), from) == 0;
}

static __always_inline bool is_icmp_error(__u8 type)
{
	return type == 3 || type == 5 || type == 11 || type == 12;
}

#define IS_FRAGMENT(ip) ((ip)->frag_off & __builtin_bswap16(IP_OFFSET))

/* Is the packet part of a larger datagram, the outer one as long as there is one? */
static __always_inline bool is_fragment(const struct packet *p)
{
	const struct ipv4 *ip = p->flags & PACKET_TUNNELLED ? &p->outer : &p->inner;

	return ip->frag_off & __builtin_bswap16(IP_OFFSET | IP_MF);
}

/* Does an IPIP packet end before an inner header does? __ip_local_out has yet to write a length. */
static __always_inline bool is_cut(const struct ipv4 *outer)
{
	__u16 length = __builtin_bswap16(outer->tot_len);

	return length && length < header_len(outer) + sizeof(*outer);
}

/* Does an IPIP packet carry no IPv4 packet? inner is what is behind its header. */
static __always_inline bool is_odd(const struct ipv4 *outer, const struct ipv4 *inner)
{
	if (outer->version != 4 || outer->protocol != IPPROTO_IPIP || IS_FRAGMENT(outer))
		return false;
	return inner->version != 4 || is_cut(outer);
}

static __always_inline bool is_vip(__be32 addr)
{
	for (int i = 0; i < MAX_VIPS; i++) {
		if (i >= config.vip_count)
			return false;
		if (config.vips[i] == addr)
			return true;
	}
	return false;
}

static __always_inline bool is_service_port(__be16 port)
{
	if (!config.port_count)
		return true;
	for (int i = 0; i < MAX_PORTS; i++) {
		if (i >= config.port_count)
			return false;
		if (config.ports[i] == port)
			return true;
	}
	return false;
}

/* Does a data message of GUE with an IPv4 packet begin there (gue_udp_recv, version 0)? */
static __always_inline bool is_gue(const struct datagram *d)
{
	return d->payload.tos == IPPROTO_IPIP && !(d->payload.kind & GUE_NOT_DATA);
}

/* Is an IPv4 packet all that is in it: FOU, and GUE of version 1? Bytes alike are in many a text. */
static __always_inline bool is_fou(const struct datagram *d)
{
	return d->payload.kind == PLAIN_IPV4 &&
	       __builtin_bswap16(d->len) == UDP_LEN + __builtin_bswap16(d->payload.tot_len);
}

/* A datagram of the service itself may hold whatever its sender likes. A director may send from the VIP. */
static __always_inline bool is_service(const struct ipv4 *ip, const struct datagram *d)
{
	if (config.proto && config.proto != IPPROTO_UDP)
		return false;
	if (is_vip(ip->daddr))
		return is_service_port(d->dport);
	return config.port_count && is_vip(ip->saddr) && is_service_port(d->sport);
}

/*
 * The IPv4 packet in a UDP datagram, by GUE (draft-ietf-intarea-gue) or FOU; else NULL. Any port may be that of a
 * director: the packet is told by what it looks like.
 */
static __always_inline const unsigned char *behind_udp(const struct ipv4 *ip,
						       const unsigned char *udp)
{
	struct datagram d;

	if (bpf_probe_read_kernel(&d, sizeof(d), udp) || is_service(ip, &d))
		return NULL;
	if (is_fou(&d))
		return udp + UDP_LEN;
	if (is_gue(&d))
		return udp + UDP_LEN + 4 + (d.payload.kind & GUE_LENGTH) * 4;
	return NULL;
}

/* What is behind a GRE header (RFC 2784, RFC 2890), if that is an IPv4 packet; else NULL. */
static __always_inline const unsigned char *behind_gre(const unsigned char *gre)
{
	struct {
		__be16 flags, protocol;
	} h;
	__u16 flags;

	if (bpf_probe_read_kernel(&h, sizeof(h), gre) || h.protocol != __builtin_bswap16(ETH_P_IP))
		return NULL;
	flags = __builtin_bswap16(h.flags);
	if (flags & GRE_VERSION)
		return NULL;
	gre += sizeof(h);
	if (flags & GRE_CSUM)
		gre += 4;
	if (flags & GRE_KEY)
		gre += 4;
	if (flags & GRE_SEQ)
		gre += 4;
	return gre;
}

/* The packet behind an IP header, if that is of a tunnel; else NULL. */
static __always_inline const unsigned char *behind_tunnel(const struct ipv4 *ip,
							  const unsigned char *l4)
{
	if (ip->protocol == IPPROTO_IPIP)
		return l4;
	if (IS_FRAGMENT(ip))
		return NULL;
	if (ip->protocol == IPPROTO_GRE)
		return behind_gre(l4);
	if (ip->protocol == IPPROTO_UDP)
		return behind_udp(ip, l4);
	return NULL;
}

static __always_inline __u64 carrier_of(const struct ipv4 *outer)
{
	return outer->saddr | (__u64)outer->daddr << 32;
}

static __always_inline __u64 *carrier_slot(__u64 carrier)
{
	return &carriers[carrier * 0x9e3779b97f4a7c15ULL >> (64 - CARRIERS_BITS)];
}

static __always_inline bool is_carrier(const struct ipv4 *outer)
{
	__u64 carrier = carrier_of(outer);

	return *carrier_slot(carrier) == carrier;
}

/* IPIP with these addresses carries packets of the service. */
static __always_inline void carries(const struct ipv4 *outer)
{
	__u64 carrier = carrier_of(outer), *slot = carrier_slot(carrier);

	if (*slot != carrier)
		*slot = carrier;
}

/*
 * Is the packet whose IP header should be at `start` one that a director of the service sent, and that carries no IPv4
 * packet? Then its outer header is so many bytes in front of that; else -1.
 *
 * A global function: the verifier looks at it once.
 */
__noinline int odd_outer(__u64 start)
{
	const unsigned char *at = (void *)start;
	struct ipv4 ip, other;

	if (!read_ip(&ip, at))
		return -1;
	if (ip.version == 4) {
		if (!is_carrier(&ip) || !read_ip(&other, at + header_len(&ip)) ||
		    !is_odd(&ip, &other))
			return -1;
		return 0;
	}
	at -= sizeof(ip); /* the tunnel took it off: it lies in front */
	if (!read_ip(&other, at) || other.ihl != 5 || !is_odd(&other, &ip) || !is_carrier(&other))
		return -1;
	return sizeof(ip);
}

/*
 * As a number: the verifier lets nothing unknown be added to a pointer, and gives none to a global function.
 */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &pointer);
	return number;
}

/*
 * A port of FOU takes off UDP alone: where a packet came by GUE, GUE's header is left where one of IPv4 should be. That
 * many bytes in front of `start` the packet lies as it came; else 0.
 *
 * A global function: the verifier looks at it once.
 */
__noinline int gue_left(__u64 start)
{
	const unsigned char *udp = (void *)start - UDP_LEN;
	struct datagram d;
	struct ipv4 ip;

	if (bpf_probe_read_kernel(&d, sizeof(d), udp) || !is_gue(&d) ||
	    !read_ip(&ip, udp - sizeof(ip)))
		return 0;
	if (ip.kind != PLAIN_IPV4 || ip.protocol != IPPROTO_UDP ||
	    __builtin_bswap16(ip.tot_len) + UDP_LEN != sizeof(ip) + __builtin_bswap16(d.len))
		return 0; /* fou_recv_pull has taken UDP off the length, too */
	return sizeof(ip) + UDP_LEN;
}

#define LOCATED_FLAGS 0xff /* enum packet_flag */
#define LOCATED_FRAGMENT (1ULL << 8)
#define LOCATED (1ULL << 9)
#define LOCATED_BEHIND_OUTER(where) (((where) >> 10 & 0xf) * 4)
#define LOCATED_INNER(where) ((where) >> 16 & 0xffff)
#define LOCATED_L4(where) ((where) >> 32 & 0xffff)
#define LOCATED_ICMP(where) ((where) >> 48)

/*
 * Where the inner header of the packet is whose IP header is at `start`, and what is behind it, as offsets, and what
 * is in front of it; 0 if it is no IPv4 packet. What an ICMP error quotes takes the place of the inner header: the
 * error belongs to the packet that it is about.
 *
 * A global function: the verifier looks at it once, and not with everything that may follow.
 */
__noinline __u64 locate(__u64 start)
{
	const unsigned char *at = (void *)start, *l4, *next;
	struct ipv4 ip;
	__u64 where = LOCATED;
	__u8 type;

	if (!read_ip(&ip, at) || ip.version != 4)
		return 0;
	l4 = at + header_len(&ip);
	if (ip.protocol == IPPROTO_ICMP) {
		if (bpf_probe_read_kernel(&type, sizeof(type), l4))
			return 0;
		if (is_icmp_error(type)) {
			where |= PACKET_QUOTED | ((__u64)l4 - start) << 48;
			at = l4 + 8;
			if (!read_ip(&ip, at))
				return 0;
			l4 = at + header_len(&ip);
		}
	}
	next = behind_tunnel(&ip, l4);
	if (next) {
		at = next;
		if (!(where & PACKET_QUOTED)) {
			if (is_cut(&ip))
				return 0;
			where |= PACKET_TUNNELLED | (__u64)(header_len(&ip) / 4) << 10;
			if (ip.protocol == IPPROTO_UDP && next == l4 + UDP_LEN)
				where |= PACKET_FOU;
		}
		if (!read_ip(&ip, at) || ip.version != 4)
			return 0;
		l4 = at + header_len(&ip);
	}
	if (header_len(&ip) > 20)
		where |= PACKET_OPTIONS;
	if (IS_FRAGMENT(&ip))
		where |= LOCATED_FRAGMENT;
	else if (ip.protocol == IPPROTO_TCP || ip.protocol == IPPROTO_UDP)
		where |= PACKET_PORTS;
	return where | ((__u64)at - start) << 16 | ((__u64)l4 - start) << 32;
}

/*
 * The value, of which the verifier knows nothing any more: it looks once at what follows, and not once for each value
 * that it knew.
 */
static __always_inline __u64 forgotten(__u64 value, __u64 unknown)
{
	asm volatile("%0 ^= %1; %0 ^= %1" : "+r"(value) : "r"(unknown));
	return value;
}

/*
 * Nearly all packets: one read, into a struct that is laid out as a tunnelled packet is. False says that it
 * is another one.
 */
static __always_inline bool parse_plainly(struct packet *p, const unsigned char *ip)
{
	const struct ipv4 *last = &p->outer;
	bool tunnelled;

	if (bpf_probe_read_kernel(p, offsetof(struct packet, flags), ip) ||
	    p->outer.kind != PLAIN_IPV4)
		return false;
	tunnelled = p->outer.protocol == IPPROTO_IPIP;
	if (tunnelled) {
		if (p->inner.kind != PLAIN_IPV4 || is_cut(&p->outer))
			return false;
		last = &p->inner;
	}
	if (IS_FRAGMENT(last) || (last->protocol != IPPROTO_TCP && last->protocol != IPPROTO_UDP))
		return false;
	if (!tunnelled) {
		const struct datagram *d = (const void *)&p->inner;

		if (p->outer.protocol == IPPROTO_UDP && (is_gue(d) || is_fou(d)))
			return false;
		__builtin_memcpy(&p->l4, &p->inner, sizeof(p->l4));
		p->inner = p->outer;
	}
	p->flags = forgotten(PACKET_PORTS | (tunnelled ? PACKET_TUNNELLED : 0), p->inner.daddr);
	return true;
}

/* Read the packet whose IP header is at `ip`. */
static __always_inline bool parse(struct packet *p, const unsigned char *ip)
{
	static const union l4 none;
	const void *l4;
	__u64 where;
	long failed;

	if (parse_plainly(p, ip))
		return true;
	where = locate(address_of(ip));
	if (!where)
		return false;
	l4 = where & LOCATED_FRAGMENT ? (const void *)&none : ip + LOCATED_L4(where);
	failed = bpf_probe_read_kernel(&p->outer, sizeof(p->outer), ip);
	failed |= bpf_probe_read_kernel(&p->inner, sizeof(p->inner), ip + LOCATED_INNER(where));
	failed |= bpf_probe_read_kernel(&p->l4, sizeof(p->l4), l4);
	failed |= bpf_probe_read_kernel(&p->icmp_type, 2,
					ip + LOCATED_ICMP(where)); /* and icmp_code */
	failed |= bpf_probe_read_kernel(&p->outer_sport, 4, /* and outer_dport */
					ip + LOCATED_BEHIND_OUTER(where));
	p->flags = where & LOCATED_FLAGS;
	return !failed;
}

/* The sequence number of a segment that TCP has. */
static __always_inline bool tcp_seq(struct sk_buff *skb, __u32 *seq)
{
	const unsigned char *tcp = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header);

	if (bpf_probe_read_kernel(seq, sizeof(*seq), tcp + offsetof(union l4, tcp.seq)))
		return false;
	*seq = __builtin_bswap32(*seq);
	return true;
}

static __always_inline bool is_port(const struct packet *p, __be16 port)
{
	return !config.port_count || (p->flags & PACKET_PORTS && is_service_port(port));
}

static __always_inline bool is_client(__be32 addr)
{
	return (addr & config.client_mask) == config.client;
}

/* Does the user want to see this packet? As request to a VIP or as reply from it. */
static __always_inline bool matches(const struct packet *p)
{
	if (config.proto && p->inner.protocol != config.proto)
		return false;
	if (is_vip(p->inner.daddr))
		return is_port(p, p->l4.tcp.dport) && is_client(p->inner.saddr);
	if (is_vip(p->inner.saddr))
		return is_port(p, p->l4.tcp.sport) && is_client(p->inner.daddr);
	return false;
}

static __always_inline __u64 mix(__u64 h, __u64 word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
	return h ^ (h >> 32);
}

/* What neither a hop nor NAT changes: protocol, IP id, and TCP's seq, ack and flags or UDP's length. */
static __always_inline __u64 packet_core(const struct packet *p)
{
	__u64 h = mix(0, p->inner.protocol | (__u64)p->inner.id << 16 |
				 (__u64)(p->inner.frag_off & __builtin_bswap16(IP_OFFSET)) << 32);

	if (!(p->flags & PACKET_PORTS))
		return mix(h, p->l4.tcp.sport);
	if (p->inner.protocol == IPPROTO_UDP)
		return mix(h, p->l4.udp.len);
	h = mix(h, p->l4.tcp.seq | (__u64)p->l4.tcp.ack << 32);
	return mix(h, p->l4.tcp.flags);
}

static __always_inline void read_ends(struct ends *e, const struct packet *p)
{
	e->saddr = p->inner.saddr;
	e->daddr = p->inner.daddr;
	e->sport = p->flags & PACKET_PORTS ? p->l4.tcp.sport : 0;
	e->dport = p->flags & PACKET_PORTS ? p->l4.tcp.dport : 0;
}

/* The packet's name, the same wherever it is seen: what it is, and both its ends as they were at first sight. */
static __always_inline void name(struct track *t, const struct packet *p)
{
	t->core = packet_core(p);
	read_ends(&t->ends, p);
	t->id = mix(mix(t->core, t->ends.saddr | (__u64)t->ends.daddr << 32),
		    t->ends.sport | (__u64)t->ends.dport << 16);
}

static __always_inline bool same_ends(const struct ends *a, const struct ends *b)
{
	return a->saddr == b->saddr && a->daddr == b->daddr && a->sport == b->sport &&
	       a->dport == b->dport;
}

/*
 * NAT has changed an end of the packet since it was last looked at, or both: then a datagram must have been at
 * a hook last, what its core holds is too little. Behind a device it is another packet under the same address.
 */
static __always_inline bool rewritten(const struct track *t, const struct track *now, __u8 protocol)
{
	const struct ends *a = &t->ends, *b = &now->ends;

	if (t->last == PLACE_NET_DEV_QUEUE || t->last == PLACE_NET_DEV_START_XMIT)
		return false;
	return (a->saddr == b->saddr && a->sport == b->sport) ||
	       (a->daddr == b->daddr && a->dport == b->dport) || protocol == IPPROTO_TCP ||
	       t->last == PLACE_NF_HOOK_SLOW;
}

/* Is it still the packet that is known by its address? NAT may have changed it where `natted` says so. */
static __always_inline bool is_still(const struct track *t, const struct track *now, bool natted,
				     __u8 protocol)
{
	return t->core == now->core &&
	       (same_ends(&t->ends, &now->ends) || (natted && rewritten(t, now, protocol)));
}

static __always_inline struct track *look_up(__u64 skb)
{
	return bpf_map_lookup_elem(&tracked, &skb);
}

static __always_inline struct track *find(__u64 skb)
{
	return following() ? look_up(skb) : NULL;
}

static __always_inline void forget(__u64 skb)
{
	if (bpf_map_delete_elem(&tracked, &skb) == 0)
		__sync_fetch_and_add(&in_flight, -1);
}

static __always_inline struct call *call_of(__u32 place)
{
	if (place >= CALLS)
		place = 0;
	return bpf_map_lookup_elem(&calls, &place);
}

#endif
