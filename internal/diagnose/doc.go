package diagnose

// Doc explains a cause to a person: `ipiptrace explain CODE`.
type Doc struct {
	// Code is the cause's.
	Code string `json:"code"`
	// Where is the part of the way on which a packet meets it.
	Where string `json:"where"`
	// Means is what has happened; it is also the line of docs/causes/README.md.
	Means string `json:"means"`
	// Kernel is where it is seen in the kernel, on old and on new versions.
	Kernel string `json:"kernel"`
	// Confirm are commands that show it by hand, with what to look for behind a #.
	Confirm []string `json:"confirm"`
	// Fix are the ways to repair it, commands and lines of prose that begin with #; VIP, RIP, CLIENT and the like stand
	// for the reader's own.
	Fix []string `json:"fix"`
	// Prevent is how to keep it from coming back.
	Prevent string `json:"prevent"`
}

// Codes explains every cause, in the order in which a packet meets them.
func Codes() []Doc {
	var all []Doc
	for _, group := range []struct {
		where string
		docs  []Doc
	}{
		{"before the tunnel", outerDocs()},
		{"any stage, the packet", packetDocs()},
		{"any stage, filters", filterDocs()},
		{"routing of the inner packet", routingDocs()},
		{"reply", replyDocs()},
		{"socket", socketDocs()},
		{"host", hostDocs()},
		{"director", directorDocs()},
		{"nothing known", []Doc{{
			Code:   unknown,
			Means:  "Nothing that ipiptrace knows explains the loss; function, reason and stack are still given.",
			Kernel: "The function is the one that freed the packet, the reason the kernel's own name (since 5.17; TCP's since 6.1).",
			Confirm: []string{
				"ipiptrace --vip VIP --only lost --stack  # who called the function",
				"nstat -az  # which counter rises with each loss",
			},
			Fix:     []string{"# Look the function up in the kernel's source; a recording (ipiptrace record) shows others what you saw."},
			Prevent: "Report it with a recording: a cause that is known can be named.",
		}}},
	} {
		for _, d := range group.docs {
			d.Where = group.where
			all = append(all, d)
		}
	}
	return all
}

func outerDocs() []Doc {
	return []Doc{
		{
			Code:    "outer-not-local",
			Means:   "The outer destination is none of this host's addresses: the director has a wrong address for the real server.",
			Kernel:  "ip_error, IP_INADDRERRORS, no ICMP, with forwarding off; with forwarding on the packet is sent on.",
			Confirm: []string{"ip route get OUTER-DESTINATION  # not local", "ipvsadm -Ln  # on the director: the address of the destination"},
			Fix:     []string{"ipvsadm -d -t VIP:PORT -r WRONG; ipvsadm -a -t VIP:PORT -r RIP -i  # on the director"},
			Prevent: "Take the addresses of real servers from one source in keepalived's configuration.",
		},
		{
			Code:    "wrong-mac",
			Means:   "The frame is addressed to another Ethernet address: somebody has a wrong neighbour entry for this host.",
			Kernel:  "ip_rcv_core, OTHERHOST; only on a device in promiscuous mode, others never show such a frame to the kernel.",
			Confirm: []string{"ip neigh show RIP  # on the director", "ip link show eth0  # the real address"},
			Fix:     []string{"ip neigh del RIP dev eth0  # on the director"},
			Prevent: "No permanent neighbour entries; after an address moves, announce it (arping -U).",
		},
		{
			Code:    "tunnel-module-missing",
			Means:   "The kernel module ipip is not loaded: nobody takes IPIP packets.",
			Kernel:  "ip_local_deliver_finish, IP_NOPROTO, ICMP 3/2; where sit or another module keeps tunnel4 loaded: tunnel4_rcv, ICMP 3/3.",
			Confirm: []string{"lsmod | grep ipip  # nothing", "ip link show type ipip  # nothing"},
			Fix:     []string{"modprobe ipip", "ip link set tunl0 up", "ip addr add VIP/32 dev tunl0"},
			Prevent: "echo ipip > /etc/modules-load.d/ipip.conf",
		},
		{
			Code:    "tunnel-device-down",
			Means:   "The tunnel's device is down: no tunnel takes the packet.",
			Kernel:  "tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3: the client sees a refused connection, as if nobody listened.",
			Confirm: []string{"ip link show tunl0  # no UP between the angle brackets"},
			Fix:     []string{"ip link set tunl0 up"},
			Prevent: "Bring it up where the VIP is configured (networkd, ifupdown), not by hand.",
		},
		{
			Code:    "tunnel-endpoint-mismatch",
			Means:   "Tunnels are there, but none for these two outer addresses.",
			Kernel:  "tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3. With tunl0 up it takes what no other tunnel does, and rp_filter of tunl0 counts.",
			Confirm: []string{"ip -d link show type ipip  # local and remote"},
			Fix: []string{
				"ip tunnel change TUNNEL mode ipip remote DIRECTOR local RIP",
				"# or, for any director, make it anew (a tunnel with a remote can't be changed to one without) and give it the VIP again:",
				"ip link del TUNNEL; ip link add TUNNEL type ipip local RIP; ip link set TUNNEL up; ip addr add VIP/32 dev TUNNEL",
				"# or let tunl0 take what no other tunnel does:",
				"ip link set tunl0 up",
			},
			Prevent: "A tunnel without a remote, if there are several directors.",
		},
		{
			Code:    "tunnel-mode-mismatch",
			Means:   "The tunnel takes another protocol than IPv4 (mplsip), or the director sends by GRE or GUE.",
			Kernel:  "ipip_tunnel_rcv, NOT_SPECIFIED, no ICMP, no counter; GRE: ip_local_deliver_finish, IP_NOPROTO, ICMP 3/2, or gre_rcv; GUE: __udp4_lib_rcv, NO_SOCKET, ICMP 3/3.",
			Confirm: []string{"ip -d link show TUNNEL  # mode", "ipvsadm -Ln --tun-info  # on the director"},
			Fix: []string{
				"# The mode of a tunnel that is there can't be changed; its addresses go with it, so the VIP is given again:",
				"ip link del TUNNEL; ip link add TUNNEL type ipip local RIP; ip link set TUNNEL up; ip addr add VIP/32 dev TUNNEL",
				"# or, if the director sends by GRE or GUE:",
				"ipvsadm -e -t VIP:PORT -r RIP:PORT -i --tun-type ipip  # on the director",
			},
			Prevent: "Leave the mode out when the tunnel is made: ipip is the default.",
		},
		{
			Code:    "ecn-mismatch",
			Means:   "The outer header says that the packet met congestion (CE), and the inner one that its sender takes no word of that (Not-ECT).",
			Kernel:  "ip_tunnel_rcv (IP_ECN_decapsulate, RFC 6040), NOT_SPECIFIED, no ICMP; rx_frame_errors of the tunnel's device.",
			Confirm: []string{"ip -s -s link show tunl0  # frame errors", "tcpdump -nvi eth0 proto 4  # tos 0x3 outside, 0x0 inside"},
			Fix:     []string{"# Between director and real server: whoever sets CE must leave packets alone that are Not-ECT (RFC 3168)."},
			Prevent: "IPVS copies the field from the inner header to the outer one: nothing else may write it but for ECT.",
		},
		{
			Code:    "tunnel-wrong-namespace",
			Means:   "The tunnel's device is in another network namespace: the inner packet goes on there, without the VIP.",
			Kernel:  "Decapsulated, then ip_error in the other namespace.",
			Confirm: []string{"ip -d link show type ipip  # in each namespace: link-netnsid"},
			Fix:     []string{"ip link add lvs0 type ipip local RIP; ip link set lvs0 up; ip addr add VIP/32 dev lvs0  # in the namespace in which the service runs"},
			Prevent: "net.core.fb_tunnels_only_for_init_net decides where tunl0 exists.",
		},
	}
}

