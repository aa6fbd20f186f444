package diagnose

import (
	"encoding/json"
	"flag"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/recording"
	"ipiptrace/internal/ruleset"
	"ipiptrace/tracer/event"
)

// repairable are losses of every cause that a command repairs, in each of the ways in which one does.
func repairable(t *testing.T) map[string]loss {
	all := losses()
	maps.Copy(all, directed())
	maps.Copy(all, scheduled())
	hooked := func(outer bool, hook string) journey.Journey {
		j := dropped("nf_hook_slow", "NETFILTER_DROP", "tunl0", outer)
		j.Drop.NfHook = hook
		return j
	}
	onEth0 := func(j journey.Journey) journey.Journey { j.Drop.Dev = "eth0"; return j }
	reply := func(function, reason, dev string) journey.Journey {
		j := dropped(function, reason, dev, false)
		p := &j.Packet
		j.Direction, j.Outer = journey.Reply, nil
		p.Inner.Src, p.Inner.Dst, p.SrcPort, p.DstPort = vip, client, 80, 30000
		return j
	}
	answered := reply("nf_hook_slow", "NETFILTER_DROP", "eth0")
	answered.Drop.NfHook = "output"
	icmp := hooked(false, "input")
	icmp.Packet.Inner.Protocol, icmp.Packet.HasPorts, icmp.Packet.ICMPType = protoICMP, false, 8
	byClient := `[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.0.0.7"}},{"drop":null}]`
	mapped := func(s *host.Snapshot) {
		stateful(t, "accept", `[{"vmap":{"key":{"payload":{"protocol":"tcp","field":"dport"}},"data":"@ports"}}]`)(s)
		s.Nft[0].Chains[0].Rules = s.Nft[0].Chains[0].Rules[2:]
		s.Nft[0].Sets = []host.NftSet{{Name: "ports", Elem: json.RawMessage(`[[80,{"drop":null}]]`)}}
	}
	nft := func(hook, policy string, rules ...string) func(*host.Snapshot) {
		return func(s *host.Snapshot) { stateful(t, policy, rules...)(s); s.Nft[0].Chains[0].Hook = hook }
	}
	iptables := func(chain, policy string, args ...string) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			c := host.IPTablesChain{Name: chain, Policy: policy}
			if len(args) > 0 {
				c.Rules = []host.IPTablesRule{{Args: args}}
			}
			s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{c}}}
		}
	}
	inNft := func(s *host.Snapshot) {
		s.IPTables[0].Backend = "iptables-nft"
		s.Nft = []host.NftTable{{Family: "ip", Name: "filter", IPTables: true, Chains: []host.NftChain{{Name: "INPUT", Hook: "input", Rules: []host.NftRule{{Handle: 9}}}}}}
	}
	classes := func(s *host.Snapshot) {
		s.Qdiscs = []host.Qdisc{
			{Link: 2, Kind: "prio", Handle: "1:", Parent: "root", Dropped: 3}, {Link: 2, Kind: "pfifo", Handle: "10:", Parent: "1:1"},
			{Link: 2, Kind: "netem", Handle: "20:", Parent: "1:2", Dropped: 3, Loss: 100},
		}
	}
	refusedByRule := func(s *host.Snapshot) {
		s.Rules[0].Priority = 100
		s.Rules = append(s.Rules, host.Rule{Priority: 10, From: netip.PrefixFrom(vip, 32), To: netip.PrefixFrom(client, 32), Invert: false, Action: "prohibit", Suppress: -1})
	}
	refusedByRoute := func(s *host.Snapshot) {
		s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.PrefixFrom(client, 32), Type: "blackhole", Priority: 7})
	}
	gateway := netip.MustParseAddr("10.0.0.99")
	viaGateway := func(s *host.Snapshot) {
		s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.PrefixFrom(client, 32), Type: "unicast", Hops: []host.Hop{{Link: 2, Gateway: gateway}}})
		s.Neighbours = []host.Neighbour{{Link: 2, Addr: gateway, State: "failed"}}
	}
	mode := func(s *host.Snapshot) {
		s.Links[2].Type = "ipip"
		s.Links[2].Name, s.Links[2].Tunnel = "lvs0", &host.Tunnel{Proto: 137, Local: rip, Remote: dip}
	}
	wide := func(s *host.Snapshot) {
		s.Addrs[1].Prefix = netip.PrefixFrom(vip, 8)
		s.Routes = append([]host.Route{{Table: 254, Dst: netip.MustParsePrefix("10.0.0.0/8"), Type: "unicast", Hops: []host.Hop{{Link: 3}}}}, s.Routes[:2]...)
	}
	refused := rejected(dropped("tcp_v4_rcv", "NO_SOCKET", "tunl0", false), journey.ByRST, 0, 0)
	reuse := dropped("nf_hook_slow", "NETFILTER_DROP", "eth0", false)
	reuse.Outer, reuse.Drop.NfHook, reuse.Drop.Decider = nil, "input", "ip_vs_in"
	rpf := dropped("ip_rcv_finish_core", "IP_RPFILTER", "tunl0", false)
	strict, unnumbered := set("net/ipv4/conf/all/rp_filter", "1"), func(s *host.Snapshot) { s.Addrs[1].Link = 1 }
	spare := dropped("ip_rcv_finish_core", "IP_LOCAL_SOURCE", "tunl0", false)
	spare.Packet.Inner.Src = netip.MustParseAddr("192.0.2.1")
	inside := rpf
	inside.Steps = []journey.Step{
		{Place: event.NetifReceiveSkb, Dev: "eth0", Netns: here, Tunnelled: true}, {Place: event.NetifReceiveSkb, Dev: "tunl0", Netns: here},
	}
	unrouted := func(s *host.Snapshot) { // but by the socket's mark
		withoutRoute("10.0.0.0/24")(s)
		s.Sockets[0].Mark = 9
		rule(host.Rule{Mark: 9, Action: "lookup", Table: 100})(s)
		routed(100, "10.0.0.0/24", host.Hop{Link: 2})(s)
	}
	options := dropped("ip_rcv_finish_core", "NOT_SPECIFIED", "tunl0", false)
	options.Packet.Options = true
	noIPVSRoute := rejected(dropped("ip_vs_tunnel_xmit", "NOT_SPECIFIED", "eth0", false), journey.ByICMP, 3, 0)
	noIPVSRoute.Outer = nil
	noModule := func(s *host.Snapshot) {
		s.Modules, s.Links, s.Addrs = nil, s.Links[:2], s.Addrs[:1]
		withoutRoute("10.99.0.1/32")(s)
	}
	maps.Copy(all, map[string]loss{
		"a rule":                    {j: hooked(false, "input"), s: realServer(nft("input", "accept", byClient)), fix: "nft delete rule inet f input handle 3"},
		"an element":                {j: hooked(false, "input"), s: realServer(mapped), fix: "nft delete element inet f ports '{ 80 }'"},
		"a policy":                  {j: hooked(false, "input"), s: realServer(nft("input", "drop")), fix: "nft insert rule inet f input ip daddr 10.99.0.1 tcp dport 80 accept"},
		"a policy, of ICMP":         {j: icmp, s: realServer(nft("input", "drop")), fix: "nft insert rule inet f input ip daddr 10.99.0.1 ip protocol 1 accept"},
		"a policy, of answers":      {j: answered, s: realServer(nft("output", "drop")), fix: "nft insert rule inet f input ip saddr 10.99.0.1 tcp sport 80 accept"},
		"a policy, in a tunnel":     {j: hooked(true, "input"), s: realServer(nft("input", "drop")), fix: "nft insert rule inet f input ip saddr 10.0.0.2 ip protocol 4 accept; nft insert rule inet f input ip daddr 10.99.0.1 tcp dport 80 accept"},
		"a policy, for a container": {j: onEth0(hooked(true, "forward")), s: realServer(behind, nft("forward", "drop")), fix: "nft insert rule inet f input ip saddr 10.0.0.2 ip protocol 4 accept"},
		"an old rule":               {j: hooked(false, "input"), s: realServer(iptables("INPUT", "ACCEPT", "-i", "tunl0", "-m", "comment", "--comment", "none of them", "-j", "DROP")), fix: "iptables-legacy -t filter -D INPUT -i tunl0 -m comment --comment 'none of them' -j DROP"},
		"an old rule that is not found again": {
			j: hooked(false, "input"), s: realServer(iptables("INPUT", "ACCEPT", "-m", "recent", "--update", "--name", "none of them", "-j", "DROP")),
			fix: "iptables-legacy -t filter -S INPUT 1 | grep -qxFe '-A INPUT -m recent --update --name none of them -j DROP' && iptables-legacy -t filter -D INPUT 1",
		},
		"a rule of iptables-nft that is not found again": {
			j: hooked(false, "input"), s: realServer(iptables("INPUT", "ACCEPT", "-m", "recent", "--update", "-j", "DROP"), inNft),
			fix: "nft delete rule ip filter INPUT handle 9",
		},
		"an old policy": {j: hooked(false, "input"), s: realServer(iptables("INPUT", "DROP")), fix: "iptables-legacy -t filter -I INPUT -d 10.99.0.1 -p tcp --dport 80 -j ACCEPT"},
		"a route of the VIP's": {
			j: dropped("ip_error", "IP_INADDRERRORS", "tunl0", false), s: realServer(withoutRoute("10.99.0.1/32")),
			fix: "ip route replace local 10.99.0.1 dev tunl0 table local",
		},
		"NAT":        {j: given(refused, "10.99.0.1:81"), s: realServer(natRule), fix: "nft insert rule ip t pre ip daddr 10.99.0.1 tcp dport 80 accept"},
		"forwarding": {j: given(dropped("ip_error", "IP_INADDRERRORS", "tunl0", false), "10.0.0.2:80"), s: realServer(natRule, set("net/ipv4/conf/tunl0/forwarding", "0")), fix: "sysctl -w net.ipv4.ip_forward=1"},
		"forwarding of a device": {
			j: given(dropped("ip_error", "IP_INADDRERRORS", "tunl0", false), "10.0.0.2:80"),
			s: realServer(natRule, set("net/ipv4/conf/tunl0/forwarding", "0"), set("net/ipv4/ip_forward", "1")), fix: "sysctl -w net.ipv4.conf.tunl0.forwarding=1",
		},
		"connections": {j: hooked(false, "prerouting"), s: realServer(func(s *host.Snapshot) { s.Conntrack = &host.Conntrack{Count: 2, Max: 1, Drop: 3} }), fix: "nsenter -t 1 -n sysctl -w net.netfilter.nf_conntrack_max=65538"},
		"IPsec":       {j: dropped("ip_local_deliver", "XFRM_POLICY", "tunl0", false), s: realServer(blocked), fix: "ip xfrm policy delete dir in index 8"},
		"a cgroup":    {j: dropped("sk_filter_trim_cap", "SOCKET_FILTER", "tunl0", false), s: realServer(func(s *host.Snapshot) { s.Cgroups = []host.CgroupBPF{{Path: "/web.slice", Attach: "ingress", ID: 7}} }), fix: "bpftool cgroup detach /sys/fs/cgroup/web.slice cgroup_inet_ingress id 7"},
		"a cgroup, by a link": {j: dropped("sk_filter_trim_cap", "SOCKET_FILTER", "tunl0", false), s: realServer(func(s *host.Snapshot) {
			s.Cgroups = []host.CgroupBPF{{Path: "/web.slice", Attach: "ingress", ID: 7, Link: 3}}
		}), fix: "bpftool link detach id 3"},
		"a program for sockets": {j: refused, s: realServer(lookup), fix: "bpftool link detach id 3"},
		"XDP":                   {j: dropped("do_xdp_generic", "XDP", "eth0", true), s: realServer(func(s *host.Snapshot) { s.Links[1].XDP = []host.XDP{{Mode: "generic", ID: 7}} }), fix: "ip link set dev eth0 xdpgeneric off"},
		"tc": {j: dropped("sch_handle_ingress", "TC_INGRESS", "eth0", true), s: realServer(func(s *host.Snapshot) {
			s.Filters = []host.Filter{{Link: 2, Side: "ingress", Kind: "bpf", Pref: 49152}}
		}), fix: "tc filter del dev eth0 ingress pref 49152"},
		"tcx, which has no preference":  {j: dropped("sch_handle_ingress", "TC_INGRESS", "eth0", true), s: realServer(func(s *host.Snapshot) { s.Filters = []host.Filter{{Link: 2, Side: "ingress", Kind: "tcx"}} })},
		"backlog":                       {j: dropped("enqueue_to_backlog", "CPU_BACKLOG", "eth0", true), s: realServer(set("net/core/netdev_max_backlog", "1000")), fix: "nsenter -t 1 -n sysctl -w net.core.netdev_max_backlog=2000"},
		"another mode":                  {j: rejected(dropped("tunnel4_rcv", "NOT_SPECIFIED", "eth0", true), journey.ByICMP, 3, 3), s: realServer(mode), fix: "ip link del lvs0; ip link add lvs0 type ipip mode ipip local 10.0.0.11 remote 10.0.0.2; ip link set lvs0 up; ip addr add 10.99.0.1/32 dev lvs0"},
		"no module":                     {j: rejected(dropped("tunnel4_rcv", "NOT_SPECIFIED", "eth0", true), journey.ByICMP, 3, 3), s: realServer(noModule), fix: "modprobe ipip; ip link set tunl0 up; ip addr add 10.99.0.1/32 dev tunl0"},
		"a rule of routing":             {j: reply("__ip_queue_xmit", "IP_OUTNOROUTES", ""), s: realServer(refusedByRule), fix: "ip rule del pref 10 from 10.99.0.1/32 to 10.0.0.7/32 prohibit"},
		"a route that refuses":          {j: reply("__ip_queue_xmit", "IP_OUTNOROUTES", ""), s: realServer(refusedByRoute), fix: "ip route del blackhole 10.0.0.7/32 table main metric 7"},
		"a prefix":                      {j: reply("ip_tunnel_xmit", "NOT_SPECIFIED", "tunl0"), s: realServer(wide), fix: "ip addr del 10.99.0.1/8 dev tunl0; ip addr add 10.99.0.1/32 dev tunl0; ip route add 10.0.0.0/24 dev eth0"},
		"a neighbour":                   {j: reply("neigh_invalidate", "NEIGH_FAILED", "eth0"), s: realServer(viaGateway), fix: "ip route del 10.0.0.7/32 table main"},
		"a neighbour, or a rule of ARP": {j: reply("neigh_invalidate", "NEIGH_FAILED", "eth0"), s: realServer(viaGateway, filtersARP)},
		"a queue": {j: reply("__dev_queue_xmit", "QDISC_DROP", "eth0"), s: realServer(func(s *host.Snapshot) {
			s.Qdiscs = []host.Qdisc{{Link: 2, Kind: "netem", Handle: "8001:", Parent: "root", Dropped: 3}}
		}), fix: "tc qdisc del dev eth0 root"},
		"one of two filters of a preference": {j: dropped("__netif_receive_skb_core", "TC_INGRESS", "eth0", true), s: realServer(func(s *host.Snapshot) {
			s.Filters = []host.Filter{
				{Link: 2, Side: "ingress", Kind: "u32", Pref: 7, Handle: "0x80000800", Actions: []string{"gact drop"}},
				{Link: 2, Side: "ingress", Kind: "u32", Pref: 7, Handle: "0x80000801", Chain: 3, Actions: []string{"police drop"}, Dropped: 2},
			}
		}), fix: "tc filter del dev eth0 ingress chain 3 pref 7 handle 800::801 u32"},
		"a filter of a shared block": {j: dropped("__netif_receive_skb_core", "TC_INGRESS", "eth0", true), s: realServer(func(s *host.Snapshot) {
			s.Filters = []host.Filter{{Link: 2, Side: "ingress", Block: 5, Kind: "u32", Pref: 7, Handle: "0x80000800", Actions: []string{"gact drop"}, Dropped: 2}}
		}), fix: "tc filter del block 5 pref 7"},
		"a filter of a queue": {j: dropped("__dev_queue_xmit", "QDISC_DROP", "eth0", false), s: realServer(classes, func(s *host.Snapshot) {
			s.Filters = []host.Filter{{Link: 2, Side: "1:", Kind: "u32", Pref: 7, Handle: "0x80000800", Actions: []string{"gact drop"}, Dropped: 2}}
		}), fix: "tc filter del dev eth0 parent 1: pref 7"},
		"one of a device's queues": {
			j: dropped("__dev_queue_xmit", "QDISC_DROP", "eth0", false),
			s: realServer(classes, func(s *host.Snapshot) { s.Qdiscs[0].Kind, s.Qdiscs[0].Dropped = "mq", 0 }), fix: "tc qdisc replace dev eth0 parent 1:2 pfifo",
		},
		"the queue of a class": {j: dropped("__dev_queue_xmit", "QDISC_DROP", "eth0", false), s: realServer(classes), fix: "tc qdisc del dev eth0 parent 1:2"},
		"a port again": {j: reuse, s: balancer(func(s *host.Snapshot) {
			s.Sysctls["net/ipv4/vs/conntrack"], s.Sysctls["net/ipv4/vs/conn_reuse_mode"] = "1", "1"
		}, host.Destination{Addr: netip.AddrPortFrom(rip, 80), Method: "tunnel", Weight: 1}), fix: "sysctl -w net.ipv4.vs.conn_reuse_mode=0"},
		"no way to the real server": {j: noIPVSRoute, s: balancer(func(s *host.Snapshot) {
			s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.MustParsePrefix("192.0.2.9/32"), Type: "unreachable"})
		}, host.Destination{Addr: netip.MustParseAddrPort("192.0.2.9:80"), Method: "tunnel", Weight: 1}), fix: "ip route del unreachable 192.0.2.9/32 table main"},
		"a spare address":                  {j: spare, s: realServer(addressed(1, "192.0.2.1/24"), addressed(1, "192.0.2.2/24")), fix: "ip addr del 192.0.2.1/24 dev lo; ip addr replace 192.0.2.2/24 dev lo"},
		"fragments":                        {j: dropped("ip_defrag", "FRAG_REASM_TIMEOUT", "eth0", true), s: realServer(set("net/ipv4/ipfrag_high_thresh", "0")), fix: "sysctl -w net.ipv4.ipfrag_high_thresh=4194304"},
		"a strict filter, unnumbered":      {j: rpf, s: realServer(strict, unnumbered), fix: "sysctl -w net.ipv4.conf.tunl0.rp_filter=2; ip addr add 10.99.0.1/32 dev tunl0"},
		"a filter, and no way back":        {j: rpf, s: realServer(strict, unrouted), fix: "sysctl -w net.ipv4.conf.lo.rp_filter=1; sysctl -w net.ipv4.conf.eth0.rp_filter=1; sysctl -w net.ipv4.conf.default.rp_filter=1; sysctl -w net.ipv4.conf.all.rp_filter=0"},
		"a mark that does not count":       {j: inside, s: realServer(set("net/ipv4/conf/tunl0/rp_filter", "2"), unrouted, marking, rule(host.Rule{Mark: 7, Action: "lookup", Table: 101}), routed(101, "10.0.0.0/24", host.Hop{Link: 3})), fix: "sysctl -w net.ipv4.conf.tunl0.src_valid_mark=1"},
		"source routes, on the device too": {j: options, s: realServer(set("net/ipv4/conf/all/accept_source_route", "0"), set("net/ipv4/conf/tunl0/accept_source_route", "0")), fix: "sysctl -w net.ipv4.conf.all.accept_source_route=1; sysctl -w net.ipv4.conf.tunl0.accept_source_route=1"},
		"handshakes":                       {j: dropped(event.TCPConnRequest.String(), "", "tunl0", false), s: realServer(set("net/ipv4/tcp_syncookies", "0"), func(s *host.Snapshot) { s.Counters["TcpExt.TCPReqQFullDrop"] = 1 }), fix: "sysctl -w net.ipv4.tcp_syncookies=1"},
	})
	return all
}

