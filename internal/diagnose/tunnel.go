package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// Tunnel modes (IFLA_IPTUN_PROTO).
const (
	modeAny  = 0
	modeIPIP = 4
)

// tunnelRows are the causes at the outer header and the decapsulation.
func tunnelRows() []row {
	links := []host.Part{host.PartLinks}
	return []row{
		{
			code: "outer-not-local", stage: outer, needs: lookups,
			at:   maybe(site.OuterNotLocal),
			fits: func(s Subject, _ *State) bool { return s.Tunnelled },
			check: func(s Subject, st *State) *finding {
				a := st.Route(s.flow())
				if !s.Tunnelled || a.Type == "local" || a.Type == host.Undecided || a.Forbidden() {
					return nil
				}
				return &finding{
					summary:  fmt.Sprintf("the outer destination %s is none of this host's addresses: the director has a wrong address for this real server", s.dst()),
					evidence: []evidence{got(s.dst(), a), addressesOf(st.Snapshot)},
				}
			},
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
			code: "tunnel-module-missing", stage: tunnel, needs: []host.Part{host.PartModules, host.PartLinks}, looks: lookups,
			asked: outerSide,
			at:    sure(site.NoProtocol),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled && s.outerProto() == protoIPIP },
			check: moduleState,
			bare:  func(Subject) finding { return finding{summary: "no kernel module takes IPIP packets"} },
			doc: Doc{
				Where:   beforeTunnel,
				Means:   "The kernel module ipip is not loaded: nobody takes IPIP packets.",
				Kernel:  "ip_local_deliver_finish, IP_NOPROTO, ICMP 3/2; where sit or another module keeps tunnel4 loaded: tunnel4_rcv, ICMP 3/3.",
				Confirm: []string{"lsmod | grep ipip  # nothing", "ip link show type ipip  # nothing"},
				Fix:     []string{"modprobe ipip", "ip link set tunl0 up", "ip addr add VIP/32 dev tunl0"},
				Prevent: "echo ipip > /etc/modules-load.d/ipip.conf",
			},
		},
		{
			code: "tunnel-module-missing", stage: tunnel, needs: []host.Part{host.PartModules, host.PartLinks}, looks: lookups,
			at:    maybe(site.NoTunnel),
			fits:  func(s Subject, _ *State) bool { return s.outerProto() == protoIPIP },
			check: moduleState,
		},
		{
			code: "tunnel-endpoint-mismatch", stage: tunnel, needs: links,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: inIPIP, check: mismatchState,
			doc: Doc{
				Where:   beforeTunnel,
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
		},
		{
			code: "tunnel-device-down", stage: tunnel, needs: links,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.NoTunnelUnsaid), fits: inIPIP, check: downState,
			doc: Doc{
				Where:   beforeTunnel,
				Means:   "The tunnel's device is down: no tunnel takes the packet.",
				Kernel:  "tunnel4_rcv, NOT_SPECIFIED, ICMP 3/3: the client sees a refused connection, as if nobody listened.",
				Confirm: []string{"ip link show tunl0  # no UP between the angle brackets"},
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
				Means:   "The tunnel's device is in another network namespace: the inner packet goes on there, without the VIP.",
				Kernel:  "Decapsulated, then ip_error in the other namespace.",
				Confirm: []string{"ip -d link show type ipip  # in each namespace: link-netnsid"},
				Fix:     []string{"ip link add lvs0 type ipip local RIP; ip link set lvs0 up; ip addr add VIP/32 dev lvs0  # in the namespace in which the service runs"},
				Prevent: "net.core.fb_tunnels_only_for_init_net decides where tunl0 exists.",
			},
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
			at:    sure(site.NoProtocol),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled && s.outerProto() == protoGRE },
			check: otherTunnelState, bare: otherTunnel,
			doc: Doc{
				Where:   beforeTunnel,
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
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: links,
			at:    sure(site.NoSocket),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled && s.outerProto() == protoUDP },
			check: otherTunnelState, bare: otherTunnel,
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: links,
			asked: outerSide,
			at:    maybe(site.NoTunnel, site.TunnelPolicy),
			fits:  func(s Subject, _ *State) bool { return s.Tunnelled },
			check: func(s Subject, st *State) *finding {
				for _, l := range tunnels(st.Snapshot) {
					if l.Up && takes(l, s) && l.Tunnel.Proto != modeAny && l.Tunnel.Proto != modeIPIP {
						return &finding{
							summary:  fmt.Sprintf("the tunnel %s takes another protocol than IPv4", l.Name),
							evidence: []evidence{by(host.PartLinks, "ip -d link show %s: mode %d, not 4 (ipip) or 0 (any)", command.Device(l.Name), l.Tunnel.Proto)},
							fix:      remade(st.Snapshot, l),
							mend: changeLink(l.Index, func(l *host.Link) {
								t := *l.Tunnel
								t.Proto = modeIPIP
								l.Tunnel = &t
							}),
						}
					}
				}
				return nil
			},
			looks: []host.Part{host.PartAddrs},
		},
	}
}

// inIPIP reports whether the packet is in an IPIP header.
func inIPIP(s Subject, _ *State) bool { return s.Tunnelled && s.outerProto() == protoIPIP }

func moduleState(s Subject, st *State) *finding {
	if slices.Contains(st.Modules, "ipip") || len(tunnels(st.Snapshot)) > 0 {
		return nil
	}
	f := &finding{
		summary:  "the kernel module ipip is not loaded: nobody takes IPIP packets",
		evidence: []evidence{by(host.PartModules, "lsmod: no ipip"), by(host.PartLinks, "ip link show type ipip: none")},
		fix:      command.Of("modprobe ipip").Then("ip link set tunl0 up"),
		mend:     loadIPIP,
	}
	if st.Knows(host.PartAddrs) && !st.Owns(s.vip()) {
		f.fix, f.mend = f.fix.And(addAddress(s.vip(), "tunl0")), together(loadIPIP, giveAddress(s.vip(), "tunl0"))
	}
	return f
}