func packetDocs() []Doc {
	return []Doc{
		{
			Code:    "bad-checksum",
			Means:   "A checksum in the packet is wrong.",
			Kernel:  "ip_rcv_core, IP_CSUM; tcp_v4_rcv, TCP_CSUM; UDP and ICMP alike. 5.10 has no reasons: the counters tell.",
			Confirm: []string{"nstat -az | grep Csum", "ethtool -k eth0 | grep checksum"},
			Fix:     []string{"ethtool -K eth0 rx off tx off  # on the host whose offload is broken"},
			Prevent: "A driver or hypervisor without the bug; then the offloads on again.",
		},
		{
			Code:    "malformed-packet",
			Means:   "A header does not fit the packet: wrong version, wrong length, or cut off.",
			Kernel:  "ip_rcv_core, IP_INHDR or PKT_TOO_SMALL; on the tunnel's device it is the inner header.",
			Confirm: []string{"nstat -az IpInHdrErrors IpExtInTruncatedPkts", "tcpdump -ni eth0 -vv proto 4"},
			Fix:     []string{"# Look at who sends it: on the wire it is as it is here."},
			Prevent: "None on this host.",
		},
		{
			Code:    "ttl-expired",
			Means:   "The packet's TTL is used up.",
			Kernel:  "ip_forward or ip_vs_tunnel_xmit, with ICMP 11/0 (NOT_SPECIFIED, IP_INHDR).",
			Confirm: []string{"traceroute -n VIP", "ipiptrace --vip VIP  # the same packet again and again: it goes in a circle"},
			Fix:     []string{"# If it goes in a circle: the VIP is missing on the real server while forwarding is on (explain vip-missing)."},
			Prevent: "net.ipv4.ip_forward=0 on real servers: the tunnel does not need it.",
		},
		{
			Code:    "fragment-lost",
			Means:   "A fragment did not arrive, and the others waited in vain.",
			Kernel:  "ip_expire, FRAG_REASM_TIMEOUT (6.12; before that NOT_SPECIFIED), ICMP 11/1 after ipfrag_time; nothing before that.",
			Confirm: []string{"nstat -az IpReasmFails IpReasmTimeout", "tcpdump -ni eth0 'ip[6:2] & 0x3fff != 0'"},
			Fix:     []string{"# Let fragments pass in firewalls on the way", "ip route change default via GATEWAY advmss 1440  # on the real server: smaller segments"},
			Prevent: "net.ipv4.vs.pmtu_disc=1 on the director (the default): what its sender marks with DF is not fragmented then, but refused with ICMP 3/4, and lost for good where that is filtered (explain mtu-exceeded). With 0 everything passes, in fragments, of which one lost loses the whole.",
		},
		{
			Code:    "mtu-exceeded",
			Means:   "With the outer header the packet is larger than the way to the real server, and may not be fragmented.",
			Kernel:  "ip_vs_tunnel_xmit, with ICMP 3/4 to the client.",
			Confirm: []string{"ip route get RIP  # on the director: mtu", "tcpdump -ni eth0 'icmp[0] = 3 and icmp[1] = 4'"},
			Fix: []string{
				"ip route change default via GATEWAY advmss 1440  # on the real server: TCP's segments fit then",
				"sysctl -w net.ipv4.vs.pmtu_disc=0  # on the director: all fits then, in fragments, of which one lost loses the whole",
				"# or an MTU of 1520 between director and real server: the best one",
			},
			Prevent: "Never filter ICMP 3/4: with net.ipv4.vs.pmtu_disc=1 (the default) it alone tells the sender; with 0 fragments have to pass instead (explain fragment-lost).",
		},
	}
}