// recorded are losses of the recordings of one kernel that a command repairs, one of each cause, with the state that was read.
func recorded(t *testing.T) map[string]loss {
	recordings, err := recording.All("../../testdata")
	if err != nil || len(recordings) == 0 {
		t.Fatalf("no recording was found (%v)", err)
	}
	all := map[string]loss{}
	for _, r := range recordings {
		if r.Kernel != "6.1" {
			continue
		}
		in, err := r.Open()
		if err != nil {
			t.Fatal(err)
		}
		assembler, inquiry, states := journey.New(journey.Options{Run: in.Run()}), NewInquiry(), map[uint32]event.Event{}
		for m, err := range assembler.Assemble(in.Events()) {
			if err != nil {
				t.Fatal(err)
			}
			if m.Last {
				break
			}
			if m.Event.Kind == event.State {
				states[m.Event.Netns] = m.Event
			}
			for _, v := range inquiry.Add(m.Event, m.Ended) {
				if v.Cause == nil || len(v.Cause.Fix) == 0 {
					continue
				}
				if _, have := all["recorded "+v.Cause.Code]; have {
					continue
				}
				l := loss{j: v.Journey, s: new(host.Snapshot), fix: typed(v.Cause)}
				if err := json.Unmarshal(states[netnsOf(v.Journey)].Host, l.s); err != nil {
					t.Fatal(err)
				}
				all["recorded "+v.Cause.Code] = l
			}
		}
	}
	return all
}