func downState(s Subject, st *State) *finding {
	if slices.ContainsFunc(tunnels(st.Snapshot), func(l host.Link) bool { return l.Up && takes(l, s) }) {
		return nil
	}
	for i := range st.Links {
		l := &st.Links[i]
		if !isTunnel(*l) || l.Up || !takes(*l, s) {
			continue
		}
		return &finding{
			summary:  fmt.Sprintf("the tunnel device %s is down", l.Name),
			evidence: []evidence{by(host.PartLinks, "ip link show %s: state DOWN", command.Device(l.Name))},
			fix:      command.Of("ip link set % up", command.Device(l.Name)),
			mend:     changeLink(l.Index, func(l *host.Link) { l.Up, l.Running = true, true }),
		}
	}
	return nil
}

// otherTunnels name the protocols beside IPIP by which a director tunnels.
var otherTunnels = map[uint8]string{protoGRE: "GRE", protoUDP: "GUE"}

func otherTunnel(s Subject) finding {
	return finding{
		summary:  fmt.Sprintf("the director %s sends by %s, and nothing here takes that; on the director: ipvsadm -e … -i --tun-type ipip", s.src(), otherTunnels[s.outerProto()]),
		evidence: []evidence{seen("outer protocol %d at first sight", s.outerProto())},
	}
}

// otherTunnelState: a tunnel for GRE that is up would be one for other addresses. Ports for GUE are not read.
func otherTunnelState(s Subject, st *State) *finding {
	f := otherTunnel(s)
	f.consistent = true
	if s.outerProto() == protoGRE {
		for _, l := range st.Links {
			if l.Type == "gre" && l.Up {
				return nil
			}
		}
		f.evidence = append(f.evidence, by(host.PartLinks, "ip link show type gre: none that is up"))
	}
	for _, l := range tunnels(st.Snapshot) {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip -d link show %s: %s", command.Device(l.Name), l.Type))
	}
	return &f
}

// remade makes a tunnel anew, in the mode ipip: the kernel changes the mode of none that is there.
func remade(s *host.Snapshot, l host.Link) command.Fix {
	dev, ends := command.Device(l.Name), command.Say("")
	if l.Tunnel.Local.IsValid() {
		ends = ends.And(command.Say("local"), command.Address(l.Tunnel.Local))
	}
	if l.Tunnel.Remote.IsValid() {
		ends = ends.And(command.Say("remote"), command.Address(l.Tunnel.Remote))
	}
	fix := command.Of("ip link del %", dev).Then("ip link add % type ipip mode ipip %", dev, ends).Then("ip link set % up", dev)
	for _, a := range s.AddrsOf(l.Index) {
		fix = fix.Then("ip addr add % dev %", command.Prefix(a.Prefix), dev)
	}
	return fix
}

// tunnels are the devices that may take IPIP, whatever is wrong with them.
func tunnels(s *host.Snapshot) (all []host.Link) {
	for _, l := range s.Links {
		if isTunnel(l) {
			all = append(all, l)
		}
	}
	return all
}

func isTunnel(l host.Link) bool {
	return l.Tunnel != nil && (l.Type == "ipip" || l.Type == "sit" && (l.Tunnel.Proto == modeAny || l.Tunnel.Proto == modeIPIP))
}

// takes reports whether a tunnel's addresses are those of the packet (ip_tunnel_lookup).
func takes(l host.Link, s Subject) bool {
	t := l.Tunnel
	if s.Outer == nil {
		return true
	}
	any := func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
	return (any(t.Local) || t.Local == s.Outer.Dst) && (any(t.Remote) || t.Remote == s.Outer.Src)
}

func mismatchState(s Subject, st *State) *finding {
	if s.Outer == nil {
		return nil
	}
	var wrong []host.Link
	for _, l := range tunnels(st.Snapshot) {
		if l.Up && takes(l, s) {
			return nil
		}
		if l.Up && l.Type == "ipip" {
			wrong = append(wrong, l)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	f := &finding{
		summary: fmt.Sprintf("no tunnel is set up for packets from %s to %s", s.Outer.Src, s.Outer.Dst),
	}
	for _, l := range wrong {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip -d link show %s: ipip remote %s local %s", command.Device(l.Name), anyAddr(l.Tunnel.Remote), anyAddr(l.Tunnel.Local)))
	}
	if fallback := st.LinkNamed("tunl0"); fallback != nil && !fallback.Up {
		f.evidence = append(f.evidence, by(host.PartLinks, "ip link show tunl0: state DOWN"))
	}
	l := wrong[0]
	local, remote := l.Tunnel.Local, l.Tunnel.Remote
	if remote.IsValid() && remote != s.Outer.Src {
		remote = s.Outer.Src
	}
	if local.IsValid() && local != s.Outer.Dst {
		local = s.Outer.Dst
	}
	f.fix = command.Of("ip tunnel change % mode ipip remote % local %", command.Device(l.Name), anyAddr(remote), anyAddr(local))
	f.mend = changeLink(l.Index, func(l *host.Link) {
		t := *l.Tunnel
		t.Remote, t.Local = remote, local
		l.Tunnel = &t
	})
	return f
}

func anyAddr(a netip.Addr) command.Part {
	if !a.IsValid() || a.IsUnspecified() {
		return command.Say("any")
	}
	return command.Address(a)
}
