/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What sockets do with packets, and what they answer. */
#ifndef IPIPTRACE_SOCKET_H
#define IPIPTRACE_SOCKET_H

#include "device.h"

/* Replies begin here. The device is known later; the namespace is the first argument. */
static __always_inline int local_out(struct net *net, struct sk_buff *skb)
{
	struct net_device *dev = dst_dev(skb);
	struct spot at = { .dev = dev,
			   .ifindex = BPF_CORE_READ(dev, ifindex),
			   .netns = BPF_CORE_READ(net, ns.inum),
			   .ip = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header) };

	return meet(skb, &at, PLACE_IP_LOCAL_OUT);
}

SEC("fentry/__ip_local_out")
int BPF_PROG(fentry_ip_local_out, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return local_out(net, skb);
}

SEC("kprobe/__ip_local_out")
int BPF_KPROBE(kprobe_ip_local_out, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return local_out(net, skb);
}

/* tcp_rcv_established begins. Whether it likes the packet is decided afterwards: a drop has its own event. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	return see(skb, PLACE_TCP_PROBE);
}

#define TOGETHER 8

/*
 * A datagram's socket tells its reader that there is something in its queue: the last ones in it are new. Where
 * functions can't be watched nothing else shows that a datagram arrived; many kernels free it silently later.
 */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(sk_data_ready, struct sock *sk)
{
	struct sighting s = { .place = PLACE_UDP_QUEUE_RCV, .flags = EVENT_RETURN };
	struct sk_buff *skb;
	struct track *t;

	if (!following() || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_UDP)
		return 0;
	skb = BPF_CORE_READ(sk, sk_receive_queue.prev);
	for (int i = 0; i < TOGETHER; i++) {
		t = known_for_sure(skb);
		if (!t)
			return 0;
		emit((__u64)skb, t, &s);
		forget((__u64)skb);
		skb = BPF_CORE_READ(skb, prev);
	}
	return 0;
}

static __always_inline bool flow_of(struct packet *p, struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) != AF_INET)
		return false;
	p->flags = PACKET_FLOW | PACKET_PORTS;
	p->inner.protocol = IPPROTO_TCP;
	p->inner.saddr = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	p->inner.daddr = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	p->l4.tcp.sport = BPF_CORE_READ(sk, __sk_common.skc_dport);
	p->l4.tcp.dport = BPF_CORE_READ((struct inet_sock *)sk, inet_sport);
	return matches(p);
}

static __always_inline void emit_flow(const struct packet *p, const struct track *t, __u64 skb,
				      const struct sighting *s)
{
	struct packet_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);

	if (!r) {
		count(&counters.lost);
		return;
	}
	__builtin_memset(r, 0, sizeof(*r));
	fill_event(&r->event, sizeof(*r), skb, t, s);
	r->packet.section.type = SECTION_PACKET;
	r->packet.section.size = sizeof(r->packet);
	r->packet.section.flags = p->flags;
	fill_header(&r->packet.inner, &p->inner);
	r->packet.sport = p->l4.tcp.sport;
	r->packet.dport = p->l4.tcp.dport;
	bpf_ringbuf_submit(r, 0);
}

/*
 * A socket of the service changes its state. The cause is usually the packet that this CPU took in last;
 * it can also be the application: user space compares the flow.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int oldstate, int newstate)
{
	struct sighting s = { .place = PLACE_INET_SOCK_SET_STATE,
			      .value = newstate,
			      .aux = oldstate };
	struct track none = {}, *t = NULL;
	struct packet p = {};
	struct call *call;

	if (!ready || !flow_of(&p, sk))
		return 0;
	none.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (config.netns && none.netns != config.netns)
		return 0;
	call = call_of(0);
	if (call)
		t = find(call->skb);
	if (t && t->seen != call->seen)
		t = NULL;
	if (t)
		emit_flow(&p, t, call->skb, &s);
	else
		emit_flow(&p, &none, 0, &s);
	return 0;
}

/*
 * A listener refuses a SYN without a word: tcp_conn_request returns 0 and the caller consumes the
 * packet. No SYN/ACK was made in that call then. (tcp_v4_send_synack has too many arguments for fentry;
 * sk_drops would tell too, but listeners run on many CPUs.)
 */
static __always_inline int conn_request(struct sk_buff *skb)
{
	struct track *t = known(skb);
	struct call *call;

	if (!t)
		return 0;
	call = begin(PLACE_TCP_CONN_REQUEST, skb, t);
	if (call)
		call->answered = 0;
	return 0;
}

static __always_inline int make_synack(void)
{
	struct call *call;

	if (!following())
		return 0;
	call = call_of(PLACE_TCP_CONN_REQUEST);
	if (call)
		call->answered = 1;
	return 0;
}

SEC("fentry/tcp_conn_request")
int BPF_PROG(fentry_conn_request, void *ops, void *af_ops, struct sock *sk, struct sk_buff *skb)
{
	return conn_request(skb);
}

SEC("kprobe/tcp_conn_request")
int BPF_KPROBE(kprobe_conn_request, void *ops, void *af_ops, struct sock *sk, struct sk_buff *skb)
{
	return conn_request(skb);
}

SEC("fentry/tcp_make_synack")
int fentry_make_synack(void *ctx)
{
	return make_synack();
}

SEC("kprobe/tcp_make_synack")
int kprobe_make_synack(void *ctx)
{
	return make_synack();
}

/*
 * With TCP_DEFER_ACCEPT a listener notes the ACK that ends a handshake, frees it like a drop and waits for
 * data. The same condition as in tcp_check_req, but for the packet's length, which user space knows.
 */
static __always_inline int check_req(struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	struct inet_connection_sock *listener = (struct inet_connection_sock *)sk;
	__u32 seq;

	if (BPF_CORE_READ_BITFIELD_PROBED(req, num_timeout) >=
	    BPF_CORE_READ(listener, icsk_accept_queue.rskq_defer_accept))
		return 0;
	if (!tcp_seq(skb, &seq) ||
	    seq != BPF_CORE_READ((struct tcp_request_sock *)req, rcv_isn) + 1)
		return 0;
	return see(skb, PLACE_TCP_DEFER_ACCEPT);
}

SEC("fentry/tcp_check_req")
int BPF_PROG(fentry_check_req, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	return check_req(sk, skb, req);
}

SEC("kprobe/tcp_check_req")
int BPF_KPROBE(kprobe_check_req, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	return check_req(sk, skb, req);
}

/* tcp:tcp_send_reset has the packet that is answered; before 6.10 only if there was a socket. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_send_reset, struct sock *sk, struct sk_buff *skb)
{
	return see(skb, PLACE_SEND_RESET);
}

static __always_inline int answer_icmp(struct sk_buff *skb, int type, int code)
{
	struct sighting s = { .place = PLACE_ICMP_SEND, .aux = (type & 0xff) << 8 | (code & 0xff) };
	struct track *t = known(skb);

	if (t)
		emit((__u64)skb, t, &s);
	return 0;
}

SEC("tp_btf/icmp_send")
int BPF_PROG(icmp_send, struct sk_buff *skb, int type, int code)
{
	return answer_icmp(skb, type, code);
}

SEC("fentry/__icmp_send")
int BPF_PROG(fentry_icmp_send, struct sk_buff *skb, int type, int code)
{
	return answer_icmp(skb, type, code);
}

SEC("kprobe/__icmp_send")
int BPF_KPROBE(kprobe_icmp_send, struct sk_buff *skb, int type, int code)
{
	return answer_icmp(skb, type, code);
}

#endif