// TestEveryRepairIsAmongThem: each template of a command in the sources has made one.
func TestEveryRepairIsAmongThem(t *testing.T) {
	var made []string
	for what, l := range repairable(t) {
		c := Explain(l.j, l.s).Cause
		if typed(c) != l.fix {
			t.Errorf("%s: %s: fix %q, want %q", what, c.Summary, typed(c), l.fix)
		}
		made = append(made, strings.Split(typed(c), "; ")...)
	}
	for _, test := range supposedStates() {
		found, _ := test.q.Examine(test.s, ruleset.Of(test.s))
		for _, f := range found {
			made = append(made, strings.Split(typed(&f.Cause), "; ")...)
		}
	}
	files, err := filepath.Glob("../[dr]*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	template := regexp.MustCompile(`\b(?:command\.Of|\.Then)\("([^"]*)"`)
	seen := 0
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range template.FindAllStringSubmatch(string(source), -1) {
			seen++
			// A part may be of no words.
			fits := regexp.MustCompile("^" + strings.ReplaceAll(strings.ReplaceAll(regexp.QuoteMeta(found[1]), " %", "( .+)?"), "%", ".+") + "$")
			if !slices.ContainsFunc(made, fits.MatchString) {
				t.Errorf("%s: nothing here makes %q", name, found[1])
			}
		}
	}
	if seen < 30 {
		t.Errorf("%d templates were found", seen)
	}
}

// slot is a place in a journey or a snapshot that holds text. put gives it another one, and says how to take it back.
type slot struct {
	text string
	put  func(string) (undo func())
}

// slots are those of a value: strings, keys of maps, addresses, the strings in JSON.
func slots(v reflect.Value) (all []slot) {
	switch old := v.Interface().(type) {
	case netip.Addr:
		return []slot{{old.String(), func(s string) func() { v.Set(reflect.ValueOf(zoned(s))); return func() { v.Set(reflect.ValueOf(old)) } }}}
	case netip.AddrPort:
		return []slot{{old.Addr().String(), func(s string) func() {
			v.Set(reflect.ValueOf(netip.AddrPortFrom(zoned(s), old.Port())))
			return func() { v.Set(reflect.ValueOf(old)) }
		}}}
	case netip.Prefix: // it has no zone
		return []slot{{old.String(), func(string) func() {
			v.Set(reflect.ValueOf(netip.PrefixFrom(zoned(""), 64)))
			return func() { v.Set(reflect.ValueOf(old)) }
		}}}
	case json.RawMessage:
		return inJSON(v, old)
	}
	switch v.Kind() {
	case reflect.String:
		old := v.String()
		return []slot{{old, func(s string) func() { v.SetString(s); return func() { v.SetString(old) } }}}
	case reflect.Pointer:
		if !v.IsNil() {
			all = slots(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				all = append(all, slots(v.Field(i))...)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			all = append(all, slots(v.Index(i))...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			all = append(all, slot{key.String(), func(s string) func() {
				to := reflect.ValueOf(s)
				value, there := v.MapIndex(key), v.MapIndex(to)
				v.SetMapIndex(key, reflect.Value{})
				v.SetMapIndex(to, value)
				return func() { v.SetMapIndex(to, there); v.SetMapIndex(key, value) }
			}})
		}
	}
	return all
}

// zoned is an address with text as its zone.
func zoned(text string) netip.Addr { return netip.MustParseAddr("fe80::1").WithZone(text) }

// inJSON are the strings of a JSON text.
func inJSON(v reflect.Value, old json.RawMessage) (all []slot) {
	for _, at := range regexp.MustCompile(`"[^"]*"`).FindAllIndex(old, -1) {
		all = append(all, slot{string(old[at[0]+1 : at[1]-1]), func(s string) func() {
			quoted, _ := json.Marshal(s)
			v.Set(reflect.ValueOf(slices.Concat(old[:at[0]], quoted, old[at[1]:])))
			return func() { v.Set(reflect.ValueOf(old)) }
		}})
	}
	return all
}

// harmless is a name that any command takes; hostile are names that do something else if they are taken as they stand.
const harmless = "name0"

var hostile = []string{
	";touch /tmp/x", "$(touch /tmp/x)", "a b", "a'b", "a\nb", "a\u202eb", "-X", "--modprobe=/tmp/x", "a=1", "%", "{ a }", "../x",
}

// long has the test below look at every string: make fuzz does.
var long = flag.Bool("long", false, "replace every string by hostile text, instead of one in eight and those that are equal")

// TestNoNameBecomesMoreThanAName puts hostile text into each string of the journeys and the snapshots, and into all
// that are equal at once: the words of the commands are those that a harmless name leads to, but for the name, or there
// is no command, and it is said why.
func TestNoNameBecomesMoreThanAName(t *testing.T) {
	unsaid, turn := 0, 0
	all := repairable(t)
	maps.Copy(all, recorded(t))
	for _, what := range slices.Sorted(maps.Keys(all)) {
		l := all[what]
		if l.s == nil {
			continue
		}
		before := Explain(l.j, l.s).Cause
		places := slices.Concat(slots(reflect.ValueOf(&l.j)), slots(reflect.ValueOf(l.s)))
		groups := map[string][]slot{}
		for _, s := range places {
			groups[s.text] = append(groups[s.text], s)
		}
		for _, text := range slices.Sorted(maps.Keys(groups)) {
			equal := groups[text]
			for _, s := range places { // the name of a device is within that of a setting
				if within := "/" + text + "/"; text != "" && strings.Contains(s.text, within) {
					equal = append(equal, slot{s.text, func(h string) func() { return s.put(strings.ReplaceAll(s.text, within, "/"+h+"/")) }})
				}
			}
			unsaid += replaced(t, what, l, before, equal)
			if len(equal) == 1 {
				continue
			}
			for i := range equal {
				if turn++; turn%8 > 0 && !*long {
					continue
				}
				unsaid += replaced(t, what, l, before, equal[i:i+1])
			}
		}
		if after := Explain(l.j, l.s).Cause; !reflect.DeepEqual(before, after) {
			t.Fatalf("%s: not all was taken back: %+v, %+v", what, before, after)
		}
	}
	if unsaid < 100 {
		t.Errorf("only %d names had no command", unsaid)
	}
}

// replaced puts names into some slots, and counts those with which there is no command.
func replaced(t *testing.T, what string, l loss, before *Cause, some []slot) (unsaid int) {
	t.Helper()
	with := func(name string) Verdict {
		for _, s := range some {
			defer s.put(name)()
		}
		return Explain(l.j, l.s)
	}
	path := ""
	if strings.HasPrefix(some[0].text, "/") {
		path = "/"
	}
	want, by := with(path+harmless).Cause, hostile
	if reflect.DeepEqual(want, before) {
		by = by[:1] // nothing depends on it
		if !*long {
			return 0
		}
	}
	for _, h := range by {
		v := with(path + h)
		c := v.Cause
		showsNone(t, what, v, h)
		for _, f := range c.Fix {
			harmlessly(t, what, f.String(), h)
		}
		switch {
		case c.Code != want.Code || len(ownFix(want)) == 0:
		case len(c.Fix) > 0:
			if got, want := words(c), words(want); !slices.Equal(got, each(want, harmless, h)) {
				t.Errorf("%s: %q became %q\nwant %q", what, some[0].text, got, each(want, harmless, h))
			}
		case !strings.Contains(c.Summary, "; no command: "):
			t.Errorf("%s: %q as %q: nothing says why there is no command: %s", what, some[0].text, h, c.Summary)
		default:
			unsaid++
		}
	}
	return unsaid
}

// ownFix are the commands that repair the cause itself, without those for what comes next.
func ownFix(c *Cause) []command.Command {
	n := len(c.Fix)
	for _, next := range c.Next {
		n -= len(next.Fix)
	}
	return c.Fix[:n]
}

// words are those of a cause's own commands.
func words(c *Cause) (all []string) {
	for _, f := range ownFix(c) {
		read, _ := command.Read(f.String())
		for _, split := range read {
			all = append(all, split...)
		}
	}
	return all
}

func each(words []string, from, to string) []string {
	out := slices.Clone(words)
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], from, to)
	}
	return out
}

