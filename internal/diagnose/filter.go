package diagnose

import (
	"fmt"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// filterRows are the causes in netfilter and beside it.
func filterRows() []row {
	rules := []host.Part{host.PartNft, host.PartIPTables}
	// Few rules test the state in connection tracking, or the device by which a packet leaves.
	looks := append([]host.Part{host.PartConntrack, host.PartSysctls}, lookups...)
	return []row{
		{
			code: "firewall-reject", stage: filter, minds: rules, looks: looks,
			at: []spot{{site.Hook, likely}}, asked: outerSide | innerSide | replySide,
			check: func(s Subject, st *State) *finding { return firewallState(s, st, true) },
			doc: Doc{
				Where:  inFilters,
				Means:  "A rule rejects the packet and answers it.",
				Kernel: "As firewall-drop, after ICMP 3/x or an RST. An ICMP error about the outer packet goes to the director, which passes it on to the client.",
				Confirm: []Line{
					{Command: "nft -a list ruleset | grep reject", Says: "the rule, and its handle", Shows: `reject.*# handle \d+`, Lab: "firewall-reject"},
					{Command: "iptables-save | grep REJECT", Says: "iptables-legacy-save, if there are legacy tables", Shows: `-j REJECT`},
				},
				Fix: []Line{
					{Command: "nft delete rule FAMILY TABLE CHAIN handle HANDLE", Lab: "firewall-reject"},
					{Command: "iptables -nL CHAIN --line-numbers; iptables -D CHAIN NUMBER", Says: "or, for a rule of iptables: look at its number first"},
					{Command: "firewall-cmd --add-protocol=ipencap", Says: "or, if firewalld's zone rejects IPIP", Unplayed: "a guest has no firewalld"},
				},
				Prevent: "Give tunl0 and the director's protocol a zone of their own: firewalld's default zone rejects.",
			},
		},
		{
			code: "firewall-drop", stage: filter, minds: rules, looks: looks,
			at: []spot{{site.Hook, likely}}, asked: outerSide | innerSide | replySide,
			check: func(s Subject, st *State) *finding { return firewallState(s, st, false) },
			doc: Doc{
				Where:  inFilters,
				Means:  "A rule of nftables or iptables, or a chain's policy, drops the packet.",
				Kernel: "nf_hook_slow, on newer kernels nft_do_chain; NETFILTER_DROP. The hook is in drop.nf_hook, the rule in drop.rule.",
				Confirm: []Line{
					{Command: "nft -a list ruleset", Says: "the rule, and its handle; or policy drop", Shows: `drop.*# handle \d+`},
					{Command: "iptables-save -c", Says: "iptables-legacy-save, if there are legacy tables; a counter rises", Shows: `\[[1-9]\d*:\d+\] -A .*-j DROP`, Lab: "firewall-iptables-nft"},
				},
				Fix: []Line{
					{Command: "nft delete rule FAMILY TABLE CHAIN handle HANDLE"},
					{Command: "nft insert rule FAMILY TABLE CHAIN ip daddr VIP tcp dport PORT accept", Says: "or, if it is the chain's policy, or a rule that drops whatever comes", Lab: "firewall-policy"},
					{Command: "iptables -nL CHAIN --line-numbers; iptables -D CHAIN NUMBER", Says: "or, for a rule of iptables: look at its number first", Lab: "firewall-iptables-nft"},
				},
				Prevent: "Accept IPIP from the director (ip protocol 4), and the service on tunl0, not on eth0: the decapsulated packet comes by tunl0.",
			},
		},
		{
			code: "conntrack-full", stage: filter, needs: []host.Part{host.PartConntrack},
			at: maybe(site.Hook), doubted: outerSide,
			check: func(s Subject, st *State) *finding {
				c := st.Conntrack
				if c == nil || c.Max == 0 || c.Drop == 0 && !s.Supposed || c.Count < c.Max {
					return nil
				}
				return &finding{
					summary:  fmt.Sprintf("the table of tracked connections is full: %d of %d", c.Count, c.Max),
					evidence: []evidence{by(host.PartConntrack, "net.netfilter.nf_conntrack_count = %d", c.Count), by(host.PartConntrack, "net.netfilter.nf_conntrack_max = %d", c.Max), by(host.PartConntrack, "/proc/net/stat/nf_conntrack: %d dropped", c.Drop)},
					fix:      command.Of("nsenter -t 1 -n sysctl -w net.netfilter.nf_conntrack_max=%", command.Number(max(2*c.Max, c.Count+65536))),
					// The kernel may find an entry that it can do without (early_drop).
					doubtful: c.Drop == 0,
					mend: func(st *State) {
						st.whole.Conntrack = &host.Conntrack{Count: c.Count, Max: max(2*c.Max, c.Count+65536), Drop: c.Drop, Conns: c.Conns, MoreConns: c.MoreConns}
					},
				}
			},
			doc: Doc{
				Where:  inFilters,
				Means:  "The table of tracked connections is full.",
				Kernel: "nf_hook_slow, NETFILTER_DROP, in prerouting or output; the kernel log has \"nf_conntrack: table full\".",
				Confirm: []Line{
					{Command: "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max", Says: "the one has reached the other", Shows: `nf_conntrack_count = [1-9]\d*\n\S+_max = \d+`},
					{Command: "cat /proc/net/stat/nf_conntrack", Says: "drop, for each CPU", Shows: `\bdrop\b`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.netfilter.nf_conntrack_max=LARGER", On: atFirst},
				},
				Prevent: "notrack for IPIP and for the VIP: a real server sees requests and replies on different devices and needs no tracking.",
			},
		},
		{
			code: "queue-drop", stage: filter, minds: append([]host.Part{host.PartQueues}, rules...), looks: looks,
			asked: outerSide | innerSide | replySide,
			at:    sure(site.Queue),
			check: queueState,
			bare: func(Subject) finding {
				return finding{summary: "a rule sends the packet to NF_QUEUE, and no program takes it from there: start the program, or let the rule bypass it (queue bypass)"}
			},
			doc: Doc{
				Where:  inFilters,
				Means:  "A rule hands the packet to a program (NF_QUEUE), and no program takes it: none reads the queue, or the one that does is too slow and the queue is full.",
				Kernel: "nf_queue, NOT_SPECIFIED.",
				Confirm: []Line{
					{Command: "cat /proc/net/netfilter/nfnetlink_queue", Says: "no line with the queue's number", Shows: `\A(cat: .*\n?)?\z`, Fails: true},
					{Command: "cat /proc/net/netfilter/nfnetlink_queue", Says: "or the 3rd number of its line, of packets that wait, is high, and the 6th, of those for which there was no room, rises", Shows: `(?m)^ +7 +\d+ +1 +\d+ +\d+ +[1-9]`, Lab: "queue-full"},
					{Command: "nft -a list ruleset | grep queue", Says: "the queue's number, and no bypass", Shows: `queue (num|to) \d+`},
				},
				Fix: []Line{
					{Says: "Start the program. If it is too slow, let it fail open (NFQA_CFG_F_FAIL_OPEN), or give it a longer queue."},
					{Command: "nft replace rule FAMILY TABLE CHAIN handle HANDLE ip daddr VIP queue num 7 bypass", Says: "or let the rule accept what no program takes: the rule as it is, and bypass (iptables: --queue-bypass)"},
				},
				Prevent: "Put bypass into every rule with a queue. It does not help against a queue that is full.",
			},
		},
		{
			code: "queue-verdict", stage: filter, minds: append([]host.Part{host.PartQueues}, rules...), looks: looks,
			at:    sure(site.QueueVerdict),
			check: verdictState,
			bare: func(Subject) finding {
				return finding{summary: "NF_QUEUE had the packet, and it came back to be dropped: the program that reads the queue said so (its own log says why), or ended with the packet in it, or a chain behind the queue's rule at the same hook drops it"}
			},
			doc: Doc{
				Where:  inFilters,
				Means:  "A rule hands the packet to a program (NF_QUEUE), as a rule an intrusion prevention system, and the program told the kernel to drop it.",
				Kernel: "nf_reinject, on newer kernels nfqnl_reinject; NOT_SPECIFIED or NETFILTER_DROP. It frees, too, what a chain behind the queue's rule drops, and what waits when the program ends.",
				Confirm: []Line{
					{Command: "cat /proc/net/netfilter/nfnetlink_queue", Says: "the queue's line: its 2nd number is nearly always the process of the program", Shows: `(?m)^ +7 +\d+ `},
					{Command: "nft -a list ruleset | grep queue", Says: "the queue's number", Shows: `queue (num|to) \d+`},
				},
				Fix: []Line{
					{Says: "Change the rules of the program: what it logs says which one drops the packet (Suricata: eve.json, drop.log)."},
				},
				Prevent: "Such a program sees a packet twice, in IPIP and out of it, and only one direction of each connection: let it look at what has left the tunnel, and not ask for whole connections.",
			},
		},
		{
			code: "firewall-reject", stage: filter, minds: rules,
			at: sure(site.Hook), fits: unreadRule(true), bare: bareRule,
		},
		{
			code: "firewall-drop", stage: filter, minds: rules,
			at: sure(site.Hook, site.HookUnnamed), fits: unreadRule(false), bare: bareRule,
		},
		{
			code: "xfrm-policy", stage: filter, needs: []host.Part{host.PartXFRM}, looks: []host.Part{host.PartSysctls},
			at:    append(sure(site.XFRMPolicy), maybe(site.TunnelPolicyUnsaid, site.SocketUnsaid)...),
			asked: outerSide | innerSide | replySide,
			check: xfrmState,
			bare:  func(Subject) finding { return finding{summary: "an IPsec policy (xfrm) refuses the packet"} },
			doc: Doc{
				Where:  inFilters,
				Means:  "An IPsec policy refuses the packet.",
				Kernel: "ipip_tunnel_rcv (outer); tcp_v4_rcv, XFRM_POLICY or, without a socket, NO_SOCKET without an RST.",
				Confirm: []Line{
					{Command: "ip -s xfrm policy", Says: "action block, or a template without a state; its index", Shows: `action block`},
					{Command: "cat /proc/net/xfrm_stat", Says: "what rises", Shows: `XfrmInPolBlock\s+[1-9]`},
				},
				Fix: []Line{
					{Command: "ip xfrm policy delete dir in index INDEX"},
				},
				Prevent: "Make a policy that allows the director's packets, with a smaller priority number: of those that fit a packet the smallest counts.",
			},
		},
		{
			// A packet that IPsec refuses has a socket, and gets no answer.
			code: "xfrm-policy", stage: filter, needs: []host.Part{host.PartXFRM}, looks: []host.Part{host.PartSysctls},
			at: maybe(site.NoSocket), fits: func(s Subject, _ *State) bool { return !s.Rejected },
			check: xfrmState,
		},
		{
			code: "xfrm-policy", stage: filter, needs: []host.Part{host.PartXFRM}, looks: []host.Part{host.PartSysctls},
			at:    maybe(site.RefusedSYN, site.NoReply),
			check: func(s Subject, st *State) *finding { return xfrmState(s.answer(), st) },
		},
		{
			code: "cgroup-drop", stage: filter, needs: []host.Part{host.PartCgroups},
			doubted: innerSide | replySide,
			at:      append(sure(site.CgroupEgress), spot{site.SocketFilter, likely}, spot{site.SocketFilterUnsaid, likely}, spot{site.SocketUnsaid, likely}),
			check:   cgroupState,
			bare:    func(Subject) finding { return finding{summary: "a program at a cgroup drops what leaves"} },
			doc: Doc{
				Where:  inFilters,
				Means:  "A BPF program at a cgroup drops what the cgroup's processes receive or send.",
				Kernel: "tcp_v4_rcv or udp_queue_rcv_one_skb, SOCKET_FILTER; ip_finish_output, BPF_CGROUP_EGRESS.",
				Confirm: []Line{
					{Command: "bpftool cgroup tree", Says: "the folder; the program's ID, and ingress or egress", Shows: `CGROUP`},
					{Command: "bpftool prog list | grep cgroup_skb", Says: "its ID, if bpftool is newer than the kernel and leaves it out above", Shows: `cgroup_skb`},
					{Command: "systemctl show UNIT -p IPAddressDeny -p IPAddressAllow"},
				},
				Fix: []Line{
					{Command: "bpftool cgroup detach CGROUP cgroup_inet_ingress id ID", Says: "or cgroup_inet_egress"},
					{Command: "systemctl edit UNIT", Says: "or, if systemd attached it: IPAddressAllow=", Unplayed: "a guest has no systemd"},
				},
				Prevent: "Change the unit if systemd makes the program: IPAddressDeny= is made of it.",
			},
		},
		{
			code: "cgroup-drop", stage: filter, needs: []host.Part{host.PartCgroups},
			at: []spot{{site.OutputUnsaid, likely}}, fits: func(s Subject, _ *State) bool { return s.Reply },
			check: cgroupState,
		},
		{
			code: "security-module", stage: filter,
			at: sure(site.SecurityModule),
			bare: func(Subject) finding {
				return finding{summary: "a security module (SELinux, AppArmor) refuses the packet: its log says which policy (ausearch -m avc)"}
			},
			doc: Doc{
				Where:  inFilters,
				Means:  "A security module (SELinux, AppArmor, Smack) refuses the packet.",
				Kernel: "SECURITY_HOOK on the newest kernels, SOCKET_FILTER or NETFILTER_DROP on others.",
				Confirm: []Line{
					{Command: "ausearch -m avc -ts recent"},
					{Command: "journalctl -k | grep -i denied"},
				},
				Fix: []Line{
					{Says: "Allow it in the module's policy (audit2allow)."},
				},
				Prevent: "Test a policy in permissive mode first.",
			},
		},
		{
			code: "security-module", stage: filter, needs: []host.Part{host.PartSockets, host.PartLinks, host.PartCgroups},
			at:    []spot{{site.SocketFilter, likely}},
			check: securityState,
		},
	}
}

// cgroupState: the state does not say what the programs do with the packet; systemd counts with such programs, too.
func cgroupState(s Subject, st *State) *finding {
	side := "ingress"
	if s.Reply {
		side = "egress"
	}
	var all []host.CgroupBPF
	for _, c := range st.Cgroups {
		if c.Attach == side || s.Supposed && s.Reply && c.Attach == "sendmsg4" && s.proto() == "udp" {
			all = append(all, c)
		}
	}
	if len(all) > 1 { // which of them did it is not in the state, and the others have their reasons
		f := &finding{summary: fmt.Sprintf("one of %d programs at cgroups drops the packet", len(all)), consistent: true, doubtful: true}
		for _, c := range all {
			f.evidence = append(f.evidence, by(host.PartCgroups, "bpftool cgroup show %s: %s id %d", command.Path("/sys/fs/cgroup", c.Path), c.Attach, c.ID))
		}
		return f
	}
	if len(all) == 0 {
		return nil
	}
	c := all[0]
	path := command.Path("/sys/fs/cgroup", c.Path)
	var detach command.Fix
	switch {
	case c.Link != 0:
		detach = command.Of("bpftool link detach id %", command.Number(c.Link))
	case c.Attach != "sendmsg4":
		detach = command.Of("bpftool cgroup detach % cgroup_inet_% id %", path, command.OneOf("the side", side, "ingress", "egress"), command.Number(c.ID))
	}
	return &finding{
		summary:  fmt.Sprintf("a program at the cgroup %s drops the packet", c.Path),
		evidence: []evidence{by(host.PartCgroups, "bpftool cgroup show %s: %s id %d", path, c.Attach, c.ID)},
		fix:      detach,
		mend: func(st *State) {
			st.whole.Cgroups = slices.DeleteFunc(slices.Clone(st.whole.Cgroups), func(x host.CgroupBPF) bool { return x == c })
		},
		consistent: true, doubtful: true,
	}
}

// securityState: older kernels give one reason for what a socket's filter, a cgroup's program and a security module
// refuse (sk_filter_trim_cap). Whether a socket has a filter is only known with its owner.
func securityState(s Subject, st *State) *finding {
	sock := st.serving(s)
	if sock == nil || len(sock.Owners) == 0 || sock.Filter {
		return nil
	}
	for _, c := range st.Cgroups {
		if c.Attach == "ingress" {
			return nil
		}
	}
	return &finding{
		summary: "neither a filter of the service's own socket nor a program at a cgroup is there to refuse the packet: a security module is left (SELinux, AppArmor), whose log says which policy (ausearch -m avc)",
		evidence: []evidence{
			by(host.PartSockets, "getsockopt SO_GET_FILTER on %s %s: there is none", s.proto(), sock.Local), by(host.PartCgroups, "bpftool cgroup tree: no ingress"),
		},
		consistent: true, doubtful: true,
	}
}
