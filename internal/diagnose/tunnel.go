package diagnose

import (
	"fmt"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// tunnelRows are the causes at the outer header and the decapsulation.
func tunnelRows() []row {
	links := []host.Part{host.PartLinks}
	withSettings := append([]host.Part{host.PartSysctls}, lookups...)
	return []row{
		{
			code: "outer-not-local", stage: outer, needs: lookups,
			at:    maybe(site.OuterNotLocal),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled },
			check: notLocalState,
			doc: Doc{
				Where:  beforeTunnel,
				Means:  "The outer destination is no address of this host: the director has a wrong address for the real server.",
				Kernel: "ip_error, IP_INADDRERRORS, without an ICMP error, if forwarding is off. If it is on, the packet is sent on.",
				Confirm: []Line{
					{Command: "ip route get WRONG-RIP", Says: "does not begin with local", Shows: `^(WRONG-RIP|RTNETLINK)`, Fails: true},
					{Command: "ipvsadm -Ln", On: atDirector, Says: "the addresses of the real servers", Shows: `-> WRONG-RIP:`},
				},
				Fix: []Line{
					{Command: "ipvsadm -d -t VIP:PORT -r WRONG-RIP:PORT; ipvsadm -a -t VIP:PORT -r RIP:PORT -i", On: atDirector},
				},
				Prevent: "Keep the addresses of real servers in one place, from which keepalived's configuration is made.",
			},
		},
		{
			// Inside GUE the kernel looks for a handler of protocol 4 again.
			code: "tunnel-module-missing", stage: tunnel, needs: []host.Part{host.PartModules, host.PartLinks}, looks: withSettings,
			asked: outerSide,
			at:    sure(site.NoProtocol),
			fits:  asksTunnel4,
			check: moduleState,
			bare:  func(Subject) finding { return finding{summary: "no kernel module takes IPIP packets"} },
			doc: Doc{
				Where:  beforeTunnel,
				Means:  "The kernel module ipip is not loaded: nothing takes IPIP packets.",
				Kernel: "ip_local_deliver_finish, IP_NOPROTO, ICMP 3/2. Where sit or another module keeps tunnel4 loaded: tunnel4_rcv, ICMP 3/3.",
				Confirm: []Line{
					{Command: "lsmod | grep ipip", Says: "nothing", Shows: Nothing, Fails: true},
					{Command: "ip link show type ipip", Says: "nothing", Shows: Nothing},
				},
				Fix: []Line{
					{Command: "modprobe ipip"},
					{Command: "ip link set tunl0 up"},
					{Command: "ip addr add VIP/32 dev tunl0"},
					{Says: "where net.core.fb_tunnels_only_for_init_net keeps tunl0 out of this network namespace: make a device (explain tunnel-wrong-namespace)"},
				},
				Prevent: "echo ipip > /etc/modules-load.d/ipip.conf",
			},
		},
		{
			code: "ip-forward-off", stage: outer, needs: withSettings,
			asked: outerSide,
			at:    maybe(site.OuterNotLocal),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled },
			check: throughState,
		},
		{
			code: "tunnel-module-missing", stage: tunnel, needs: []host.Part{host.PartModules, host.PartLinks}, looks: withSettings,
			at: maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: asksTunnel4, check: moduleState,
		},
		{
			code: "tunnel-endpoint-mismatch", stage: tunnel, needs: links, looks: withSettings,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: asksTunnel4, check: mismatchState,
			doc: Doc{
				Where:  beforeTunnel,
				Means:  "There are tunnels, but none for these two outer addresses.",
				Kernel: "tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3. ip_tunnel_lookup asks the tunnels that are up: first those with both addresses, then those with the remote one, then those with the local one, then those with none. tunl0, if it is up, takes what no other tunnel does; then rp_filter of tunl0 counts.",
				Confirm: []Line{
					{Command: "ip -d link show type ipip", Says: "remote and local of those that are UP", Shows: `TUNNEL@[\s\S]* remote \S+ local `},
				},
				Fix: []Line{
					{Command: "ip link add lvs1 type ipip local RIP; ip link set lvs1 up", Says: "beside the one that is there, which may be another director's"},
					{Command: "ip tunnel change TUNNEL mode ipip remote DIRECTOR local RIP", Says: "or, if no other director uses it"},
					{Says: "or, for any director: make it anew, because a tunnel with a remote can't be changed to one without, and give it the VIP again"},
					{Command: "ip link del TUNNEL; ip link add TUNNEL type ipip local RIP; ip link set TUNNEL up; ip addr add VIP/32 dev TUNNEL"},
					{Says: "or let tunl0 take what no other tunnel does"},
					{Command: "ip link set tunl0 up"},
				},
				Prevent: "Give a tunnel no remote if there are several directors.",
			},
		},
		{
			code: "tunnel-device-down", stage: tunnel, needs: links,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: asksTunnel4, check: downState,
			doc: Doc{
				Where:  beforeTunnel,
				Means:  "The tunnel's device is down: no tunnel takes the packet.",
				Kernel: "tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3: the client's connection is refused, as if nobody listened.",
				Confirm: []Line{
					{Command: "ip link show tunl0", Says: "no UP between the angle brackets; if this director has a tunnel of its own, look at that", Shows: `tunl0@NONE: <NOARP>`},
				},
				Fix: []Line{
					{Command: "ip link set tunl0 up"},
				},
				Prevent: "Bring it up where the VIP is configured (networkd, ifupdown), not by hand.",
			},
		},
		{
			code: "tunnel-wrong-namespace", stage: tunnel, needs: []host.Part{host.PartAddrs, host.PartLinks}, looks: []host.Part{host.PartRoutes},
			at:   maybe(site.NoInputRoute),
			fits: func(s Subject, _ *State) bool { return s.strayed() },
			check: func(s Subject, st *State) *finding {
				l := st.link(s)
				if l == nil || l.Tunnel == nil || !l.LinkNetns || !s.strayed() || st.Owns(s.vip()) {
					return nil
				}
				return &finding{
					summary: fmt.Sprintf("the tunnel %s takes packets of another network namespace and hands them on in this one, which does not have the VIP %s: make the tunnel in the namespace in which the service runs", l.Name, s.vip()),
					evidence: []evidence{
						seen("decapsulated from network namespace %d into %d", s.From, s.Netns),
						by(host.PartLinks, "ip -d link show %s: link-netnsid", command.Device(l.Name)), addressesOf(st.Snapshot),
					},
				}
			},
			doc: Doc{
				Where:  beforeTunnel,
				Means:  "The tunnel's device is in another network namespace, and the inner packet goes on there, without the VIP; or the packet's own namespace has no tunnel.",
				Kernel: "With a device: decapsulated, then ip_error in the other namespace. Without one: tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3.",
				Confirm: []Line{
					{Command: "ip -d link show type ipip", Says: "link-netnsid: it belongs to another namespace; nothing: this one has none", Shows: `link-netnsid`},
					{Command: "sysctl net.core.fb_tunnels_only_for_init_net", On: atFirst, Says: "1: tunl0 is there alone; 2: nowhere", Shows: `= [12]`, Lab: "tunnel-first-namespace"},
				},
				Fix: []Line{
					{Command: "ip link set TUNNEL netns NETNS", Says: "back to the service"},
					{Command: "ip link set TUNNEL up; ip addr add VIP/32 dev TUNNEL", On: atService},
					{Says: "or make one where the service is; two that agree in their addresses can't be there"},
					{Command: "ip link add lvs0 type ipip local RIP; ip link set lvs0 up; ip addr add VIP/32 dev lvs0", On: atService, Lab: "tunnel-first-namespace"},
				},
				Prevent: "Make a device of your own: where tunl0 exists is decided by net.core.fb_tunnels_only_for_init_net when a namespace is made or ipip is loaded.",
			},
		},
		{
			code: "tunnel-wrong-namespace", stage: tunnel, needs: []host.Part{host.PartModules, host.PartLinks}, looks: withSettings,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: asksTunnel4, check: absentState,
		},
		{
			// The kernel frees an IPIP packet there for no other reason (IP_ECN_decapsulate).
			code: "ecn-mismatch", stage: tunnel,
			at:   sure(site.Decapsulation),
			fits: func(s Subject, _ *State) bool { return s.Outer != nil && s.Outer.Protocol == protoIPIP },
			bare: func(Subject) finding {
				return finding{summary: "the outer header says that the packet met congestion (CE), while the inner one is Not-ECT: IPVS makes no such packet; whatever sets CE on the way from the director must leave Not-ECT packets alone (RFC 3168)"}
			},
			doc: Doc{
				Where:  beforeTunnel,
				Means:  "The outer header says that the packet met congestion (CE), although the inner header says that its sender does not take part (Not-ECT).",
				Kernel: "ip_tunnel_rcv (IP_ECN_decapsulate, RFC 6040), NOT_SPECIFIED, no ICMP; it counts as a frame error of the tunnel's device.",
				Confirm: []Line{
					{Command: "ip -s -s link show tunl0", Says: "RX errors: frame", Shows: `RX errors:\s+length\s+crc\s+frame.*\n\s*\d+\s+\d+\s+[1-9]`},
					{Command: "tcpdump -nvi eth0 ip proto 4", Says: "tos 0x3 outside, 0x0 inside"},
				},
				Fix: []Line{
					{Says: "Find what sets CE between director and real server: it must leave Not-ECT packets alone (RFC 3168)."},
				},
				Prevent: "Let nothing write the field but for ECT packets: IPVS copies it from the inner header to the outer one.",
			},
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: links,
			asked: outerSide,
			at:    sure(site.NoProtocol),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled && s.outerProto() == protoGRE },
			check: greState, bare: otherTunnel,
			doc: Doc{
				Where:  beforeTunnel,
				Means:  "What takes the packet wants something else than IPv4 in IPv4: a tunnel in the mode mplsip, or a tunnel of IPsec (vti), which is asked before ipip. Or the director sends by GRE, GUE or FOU, and nothing here takes that, on that port; or the kernel unpacks FOU there, and GUE comes.",
				Kernel: "ipip_tunnel_rcv, NOT_SPECIFIED, no ICMP, no counter. vti: xfrm_input, no ICMP, XfrmInNoStates. GRE: ip_local_deliver_finish, IP_NOPROTO, ICMP 3/2, or gre_rcv. GUE and FOU: __udp4_lib_rcv, NO_SOCKET, ICMP 3/3. GUE to a port of FOU: ip_rcv_core on the tunnel's device, IP_INHDR.",
				Confirm: []Line{
					{Command: "ip -d link show TUNNEL", Says: "the mode, behind ipip", Shows: `mpls`},
					{Command: "ip -d link show type vti", Says: "UP, with these addresses or any", Shows: `<[A-Z,_]*UP`, Lab: "tunnel-vti"},
					{Command: "ip fou show", Says: "the ports of GUE, and those of FOU (ipproto 4): not the director's, or none", Fails: true, Lab: "tunnel-gue"},
					{Command: "ipvsadm -Ln --tun-info", On: atDirector, Says: "gre or gue", Shows: `g[ru]e`, Lab: "tunnel-gre"},
				},
				Fix: []Line{
					{Says: "The mode of a tunnel can't be changed. Make it anew, and give it its addresses again."},
					{Command: "ip link del TUNNEL; ip link add TUNNEL type ipip local RIP; ip link set TUNNEL up; ip addr add VIP/32 dev TUNNEL"},
					{Says: "or, if a tunnel of IPsec that nobody uses takes the packets"},
					{Command: "ip link set ip_vti0 down", Lab: "tunnel-vti"},
					{Says: "or, if the director is to send by GUE: the port that ipvsadm -Ln --tun-info shows; tunl0 takes what is inside"},
					{Command: "modprobe fou; ip fou add port 6080 gue; ip link set tunl0 up", Lab: "tunnel-gue"},
					{Says: "or, if the director is not to send by GRE or GUE"},
					{Command: "ipvsadm -e -t VIP:PORT -r RIP:PORT -i --tun-type ipip", On: atDirector, Lab: "tunnel-gre"},
				},
				Prevent: "Leave the mode out when you make the tunnel: ipip is the default. Name --tun-type in every ipvsadm -e: without it the destination is one of ipip again.",
			},
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: []host.Part{host.PartFOU, host.PartLinks},
			asked: outerSide,
			at:    append(sure(site.NoSocket), maybe(site.Header, site.HeaderUnsaid)...), // what is unpacked as something else is no IPv4
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled && s.outerProto() == protoUDP },
			check: gueState, bare: otherTunnel,
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: links, looks: withSettings,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid, site.TunnelPolicy), fits: asksTunnel4, check: modeState,
		},
	}
}