// programs are those that a command may begin with.
var programs = []string{"ip", "tc", "nft", "sysctl", "nsenter", "ipvsadm", "bpftool", "modprobe", "iptables-nft", "iptables-legacy"}

// nftWord is a word that nft reads as it stands.
var nftWord = regexp.MustCompile(`^([A-Za-z0-9_./-]+|\{ [A-Za-z0-9_./* -]+ \}|\{ type filter hook prerouting priority mangle; \})$`)

// harmlessly checks a command whatever led to it: hostile text is only in the arguments of a rule, and in a path.
func harmlessly(t *testing.T, what, line, h string) {
	t.Helper()
	read, ok := command.Read(line)
	if !ok {
		t.Fatalf("%s: with %q: %s", what, h, line)
	}
	for _, split := range read {
		if compares := len(read) > 1 && split[0] == "grep"; !compares && !slices.Contains(programs, split[0]) {
			t.Errorf("%s: with %q: %s", what, h, line)
		}
		quoted := strings.HasPrefix(split[0], "iptables-") || split[0] == "bpftool" || split[0] == "grep"
		for _, w := range split {
			if !quoted && strings.Contains(w, h) || split[0] == "nft" && !nftWord.MatchString(w) || strings.HasPrefix(w, "--modprobe") {
				t.Errorf("%s: with %q: %s", what, h, line)
			}
		}
	}
}