func filterDocs() []Doc {
	return []Doc{
		{
			Code:    "firewall-drop",
			Means:   "A rule of nftables or iptables, or a chain's policy, drops the packet.",
			Kernel:  "nf_hook_slow, on newer kernels nft_do_chain; NETFILTER_DROP. The hook is in drop.nf_hook, the rule in drop.rule.",
			Confirm: []string{"nft -a list ruleset", "iptables-save -c"},
			Fix:     []string{"nft delete rule FAMILY TABLE CHAIN handle HANDLE", "iptables -D CHAIN RULE"},
			Prevent: "Accept IPIP from the director (ip protocol 4), and the service on tunl0 (not eth0): the decapsulated packet comes by tunl0.",
		},
		{
			Code:    "firewall-reject",
			Means:   "A rule rejects the packet and answers it.",
			Kernel:  "As firewall-drop, after ICMP 3/x or an RST. An ICMP error about the outer packet goes to the director, which passes it on to the client.",
			Confirm: []string{"nft -a list ruleset | grep reject", "iptables-save | grep REJECT"},
			Fix:     []string{"nft delete rule FAMILY TABLE CHAIN handle HANDLE", "firewall-cmd --add-protocol=ipencap"},
			Prevent: "firewalld's default zone rejects: put tunl0 and the director's protocol into a zone of their own.",
		},
		{
			Code:    "conntrack-full",
			Means:   "The table of tracked connections is full.",
			Kernel:  "nf_hook_slow, NETFILTER_DROP, in prerouting or output; the kernel log has \"nf_conntrack: table full\".",
			Confirm: []string{"sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max", "cat /proc/net/stat/nf_conntrack  # drop"},
			Fix:     []string{"sysctl -w net.netfilter.nf_conntrack_max=LARGER"},
			Prevent: "notrack for IPIP and for the VIP: the real server sees both directions on different devices and needs no tracking.",
		},
		{
			Code:    "tc-drop",
			Means:   "A tc filter drops the packet.",
			Kernel:  "__netif_receive_skb_core, TC_INGRESS; __dev_queue_xmit, TC_EGRESS.",
			Confirm: []string{"tc -s filter show dev eth0 ingress", "tc -s filter show dev eth0 egress"},
			Fix:     []string{"tc filter del dev eth0 ingress pref PREF"},
			Prevent: "Look for who put it there (Cilium, a DDoS filter): it will come back.",
		},
		{
			Code:    "xdp-drop",
			Means:   "An XDP program drops the packet.",
			Kernel:  "do_xdp_generic or veth_xdp_rcv_skb; in a driver's XDP the packet never becomes one of the kernel's, and nothing is seen.",
			Confirm: []string{"ip -d link show eth0  # prog/xdp", "bpftool net"},
			Fix:     []string{"ip link set dev eth0 xdpgeneric off  # or xdpdrv"},
			Prevent: "Look for who loads it.",
		},
		{
			Code:    "cgroup-drop",
			Means:   "A program at a cgroup drops what its processes receive or send.",
			Kernel:  "tcp_v4_rcv or udp_queue_rcv_one_skb, SOCKET_FILTER; ip_finish_output, BPF_CGROUP_EGRESS.",
			Confirm: []string{"bpftool cgroup tree", "systemctl show UNIT -p IPAddressDeny -p IPAddressAllow"},
			Fix:     []string{"bpftool cgroup detach CGROUP cgroup_inet_ingress id ID", "systemctl edit UNIT  # IPAddressAllow="},
			Prevent: "systemd's IPAddressDeny= is made of this: change the unit.",
		},
		{
			Code:    "socket-filter-drop",
			Means:   "A filter that the service has put on its own socket drops the packet.",
			Kernel:  "tcp_v4_rcv or udp_queue_rcv_one_skb, SOCKET_FILTER.",
			Confirm: []string{"ss -lntup 'sport = :PORT'  # whose socket it is"},
			Fix:     []string{"# Change the program that owns the socket (SO_ATTACH_FILTER, SO_ATTACH_BPF)."},
			Prevent: "None on this host.",
		},
		{
			Code:    "xfrm-policy",
			Means:   "An IPsec policy refuses the packet.",
			Kernel:  "ipip_tunnel_rcv (outer), tcp_v4_rcv XFRM_POLICY or, without a socket, NO_SOCKET without an RST.",
			Confirm: []string{"ip xfrm policy", "cat /proc/net/xfrm_stat"},
			Fix:     []string{"ip xfrm policy delete dir in index INDEX"},
			Prevent: "A policy that allows the director's packets, with a smaller priority number.",
		},
		{
			Code:    "security-module",
			Means:   "A security module (SELinux, AppArmor, Smack) refuses the packet.",
			Kernel:  "SECURITY_HOOK on the newest kernels, SOCKET_FILTER or NETFILTER_DROP on others.",
			Confirm: []string{"ausearch -m avc -ts recent", "journalctl -k | grep -i denied"},
			Fix:     []string{"# Allow it in the module's policy (audit2allow)."},
			Prevent: "Test the policy in permissive mode first.",
		},
		{
			Code:    "queue-drop",
			Means:   "A rule hands the packet to a program (NF_QUEUE), and no program takes it.",
			Kernel:  "nf_queue, NOT_SPECIFIED.",
			Confirm: []string{"cat /proc/net/netfilter/nfnetlink_queue  # empty", "nft list ruleset | grep queue"},
			Fix:     []string{"# Start the program, or let the rule bypass it (nft: queue flags bypass to N; iptables: --queue-bypass)"},
			Prevent: "bypass in every queue rule.",
		},
	}
}