// notLocalState: the outer destination is another host's, and this host does not forward the packet.
func notLocalState(s Subject, st *State) *finding {
	a := st.Route(s.flow())
	if !s.Tunnelled || a.Type == "local" || a.Type == host.Undecided || a.Forbidden() && !st.catches(a, s) || leadsOn(s, a) {
		return nil
	}
	return &finding{
		summary:  fmt.Sprintf("the outer destination %s is none of this host's addresses: the director has a wrong address for this real server", s.dst()),
		evidence: []evidence{got(s.dst(), a), addressesOf(st.Snapshot)},
	}
}

// leadsOn reports whether a route that somebody has made for the destination leads on, by another device than the packet came
// by: to a container or a virtual machine.
func leadsOn(s Subject, a host.Answer) bool {
	return a.Type == "unicast" && a.Route != nil && a.Route.Dst.Bits() > 0 && a.Dev != s.Dev
}

// throughState: the packet is for a container behind this host, and its device does not let it be forwarded (IN_DEV_FORWARD).
func throughState(s Subject, st *State) *finding {
	a := st.Route(s.flow())
	name := "net/ipv4/conf/" + s.Dev + "/forwarding"
	if on, ok := st.Sysctl(name); !s.Tunnelled || !ok || on != 0 || !leadsOn(s, a) {
		return nil
	}
	f := &finding{
		summary:  fmt.Sprintf("the outer destination %s is behind this host, by %s, and forwarding is off", s.dst(), a.Dev),
		evidence: []evidence{got(s.dst(), a), st.says(name), st.says("net/ipv4/ip_forward")},
	}
	f.fix, f.mend = forward(s.Dev, st)
	return f
}

// forward lets packets that come by a device be forwarded, and the answers, which come by another one. Where forwarding is on
// for the host, it is this device's own setting: to write what ip_forward has changes no device (devinet_sysctl_forward).
func forward(dev string, st *State) (fix command.Fix, mend func(*State)) {
	if on, ok := st.Sysctl("net/ipv4/ip_forward"); ok && on != 0 {
		return command.Of("sysctl -w net.ipv4.conf.%.forwarding=1", command.DeviceSetting(dev)), setSysctl("net/ipv4/conf/"+dev+"/forwarding", 1)
	}
	return command.Of("sysctl -w net.ipv4.ip_forward=1"), forwardAll()
}

// forwardAll is `sysctl -w net.ipv4.ip_forward=1`: the kernel writes it to all devices (inet_forward_change).
func forwardAll() func(*State) {
	return func(st *State) {
		var all []func(*State)
		for name := range st.whole.Sysctls {
			if name == "net/ipv4/ip_forward" || strings.HasPrefix(name, "net/ipv4/conf/") && strings.HasSuffix(name, "/forwarding") {
				all = append(all, setSysctl(name, 1))
			}
		}
		together(all...)(st)
	}
}
