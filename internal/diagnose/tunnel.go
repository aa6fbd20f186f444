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
				Where:   beforeTunnel,
				Means:   "The outer destination is none of this host's addresses: the director has a wrong address for the real server.",
				Kernel:  "ip_error, IP_INADDRERRORS, no ICMP, with forwarding off; with forwarding on the packet is sent on.",
				Confirm: []string{"ip route get OUTER-DESTINATION  # not local", "ipvsadm -Ln  # on the director: the address of the destination"},
				Fix:     []string{"ipvsadm -d -t VIP:PORT -r WRONG; ipvsadm -a -t VIP:PORT -r RIP -i  # on the director"},
				Prevent: "Take the addresses of real servers from one source in keepalived's configuration.",
			},
		},
		{
			// Behind a port of GUE the kernel asks for protocol 4 again.
			code: "tunnel-module-missing", stage: tunnel, needs: []host.Part{host.PartModules, host.PartLinks}, looks: withSettings,
			asked: outerSide,
			at:    sure(site.NoProtocol),
			fits:  asksTunnel4,
			check: moduleState,
			bare:  func(Subject) finding { return finding{summary: "no kernel module takes IPIP packets"} },
			doc: Doc{
				Where:   beforeTunnel,
				Means:   "The kernel module ipip is not loaded: nobody takes IPIP packets.",
				Kernel:  "ip_local_deliver_finish, IP_NOPROTO, ICMP 3/2; where sit or another module keeps tunnel4 loaded: tunnel4_rcv, ICMP 3/3.",
				Confirm: []string{"lsmod | grep ipip  # nothing", "ip link show type ipip  # nothing"},
				Fix: []string{
					"modprobe ipip", "ip link set tunl0 up", "ip addr add VIP/32 dev tunl0",
					"# where net.core.fb_tunnels_only_for_init_net keeps tunl0 out of this network namespace: make a device (explain tunnel-wrong-namespace)",
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
			code: "tunnel-endpoint-mismatch", stage: tunnel, needs: links,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: asksTunnel4, check: mismatchState,
			doc: Doc{
				Where:   beforeTunnel,
				Means:   "Tunnels are there, but none for these two outer addresses.",
				Kernel:  "tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3. Of those that are up ip_tunnel_lookup asks first the tunnels for both addresses, then for the remote one, the local one, none. With tunl0 up it takes what no other tunnel does, and rp_filter of tunl0 counts.",
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
		},
		{
			code: "tunnel-device-down", stage: tunnel, needs: links,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: asksTunnel4, check: downState,
			doc: Doc{
				Where:   beforeTunnel,
				Means:   "The tunnel's device is down: no tunnel takes the packet.",
				Kernel:  "tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3: the client sees a refused connection, as if nobody listened.",
				Confirm: []string{"ip link show tunl0  # no UP between the angle brackets; a tunnel of its own for this director: that one"},
				Fix:     []string{"ip link set tunl0 up"},
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
				Where:   beforeTunnel,
				Means:   "The tunnel's device is in another network namespace: the inner packet goes on there, without the VIP; or the packet's own namespace has none.",
				Kernel:  "Decapsulated, then ip_error in the other namespace; without a device tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3.",
				Confirm: []string{"ip -d link show type ipip  # in each namespace: link-netnsid, or nothing", "sysctl net.core.fb_tunnels_only_for_init_net  # in the first namespace; 1: tunl0 is in that one alone, 2: nowhere"},
				Fix:     []string{"ip link add lvs0 type ipip local RIP; ip link set lvs0 up; ip addr add VIP/32 dev lvs0  # in the namespace in which the service runs"},
				Prevent: "net.core.fb_tunnels_only_for_init_net decides, when a namespace is made or ipip is loaded, where tunl0 exists: a device of one's own does not depend on it.",
			},
		},
		{
			code: "tunnel-wrong-namespace", stage: tunnel, needs: []host.Part{host.PartModules, host.PartLinks}, looks: withSettings,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: asksTunnel4, check: absentState,
		},
		{
			// Nothing else of IPIP is freed there (IP_ECN_decapsulate).
			code: "ecn-mismatch", stage: tunnel,
			at:   sure(site.Decapsulation),
			fits: func(s Subject, _ *State) bool { return s.Outer != nil && s.Outer.Protocol == protoIPIP },
			bare: func(Subject) finding {
				return finding{summary: "the outer header says that the packet met congestion (CE), and the inner one that its sender takes no word of that (Not-ECT): IPVS makes no such packet; what marks it on the way from the director must leave packets alone that are Not-ECT (RFC 3168)"}
			},
			doc: Doc{
				Where:   beforeTunnel,
				Means:   "The outer header says that the packet met congestion (CE), and the inner one that its sender takes no word of that (Not-ECT).",
				Kernel:  "ip_tunnel_rcv (IP_ECN_decapsulate, RFC 6040), NOT_SPECIFIED, no ICMP; rx_frame_errors of the tunnel's device.",
				Confirm: []string{"ip -s -s link show tunl0  # frame errors", "tcpdump -nvi eth0 proto 4  # tos 0x3 outside, 0x0 inside"},
				Fix:     []string{"# Between director and real server: whoever sets CE must leave packets alone that are Not-ECT (RFC 3168)."},
				Prevent: "IPVS copies the field from the inner header to the outer one: nothing else may write it but for ECT.",
			},
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: links,
			asked: outerSide,
			at:    sure(site.NoProtocol),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled && s.outerProto() == protoGRE },
			check: greState, bare: otherTunnel,
			doc: Doc{
				Where:   beforeTunnel,
				Means:   "What takes the packet wants another kind than IPv4 in IPv4: a tunnel in the mode mplsip, or one of IPsec (vti), which is asked before ipip; or the director sends by GRE or GUE, and nothing here takes that.",
				Kernel:  "ipip_tunnel_rcv, NOT_SPECIFIED, no ICMP, no counter; vti: xfrm_input, no ICMP, XfrmInNoStates; GRE: ip_local_deliver_finish, IP_NOPROTO, ICMP 3/2, or gre_rcv; GUE: __udp4_lib_rcv, NO_SOCKET, ICMP 3/3.",
				Confirm: []string{"ip -d link show TUNNEL  # mode", "ip -d link show type vti  # up, and for any address, or for these", "ip fou show  # the ports of GUE", "ipvsadm -Ln --tun-info  # on the director"},
				Fix: []string{
					"# The mode of a tunnel that is there can't be changed; its addresses go with it, so the VIP is given again:",
					"ip link del TUNNEL; ip link add TUNNEL type ipip local RIP; ip link set TUNNEL up; ip addr add VIP/32 dev TUNNEL",
					"# or, if a tunnel of IPsec takes the packets that nobody uses:",
					"ip link set ip_vti0 down",
					"# or, if the director sends by GUE: the port that ipvsadm -Ln --tun-info shows (6080); tunl0 takes what is inside",
					"modprobe fou; ip fou add port 6080 gue; ip link set tunl0 up",
					"# or, if the director sends by GRE or GUE, and should not:",
					"ipvsadm -e -t VIP:PORT -r RIP:PORT -i --tun-type ipip  # on the director",
				},
				Prevent: "Leave the mode out when the tunnel is made: ipip is the default. ipvsadm -e without --tun-type makes a destination one of ipip again.",
			},
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: []host.Part{host.PartFOU, host.PartLinks},
			asked: outerSide,
			at:    sure(site.NoSocket),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled && s.outerProto() == protoUDP },
			check: gueState, bare: otherTunnel,
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: links, looks: []host.Part{host.PartAddrs},
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid, site.TunnelPolicy), fits: asksTunnel4, check: modeState,
		},
	}
}

// notLocalState: the outer destination is another host's, and the packet was not lost on its way there.
func notLocalState(s Subject, st *State) *finding {
	a := st.Route(s.flow())
	if !s.Tunnelled || a.Type == "local" || a.Type == host.Undecided || a.Forbidden() || leadsOn(s, a) {
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
	return &finding{
		summary:  fmt.Sprintf("the outer destination %s is behind this host, by %s, and forwarding is off", s.dst(), a.Dev),
		evidence: []evidence{got(s.dst(), a), st.says(name), st.says("net/ipv4/ip_forward")},
		// The answers come by the other device, and are forwarded, too.
		fix: command.Of("sysctl -w net.ipv4.ip_forward=1"), mend: forwardAll(),
	}
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