func routingDocs() []Doc {
	return []Doc{
		{
			Code:    "rp-filter",
			Means:   "The reverse-path filter drops the packet: the way back to its source leads out of another device, or there is none.",
			Kernel:  "ip_rcv_finish_core, IP_RPFILTER. What counts is max(conf.all, conf.DEVICE); conf.default does nothing for devices that are there. Connections that were there before survive (early demux).",
			Confirm: []string{"sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.tunl0.rp_filter", "ip route get CLIENT  # another device than tunl0", "nstat -az TcpExtIPReversePathFilter"},
			Fix:     []string{"sysctl -w net.ipv4.conf.tunl0.rp_filter=2  # loose; tunl0 must have an IPv4 address", "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tunl0.rp_filter=0  # or off: the greater of the two counts"},
			Prevent: "/etc/sysctl.d/: net.ipv4.conf.all.rp_filter=0, net.ipv4.conf.tunl0.rp_filter=2 (or 0), and 1 on the devices that face the outside. A device takes net.ipv4.conf.default.rp_filter when it is made: a tunl0 that comes later has that, unless ipip is loaded before (/etc/modules-load.d/).",
		},
		{
			Code:    "martian-source",
			Means:   "The packet's source is an address of this host itself, or one that can't be a source.",
			Kernel:  "ip_rcv_finish_core, since 6.13 IP_LOCAL_SOURCE, IP_INVALID_SOURCE or IP_LOCALNET, before that NOT_SPECIFIED.",
			Confirm: []string{"ip -4 addr | grep SOURCE", "sysctl -w net.ipv4.conf.all.log_martians=1; dmesg"},
			Fix:     []string{"ip addr del SOURCE/PREFIX dev DEVICE", "ip route replace RIP via GATEWAY src DIP  # on the director, if the outer source is the VIP"},
			Prevent: "The VIP as /32 on lo, on the director.",
		},
		{
			Code:    "vip-missing",
			Means:   "The VIP is no address of this host, or on a device that is down.",
			Kernel:  "ip_error, IP_INADDRERRORS, no ICMP, with forwarding off; with forwarding on the packet goes back to the director, in a circle.",
			Confirm: []string{"ip route get VIP  # not local", "ip -4 addr | grep VIP"},
			Fix:     []string{"ip addr add VIP/32 dev tunl0"},
			Prevent: "Configure it with tunl0. It must not be on eth0, and arp_ignore=1, arp_announce=2 on all.",
		},
		{
			Code:    "vip-wrong-prefix",
			Means:   "The VIP was given with a prefix: that makes a route to the clients into the tunnel.",
			Kernel:  "The reply is freed in ip_tunnel_xmit, NOT_SPECIFIED.",
			Confirm: []string{"ip -4 addr show tunl0  # not /32", "ip route get CLIENT  # dev tunl0"},
			Fix:     []string{"ip addr del VIP/24 dev tunl0; ip addr add VIP/32 dev tunl0"},
			Prevent: "Always /32.",
		},
		{
			Code:    "redirected",
			Means:   "DNAT, REDIRECT or TPROXY has given the packet to somebody else.",
			Kernel:  "The destination changes in prerouting; then the packet is delivered elsewhere, forwarded, or lost: tcp_v4_rcv or udp_rcv, NO_SOCKET; ip_error.",
			Confirm: []string{"nft list ruleset | grep -E 'dnat|redirect|tproxy'", "iptables -t nat -S"},
			Fix: []string{
				"nft insert rule FAMILY TABLE CHAIN ip daddr VIP tcp dport PORT accept  # before the rule, in its chain",
				"iptables -t nat -I CHAIN -d VIP -p tcp --dport PORT -j ACCEPT",
				"# docker: publish on RIP alone (-p RIP:80:80)",
			},
			Prevent: "Publish ports on an address, never on all.",
		},
		{
			Code:    "source-route",
			Means:   "The packet's sender has chosen its way by an IP option (source route), which this host does not allow.",
			Kernel:  "ip_rcv_options: ip_rcv_finish_core, NOT_SPECIFIED, no ICMP.",
			Confirm: []string{"sysctl net.ipv4.conf.all.accept_source_route net.ipv4.conf.tunl0.accept_source_route  # both count", "tcpdump -nvi tunl0 'ip[0] & 0xf > 5'"},
			Fix:     []string{"sysctl -w net.ipv4.conf.all.accept_source_route=1"},
			Prevent: "Hardly anybody needs such packets: find out who sends them.",
		},
		{
			Code:    "route-reject",
			Means:   "A route or a rule of the type blackhole, unreachable or prohibit refuses the packet.",
			Kernel:  "ip_error, IP_INADDRERRORS with forwarding off; with forwarding on ICMP 3/1 or 3/13 for unreachable and prohibit.",
			Confirm: []string{"ip rule", "ip route get VIP from CLIENT iif tunl0"},
			Fix:     []string{"ip rule del pref PREF", "ip route del blackhole PREFIX table TABLE"},
			Prevent: "Look for who made it: routing daemons make blackhole routes for what they announce.",
		},
		{
			Code:    "ip-forward-off",
			Means:   "The packet would have to be forwarded, and forwarding is off. A real server in tunnel mode does not need forwarding: only what DNAT sends on does.",
			Kernel:  "ip_error, IP_INADDRERRORS, behind a change of the destination in prerouting.",
			Confirm: []string{"sysctl net.ipv4.conf.tunl0.forwarding", "ip route get DESTINATION from CLIENT iif tunl0"},
			Fix:     []string{"sysctl -w net.ipv4.ip_forward=1  # the answers come by another device, and are forwarded, too"},
			Prevent: "Forward only where a container or a virtual machine has the service.",
		},
	}
}