// showsNone checks the commands that evidence and summary show.
func showsNone(t *testing.T, what string, v Verdict, h string) {
	t.Helper()
	for _, line := range v.Cause.Evidence {
		isRule := v.Rule != nil && line == v.Rule.Text
		line, _, _ = strings.Cut(line, ": ")
		program, _, _ := strings.Cut(line, " ")
		if slices.Contains(programs, program) && !isRule {
			harmlessly(t, what, strings.ReplaceAll(line, "…", "x"), h)
		}
	}
	if _, shown, ok := strings.Cut(v.Cause.Summary, "ip neigh del "); ok && strings.Contains(shown, h) {
		t.Errorf("%s: %q shows %s", what, h, shown)
	}
}

// TestAFixIsNeverAString: the type of the field keeps text from becoming one; command's own tests keep the type.
func TestAFixIsNeverAString(t *testing.T) {
	if f, _ := reflect.TypeFor[Cause]().FieldByName("Fix"); f.Type != reflect.TypeFor[[]command.Command]() {
		t.Errorf("Cause.Fix is %s", f.Type)
	}
	if f, _ := reflect.TypeFor[finding]().FieldByName("fix"); f.Type != reflect.TypeFor[command.Fix]() {
		t.Errorf("finding.fix is %s", f.Type)
	}
}

// TestACommandThatCannotBeSaidIsMissedInWords shows the sentence.
func TestACommandThatCannotBeSaidIsMissedInWords(t *testing.T) {
	j := dropped("nf_hook_slow", "NETFILTER_DROP", "tunl0", false)
	j.Drop.NfHook = "input"
	s := realServer(stateful(t, "drop"), func(s *host.Snapshot) { s.Nft[0].Chains[0].Name = "input;" })
	v := Explain(j, s)
	const want = "the policy of chain input; of nft table inet f drops the packet; no command: the name of the chain is no plain identifier, and nft would read something else"
	if v.Cause.Summary != want || v.Cause.Certainty != Observed || len(v.Cause.Fix) > 0 {
		t.Errorf("%s: %s, %q", v.Cause.Certainty, v.Cause.Summary, v.Cause.Fix)
	}
}
