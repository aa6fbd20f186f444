package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// Tunnel modes (IFLA_IPTUN_PROTO).
const (
	modeAny  = 0
	modeIPIP = 4
)

// tunnelRows are the causes at the outer header and the decapsulation.
func tunnelRows() []row {
	needs := []host.Part{host.PartLinks}
	return []row{
		{
			code: "outer-not-local", stage: outer, needs: []host.Part{host.PartRoutes, host.PartRules},
			seen: func(q question) sight {
				if q.tunnelled() && (q.reason("IP_INADDRERRORS") || q.noReason()) && q.droppedIn("ip_error") {
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				a := q.host.Route(q.flow())
				if a.Type == "local" || a.Forbidden() {
					return nil
				}
				return &finding{
					summary:  fmt.Sprintf("the outer destination %s is none of this host's addresses: the director has a wrong address for this real server", q.dst()),
					evidence: []string{got(q.dst(), a), "ip -4 addr: " + addresses(q.host)},
				}
			},
		},
		{
			code: "tunnel-module-missing", stage: tunnel, needs: append([]host.Part{host.PartModules, host.PartRoutes}, needs...),
			seen: func(q question) sight {
				switch {
				case q.outerProto() != protoIPIP:
					return absent
				case q.tunnelled() && q.droppedIn("ip_local_deliver_finish", "ip_protocol_deliver_rcu"):
					return shown
				case q.droppedIn("tunnel4_rcv"):
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				if slices.Contains(q.host.Modules, "ipip") || len(tunnels(q.host)) > 0 {
					return nil
				}
				f := &finding{
					summary:  "the kernel module ipip is not loaded: nobody takes IPIP packets",
					evidence: []string{"lsmod: no ipip", "ip link show type ipip: none"},
					fix:      command.Of("modprobe ipip").Then("ip link set tunl0 up"),
				}
				if !q.host.Owns(q.vip()) {
					f.fix = f.fix.And(addAddress(q.vip(), "tunl0"))
				}
				return f
			},
			bare: func(question) finding { return finding{summary: "no kernel module takes IPIP packets"} },
		},
		{
			code: "tunnel-endpoint-mismatch", stage: tunnel, needs: needs,
			seen:  atTunnel,
			state: mismatchState,
		},
		{
			code: "tunnel-device-down", stage: tunnel, needs: needs,
			seen: atTunnel,
			state: func(q question) *finding {
				for _, l := range tunnels(q.host) {
					if !l.Up && takes(l, q) {
						return &finding{
							summary:  fmt.Sprintf("the tunnel device %s is down", l.Name),
							evidence: []string{fmt.Sprintf("ip link show %s: state DOWN", command.Device(l.Name))},
							fix:      command.Of("ip link set % up", command.Device(l.Name)),
						}
					}
				}
				return nil
			},
		},
		{
			code: "tunnel-wrong-namespace", stage: tunnel, needs: append([]host.Part{host.PartAddrs}, needs...),
			seen: func(q question) sight {
				if _, ok := q.cameFrom(); ok {
					return atNoRoute(q)
				}
				return absent
			},
			state: func(q question) *finding {
				l := q.link()
				if l == nil || l.Tunnel == nil || !l.LinkNetns || q.host.Owns(q.vip()) {
					return nil
				}
				from, _ := q.cameFrom()
				return &finding{
					summary: fmt.Sprintf("the tunnel %s takes packets of another network namespace and hands them on in this one, which does not have the VIP %s: make the tunnel in the namespace in which the service runs", l.Name, q.vip()),
					evidence: []string{
						fmt.Sprintf("decapsulated from network namespace %d into %d", from, q.Drop.Netns),
						fmt.Sprintf("ip -d link show %s: link-netnsid", command.Device(l.Name)), "ip -4 addr: " + addresses(q.host),
					},
				}
			},
		},
		{
			// Nothing else of IPIP is freed there (IP_ECN_decapsulate).
			code: "ecn-mismatch", stage: tunnel,
			seen: func(q question) sight {
				if q.droppedIn("ip_tunnel_rcv") && q.noReason() && q.Outer != nil && q.Outer.Protocol == protoIPIP {
					return shown
				}
				return absent
			},
			bare: func(question) finding {
				return finding{summary: "the outer header says that the packet met congestion (CE), and the inner one that its sender takes no word of that (Not-ECT): IPVS makes no such packet; what marks it on the way from the director must leave packets alone that are Not-ECT (RFC 3168)"}
			},
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: needs,
			seen: func(q question) sight {
				switch {
				case !q.tunnelled():
					return absent
				case q.outerProto() == protoGRE && q.droppedIn("ip_local_deliver_finish", "ip_protocol_deliver_rcu", "gre_rcv"):
					return shown
				case q.outerProto() == protoUDP && q.droppedIn("__udp4_lib_rcv", "udp_rcv") && (q.reason("NO_SOCKET") || q.icmp(3, 3)):
					return shown
				}
				return absent
			},
			state: otherTunnelState,
			bare:  otherTunnel,
		},
		{
			code: "tunnel-mode-mismatch", stage: tunnel, needs: needs,
			seen: func(q question) sight {
				if q.tunnelled() && q.droppedIn("ipip_tunnel_rcv", "ipip_rcv", "tunnel4_rcv") {
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				for _, l := range tunnels(q.host) {
					if l.Up && takes(l, q) && l.Tunnel.Proto != modeAny && l.Tunnel.Proto != modeIPIP {
						return &finding{
							summary:  fmt.Sprintf("the tunnel %s takes another protocol than IPv4", l.Name),
							evidence: []string{fmt.Sprintf("ip -d link show %s: mode %d, not 4 (ipip) or 0 (any)", command.Device(l.Name), l.Tunnel.Proto)},
							fix:      remade(q.host, l),
						}
					}
				}
				return nil
			},
		},
	}
}

// otherTunnels name the protocols beside IPIP by which a director tunnels, and who takes them here.
var otherTunnels = map[uint8]struct{ name, takers string }{
	protoGRE: {"GRE", "ip link show type gre"},
	protoUDP: {"GUE", "ip fou show"},
}

func otherTunnel(q question) finding {
	return finding{
		summary:  fmt.Sprintf("the director %s sends by %s, and nothing here takes that; on the director: ipvsadm -e … -i --tun-type ipip", q.src(), otherTunnels[q.outerProto()].name),
		evidence: []string{fmt.Sprintf("outer protocol %d at first sight", q.outerProto())},
	}
}

// otherTunnelState: a tunnel for GRE that is up would be one for other addresses.
func otherTunnelState(q question) *finding {
	f := otherTunnel(q)
	for _, l := range q.host.Links {
		if q.outerProto() == protoGRE && l.Type == "gre" && l.Up {
			return nil
		}
	}
	f.evidence = append(f.evidence, otherTunnels[q.outerProto()].takers+": none")
	for _, l := range tunnels(q.host) {
		f.evidence = append(f.evidence, fmt.Sprintf("ip -d link show %s: %s", command.Device(l.Name), l.Type))
	}
	return &f
}

// cameFrom is the network namespace in which the packet still had its outer header, if it was lost without it in
// another one.
func (q question) cameFrom() (netns uint32, ok bool) {
	for _, s := range q.Steps {
		if s.Tunnelled && s.Netns != 0 {
			netns = s.Netns
		}
	}
	return netns, netns != 0 && q.Drop != nil && !q.tunnelled() && q.Drop.Netns != netns
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

// atTunnel: no device was found that takes the packet; the state tells why. IPsec's tunnel, and sit's, are asked after
// IPIP's, and are silent.
func atTunnel(q question) sight {
	if q.droppedIn("tunnel4_rcv") || q.tunnelled() && q.outerProto() == protoIPIP && q.droppedIn("xfrm_input", "sit_tunnel_rcv", "ipip_rcv") {
		return possible
	}
	return absent
}

// tunnels are the devices that may take IPIP, whatever is wrong with them.
func tunnels(s *host.Snapshot) (all []host.Link) {
	for _, l := range s.Links {
		if l.Tunnel != nil && (l.Type == "ipip" || l.Type == "sit" && (l.Tunnel.Proto == modeAny || l.Tunnel.Proto == modeIPIP)) {
			all = append(all, l)
		}
	}
	return all
}

// takes reports whether a tunnel's addresses are those of the packet (ip_tunnel_lookup).
func takes(l host.Link, q question) bool {
	t := l.Tunnel
	if q.Outer == nil {
		return true
	}
	any := func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
	return (any(t.Local) || t.Local == q.Outer.Dst) && (any(t.Remote) || t.Remote == q.Outer.Src)
}

func mismatchState(q question) *finding {
	if q.Outer == nil {
		return nil
	}
	var wrong []host.Link
	for _, l := range tunnels(q.host) {
		if l.Up && takes(l, q) {
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
		summary: fmt.Sprintf("no tunnel is set up for packets from %s to %s", q.Outer.Src, q.Outer.Dst),
	}
	for _, l := range wrong {
		f.evidence = append(f.evidence, fmt.Sprintf("ip -d link show %s: ipip remote %s local %s", command.Device(l.Name), anyAddr(l.Tunnel.Remote), anyAddr(l.Tunnel.Local)))
	}
	if fallback := q.host.LinkNamed("tunl0"); fallback != nil && !fallback.Up {
		f.evidence = append(f.evidence, "ip link show tunl0: state DOWN")
	}
	l := wrong[0]
	local, remote := l.Tunnel.Local, l.Tunnel.Remote
	if remote.IsValid() && remote != q.Outer.Src {
		remote = q.Outer.Src
	}
	if local.IsValid() && local != q.Outer.Dst {
		local = q.Outer.Dst
	}
	f.fix = command.Of("ip tunnel change % mode ipip remote % local %", command.Device(l.Name), anyAddr(remote), anyAddr(local))
	return f
}

func anyAddr(a netip.Addr) command.Part {
	if !a.IsValid() || a.IsUnspecified() {
		return command.Say("any")
	}
	return command.Address(a)
}

func addresses(s *host.Snapshot) string {
	var all []netip.Prefix
	for _, a := range s.Addrs {
		all = append(all, a.Prefix)
	}
	return list(all)
}