func replyDocs() []Doc {
	return []Doc{
		{
			Code:    "no-return-route",
			Means:   "There is no route back to the client: no answer can be made.",
			Kernel:  "A SYN is refused in tcp_conn_request and then consumed, without an RST; a datagram is delivered and its answer fails in the system call (reply lost).",
			Confirm: []string{"ip route get CLIENT from VIP", "nstat -az IpOutNoRoutes TcpExtListenDrops"},
			Fix:     []string{"ip route add default via GATEWAY dev eth0"},
			Prevent: "The reply takes the real server's own way, not the director's: it needs a default route.",
		},
		{
			Code:    "reply-into-tunnel",
			Means:   "The answer leaves by the tunnel's device: inside IPIP, addressed to the client itself, which takes none.",
			Kernel:  "Nothing is dropped here: the SYN is delivered (reply lost), the SYN/ACK forwarded; the client answers ICMP 3/2 or 3/3 to the real server. If the way of the outer packet is the tunnel, too: ip_tunnel_xmit, NOT_SPECIFIED.",
			Confirm: []string{"ip route get CLIENT from VIP  # dev tunl0", "ss -lntu 'sport = :PORT'  # %tunl0 behind the address", "tcpdump -ni eth0 'ip proto 4 and src RIP'"},
			Fix:     []string{"ip rule del pref PREF from VIP lookup TABLE", "ip route del CLIENT dev tunl0", "# Bind the service to no device, not to tunl0 either."},
			Prevent: "The tunnel is a way in only: no route and no rule leads into it.",
		},
		{
			Code:    "neighbour-failed",
			Means:   "The next hop does not answer ARP.",
			Kernel:  "neigh_invalidate, NEIGH_FAILED, about 3 s after the packet came to wait; then ICMP 3/1 to the sender.",
			Confirm: []string{"ip neigh show  # FAILED or INCOMPLETE", "arping -I eth0 NEXT-HOP"},
			Fix:     []string{"ip route replace DESTINATION via ANOTHER-GATEWAY", "# or bring the next hop up"},
			Prevent: "net.ipv4.conf.all.arp_announce=2: a gateway may ignore requests whose sender is the VIP.",
		},
		{
			Code:    "qdisc-drop",
			Means:   "The queueing discipline of the device has no room for the packet, or was told to lose some.",
			Kernel:  "__dev_queue_xmit, QDISC_DROP; 6.1 kfree_skb_list_reason; newer kernels name the discipline.",
			Confirm: []string{"tc -s qdisc show dev eth0  # dropped"},
			Fix:     []string{"tc qdisc del dev eth0 root  # back to the default", "tc qdisc change dev eth0 root KIND limit LARGER  # or more room"},
			Prevent: "Watch the counter: a full queue is a link that is too slow.",
		},
		{
			Code:    "reply-unanswered",
			Means:   "SYN/ACKs leave this host and nothing comes back: they, or the client's answers, get lost elsewhere. It is a notice, no loss.",
			Kernel:  "Three SYN/ACKs of one handshake or more, forwarded by a driver in three seconds or more, and no ACK after them.",
			Confirm: []string{"tcpdump -ni eth0 'src VIP and tcp[tcpflags] & tcp-syn != 0'  # on the gateway, and at the client", "ss -nt state syn-recv  # more than a few"},
			Fix:     []string{"# Let the network pass packets whose source is the VIP: a router that checks sources (uRPF, BCP 38) drops what a real server sends."},
			Prevent: "A route to the VIP that leads back to the real servers, or an exception from the check, wherever their replies pass.",
		},
	}
}

