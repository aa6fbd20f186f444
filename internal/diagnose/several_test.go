package diagnose

import (
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

func TestOfSeveralThatMayHaveDroppedNoneIsRemoved(t *testing.T) {
	reply := dropped("__dev_queue_xmit", "QDISC_DROP", "eth0", false)
	reply.Direction, reply.Outer = journey.Reply, nil
	p := &reply.Packet
	p.Inner.Src, p.Inner.Dst, p.SrcPort, p.DstPort = vip, client, 80, 30000
	queues := func(kind, root, one, two string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			s.Qdiscs = []host.Qdisc{
				{Link: 2, Kind: "mq", Handle: root, Parent: "root", Dropped: 9}, {Link: 2, Kind: "fq_codel", Handle: one, Parent: root + "1", Dropped: 2},
				{Link: 2, Kind: kind, Handle: two, Parent: root + "2", Dropped: 7},
			}
		}
	}
	cgroups := func(s *host.Snapshot) {
		s.Cgroups = []host.CgroupBPF{{Path: "/system.slice", Attach: "ingress", ID: 7}, {Path: "/system.slice/web.service", Attach: "ingress", ID: 9}}
	}
	arp := func(s *host.Snapshot) {
		s.Filters = []host.Filter{{Link: 2, Side: "ingress", Kind: "flower", Pref: 1, Protocol: 0x0806, Actions: []string{"gact drop"}, Dropped: 5}}
	}
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	shared := func(s *host.Snapshot) { s.Sockets = append(s.Sockets, s.Sockets[0]); s.Sockets[1].RecvQueue = 129 }
	atTunnel := rejected(dropped("tunnel4_rcv", "NOT_SPECIFIED", "eth0", true), journey.ByICMP, 3, 3)
	eachItsOwn := func(s *host.Snapshot) {
		for i, director := range []string{"10.0.0.98", "10.0.0.99"} {
			l := device([]string{"d1", "d2"}[i], "ipip", 4, rip, netip.MustParseAddr(director))
			l.Index = uint32(4 + i)
			s.Links = append(s.Links, l)
		}
	}
	for what, test := range map[string]loss{
		"queues of two kinds": {reply, realServer(queues("netem", "1:", "10:", "20:")), "qdisc-drop", Inferred, ""},
		"a tree of classes": {reply, realServer(func(s *host.Snapshot) {
			s.Qdiscs = []host.Qdisc{{Link: 2, Kind: "htb", Handle: "1:", Parent: "root", Dropped: 9}, {Link: 2, Kind: "pfifo", Handle: "10:", Parent: "1:10"}}
		}), "qdisc-drop", Observed, ""},
		"the kernel's own queues":     {reply, realServer(queues("fq_codel", "0:", "0:", "0:")), "qdisc-drop", Observed, ""},
		"programs at cgroups":         {dropped("sk_filter_trim_cap", "SOCKET_FILTER", "tunl0", false), realServer(cgroups), "cgroup-drop", Inferred, ""},
		"a filter that sees ARP":      {dropped("sch_handle_ingress", "TC_INGRESS", "eth0", true), realServer(arp), "tc-drop", Inferred, ""},
		"a frame that nobody takes":   {dropped("__netif_receive_skb_core", "UNHANDLED_PROTO", "eth0", true), realServer(), unknown, NotKnown, ""},
		"the same, without reasons":   {dropped("__netif_receive_skb_core", "", "eth0", true), realServer(), unknown, NotKnown, ""},
		"the second of two listeners": {refused, realServer(shared), "accept-queue-full", Inferred, ""},
		"a tunnel for each director":  {atTunnel, realServer(tunl0Down, eachItsOwn), "tunnel-endpoint-mismatch", Observed, "ip link add lvs0 type ipip local 10.0.0.11; ip link set lvs0 up"},
	} {
		t.Run(what, func(t *testing.T) { found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix) })
	}
}