func socketDocs() []Doc {
	return []Doc{
		{
			Code:    "no-listener",
			Means:   "Nobody listens on the service's port.",
			Kernel:  "tcp_v4_rcv, NO_SOCKET, and an RST; UDP: __udp4_lib_rcv (udp_rcv on 7.x) and ICMP 3/3.",
			Confirm: []string{"ss -lntu 'sport = :PORT'"},
			Fix:     []string{"# Start the service."},
			Prevent: "Let the director check its real servers' health.",
		},
		{
			Code:    "listener-wrong-address",
			Means:   "The service listens, but on another address than the VIP.",
			Kernel:  "As no-listener.",
			Confirm: []string{"ss -lntu 'sport = :PORT'  # the local address"},
			Fix:     []string{"# Bind the service to 0.0.0.0 or to the VIP."},
			Prevent: "A service that binds to addresses starts after they are there, or with net.ipv4.ip_nonlocal_bind=1.",
		},
		{
			Code:    "listener-wrong-device",
			Means:   "The service is bound to another device than the one by which the packet comes: tunl0.",
			Kernel:  "As no-listener: the device of a decapsulated packet is the tunnel.",
			Confirm: []string{"ss -lntu 'sport = :PORT'  # %DEVICE behind the address"},
			Fix:     []string{"# Bind the service to no device; in a VRF: net.ipv4.tcp_l3mdev_accept=1. Bound to tunl0 it gets its packets, and its answers get lost (explain reply-into-tunnel)."},
			Prevent: "No SO_BINDTODEVICE.",
		},
		{
			Code:    "sk-lookup-drop",
			Means:   "A program that chooses sockets (BPF_SK_LOOKUP) lets no packet have the service's.",
			Kernel:  "As no-listener: inet_lookup asks the program before it looks for a listener.",
			Confirm: []string{"bpftool link  # netns … attach_type sk_lookup", "ss -lntup 'sport = :PORT'"},
			Fix:     []string{"bpftool link detach id ID"},
			Prevent: "Whoever attached it has to let the VIP pass.",
		},
		{
			Code:    "accept-queue-full",
			Means:   "Connections that are complete wait for the service to accept them, and there is no room for more.",
			Kernel:  "tcp_conn_request refuses the SYN, the kernel consumes it, no reason; the last ACK: tcp_v4_rcv, TCP_LISTEN_OVERFLOW on newer kernels.",
			Confirm: []string{"ss -ltn 'sport = :PORT'  # Recv-Q above Send-Q", "nstat -az TcpExtListenOverflows"},
			Fix:     []string{"# Find out why the program does not accept (threads, files, a hang)."},
			Prevent: "A larger backlog in the program, and net.core.somaxconn at least as large.",
		},
		{
			Code:    "syn-queue-full",
			Means:   "Too many handshakes are not complete, and SYN cookies are off.",
			Kernel:  "tcp_conn_request refuses the SYN, the kernel consumes it, no reason.",
			Confirm: []string{"ss -tn state syn-recv | wc -l", "sysctl net.ipv4.tcp_syncookies", "nstat -az TcpExtTCPReqQFullDrop"},
			Fix:     []string{"sysctl -w net.ipv4.tcp_syncookies=1"},
			Prevent: "Leave SYN cookies on. Handshakes that never complete: replies do not reach the clients.",
		},
		{
			Code:    "syn-cookie-invalid",
			Means:   "A segment belongs to no connection of the listener, and is no valid SYN cookie.",
			Kernel:  "tcp_v4_do_rcv, TCP_FLAGS on newer kernels, and an RST.",
			Confirm: []string{"nstat -az TcpExtSyncookiesFailed", "ipvsadm -Lnc | grep CLIENT  # on the director: did it move to another real server?"},
			Fix:     []string{"# None here: the client begins again."},
			Prevent: "Persistence, or connection synchronisation between directors.",
		},
		{
			Code:    "receive-buffer-full",
			Means:   "The program does not read fast enough, and its socket's buffer is full.",
			Kernel:  "udp_queue_rcv_one_skb, SOCKET_RCVBUFF; TCP: TCP_ZEROWINDOW, SOCKET_BACKLOG.",
			Confirm: []string{"ss -uamn 'sport = :PORT'  # Recv-Q, and d for drops", "nstat -az UdpRcvbufErrors"},
			Fix:     []string{"# Find out why the program does not read."},
			Prevent: "SO_RCVBUF in the program and net.core.rmem_max for bursts.",
		},
		{
			Code:    "tcp-auth",
			Means:   "The segment is not signed as the socket asks for (TCP-MD5, TCP-AO).",
			Kernel:  "tcp_v4_rcv, TCP_MD5NOTFOUND, TCP_MD5UNEXPECTED, TCP_MD5FAILURE, TCP_AO…; no RST.",
			Confirm: []string{"nstat -az | grep -E 'TCPMD5|TCPAO'"},
			Fix:     []string{"# Give both ends the same key for each other's address: the client's, not the director's."},
			Prevent: "None on this host.",
		},
		{
			Code:    "tcp-paws",
			Means:   "The segment's timestamp is older than what the connection has seen: several hosts share an address and port.",
			Kernel:  "tcp_validate_incoming, TCP_RFC7323_PAWS; TIME_WAIT: tcp_v4_rcv.",
			Confirm: []string{"nstat -az TcpExtPAWSEstab"},
			Fix:     []string{"# At the clients' NAT: one timestamp offset for each connection."},
			Prevent: "Timestamps with random offsets (net.ipv4.tcp_timestamps=1, the default).",
		},
		{
			Code:    "tcp-out-of-window",
			Means:   "The segment lies outside of what the connection expects.",
			Kernel:  "tcp_validate_incoming, TCP_INVALID_SEQUENCE and others; before 5.17 without an event of its own.",
			Confirm: []string{"nstat -az TcpExtTCPChallengeACK", "ss -tn dst CLIENT"},
			Fix:     []string{"# None here: old connections end by themselves."},
			Prevent: "The director must not move a connection to a real server that still has an old one of the same port.",
		},
		{
			Code:    "min-ttl",
			Means:   "The packet's TTL is below what the service asks for (IP_MINTTL).",
			Kernel:  "tcp_v4_rcv, TCP_MINTTL (6.1: NOT_SPECIFIED).",
			Confirm: []string{"nstat -az TcpExtTCPMinTTLDrop"},
			Fix:     []string{"# One less in the program: IPVS takes one hop from the inner packet."},
			Prevent: "Count the director as a hop.",
		},
	}
}

func hostDocs() []Doc {
	return []Doc{
		{
			Code:    "backlog-full",
			Means:   "The queue of packets that wait for a CPU is full.",
			Kernel:  "enqueue_to_backlog, CPU_BACKLOG.",
			Confirm: []string{"cat /proc/net/softnet_stat  # second column, for each CPU"},
			Fix:     []string{"sysctl -w net.core.netdev_max_backlog=2000"},
			Prevent: "Spread the load: RSS or RPS over more CPUs.",
		},
		{
			Code:    "vip-arp-conflict",
			Means:   "Packets for the VIP come without a tunnel: this host has answered ARP for the VIP in the director's place.",
			Kernel:  "No drop: the packets are delivered, and the director does not know of them.",
			Confirm: []string{"sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.eth0.arp_ignore  # the larger one counts", "arping -D -I eth0 VIP  # from another host: whose address answers"},
			Fix:     []string{"sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2", "ip neigh flush to VIP  # on the router"},
			Prevent: "The two settings in /etc/sysctl.d/, before the VIP is added. They do not help if the VIP is on eth0 itself.",
		},
	}
}

func directorDocs() []Doc {
	return []Doc{
		{
			Code:    "ipvs-no-service",
			Means:   "IPVS has no service for this address, protocol and port: the director takes the packet for its own.",
			Kernel:  "tcp_v4_rcv, NO_SOCKET, and an RST from the director.",
			Confirm: []string{"ipvsadm -Ln"},
			Fix:     []string{"ipvsadm -A -t VIP:PORT -s rr; ipvsadm -a -t VIP:PORT -r RIP:PORT -i"},
			Prevent: "Let keepalived make services; look at its log when one is missing.",
		},
		{
			Code:    "ipvs-no-destination",
			Means:   "The service has no real server that takes new connections.",
			Kernel:  "ip_vs_in (5.10: ip_vs_remote_request4) drops in input, NETFILTER_DROP, ICMP 3/3 to the client.",
			Confirm: []string{"ipvsadm -Ln  # weights of 0, or no destination"},
			Fix:     []string{"ipvsadm -e -t VIP:PORT -r RIP:PORT -i -w 1"},
			Prevent: "A sorry server; health checks that do not fail all at once.",
		},
		{
			Code:    "ipvs-wrong-method",
			Means:   "The director sends by another method than tunnelling.",
			Kernel:  "ip_vs_nat_xmit or ip_vs_dr_xmit instead of ip_vs_tunnel_xmit: no outer header. It is no loss on the director, but a notice.",
			Confirm: []string{"ipvsadm -Ln  # the column Forward: Tunnel, not Route (direct routing) or Masq (NAT)"},
			Fix:     []string{"ipvsadm -e -t VIP:PORT -r RIP:PORT -i"},
			Prevent: "lvs_method TUN in keepalived's configuration.",
		},
		{
			Code:    "ipvs-overloaded",
			Means:   "Every real server has as many connections as its upper threshold allows.",
			Kernel:  "As ipvs-no-destination.",
			Confirm: []string{"ipvsadm -Ln --thresholds"},
			Fix:     []string{"ipvsadm -e -t VIP:PORT -r RIP:PORT -i -x 0"},
			Prevent: "A threshold above what the real server can do is none at all; more real servers.",
		},
		{
			Code:    "ipvs-no-route",
			Means:   "The director has no route to the real server.",
			Kernel:  "ip_vs_tunnel_xmit, NOT_SPECIFIED, ICMP 3/1 to the client.",
			Confirm: []string{"ip route get RIP"},
			Fix:     []string{"ip route add RIP via GATEWAY"},
			Prevent: "Check routes to real servers when they are added.",
		},
		{
			Code:    "ipvs-no-connection",
			Means:   "The packet belongs to a connection that the director does not know.",
			Kernel:  "The director's own TCP gets it: tcp_v4_rcv, NO_SOCKET, and an RST.",
			Confirm: []string{"ipvsadm -Lnc | grep CLIENT"},
			Fix:     []string{"sysctl -w net.ipv4.vs.sloppy_tcp=1"},
			Prevent: "Longer timeouts than the clients' (ipvsadm --set), connection synchronisation between directors.",
		},
		{
			Code:    "ipvs-destination-removed",
			Means:   "The connection's real server was removed from the service.",
			Kernel:  "ip_vs_in drops in input, NETFILTER_DROP, without an ICMP.",
			Confirm: []string{"ipvsadm -Lnc | grep CLIENT", "ipvsadm -Ln"},
			Fix:     []string{"sysctl -w net.ipv4.vs.expire_nodest_conn=1"},
			Prevent: "Weight 0 first, and removal when no connection is left.",
		},
		{
			Code:    "ipvs-defence",
			Means:   "The director turns new connections away on purpose, as a defence against floods (drop_packet).",
			Kernel:  "ip_vs_in drops in input, NETFILTER_DROP, without an ICMP: one in am_droprate of what begins a connection.",
			Confirm: []string{"sysctl net.ipv4.vs.drop_packet net.ipv4.vs.am_droprate  # 2: memory is short; 3: always", "free  # with 1 and 2: is there less than net.ipv4.vs.amemthresh pages"},
			Fix:     []string{"sysctl -w net.ipv4.vs.drop_packet=0"},
			Prevent: "Mode 1 alone, and enough memory for the connections that there are.",
		},
		{
			Code:    "ipvs-port-reuse",
			Means:   "The client uses a port again whose last connection the director has not forgotten, and connection tracking makes it drop the first packet.",
			Kernel:  "ip_vs_in drops in input, NETFILTER_DROP, without an ICMP; the client's second attempt, 1 s later, passes.",
			Confirm: []string{"sysctl net.ipv4.vs.conntrack net.ipv4.vs.conn_reuse_mode  # 1 and not 0", "ipvsadm -Lnc | grep CLIENT  # TIME_WAIT or FIN_WAIT"},
			Fix:     []string{"sysctl -w net.ipv4.vs.conn_reuse_mode=0", "sysctl -w net.ipv4.vs.conntrack=0  # or this one"},
			Prevent: "A director in tunnel mode needs no connection tracking of its connections.",
		},
		{
			Code:    "ipvs-backup",
			Means:   "The director is the backup of another one, and takes no packets while net.ipv4.vs.backup_only is 1.",
			Kernel:  "ip_vs_in accepts at once, and the director's own TCP gets the packet: tcp_v4_rcv, NO_SOCKET, and an RST.",
			Confirm: []string{"sysctl net.ipv4.vs.backup_only", "ipvsadm -L --daemon  # backup, and no master"},
			Fix:     []string{"sysctl -w net.ipv4.vs.backup_only=0"},
			Prevent: "Let the VIP move with the part of the active director: keepalived's lvs_sync_daemon does both.",
		},
		{
			Code:    "ipvs-loop",
			Means:   "The real server runs IPVS with the same VIP, and tunnels the packet on.",
			Kernel:  "ip_vs_in on the tunnel's device; in the end the TTL is used up.",
			Confirm: []string{"ipvsadm -Ln  # on the real server"},
			Fix:     []string{"ipvsadm -D -t VIP:PORT  # on the real server"},
			Prevent: "net.ipv4.vs.backup_only=1 on directors that are real servers, too.",
		},
	}
}
