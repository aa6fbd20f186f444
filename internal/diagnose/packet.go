package diagnose

import (
	"fmt"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
	"ipiptrace/internal/site"
)

// packetRows are the causes in the packet itself.
func packetRows() []row {
	return []row{
		{
			code: "bad-checksum", stage: transport, needs: []host.Part{host.PartCounters},
			at:    sure(site.Checksum),
			check: checksumState,
			bare:  badChecksum,
			doc: Doc{
				Where:  inPacket,
				Means:  "A checksum in the packet is wrong.",
				Kernel: "ip_rcv_core, IP_CSUM; tcp_v4_rcv, TCP_CSUM; UDP and ICMP alike. 5.10 has no reasons: there the counters tell.",
				Confirm: []Line{
					{Command: "nstat -az | grep Csum", Says: "one of them rises", Shows: `Csum\w* +[1-9]`},
					{Command: "ethtool -k eth0 | grep checksum"},
				},
				Fix: []Line{
					{Command: "ethtool -K eth0 rx off tx off", On: "on the host whose offload is broken", Unplayed: "the lab has no hardware"},
				},
				Prevent: "Use a driver or a hypervisor without the bug, then switch the offloads on again.",
			},
		},
		{
			code: "bad-checksum", stage: transport, needs: []host.Part{host.PartCounters, host.PartSockets, host.PartLinks},
			at: []spot{{site.ChecksumUnsaid, likely}},
			check: func(s Subject, st *State) *finding {
				if s.proto() != "" && !st.served(s) {
					return nil // there is no socket for it either
				}
				return checksumState(s, st)
			},
		},
		{
			code: "bad-checksum", stage: transport, needs: []host.Part{host.PartCounters},
			at:    sure(site.IPChecksum),
			check: headerSumState,
			bare:  badHeaderSum,
		},
		{
			code: "bad-checksum", stage: transport, needs: []host.Part{host.PartCounters},
			at:    []spot{{site.HeaderUnsaid, likely}},
			fits:  func(s Subject, _ *State) bool { return !s.short() }, // its length is wrong, whatever was counted before
			check: headerSumState,
		},
		{
			code: "malformed-packet", stage: outer,
			at:   sure(site.Header),
			bare: malformed,
			doc: Doc{
				Where:  inPacket,
				Means:  "A header does not fit the packet: its version is wrong, its length is wrong, or it is cut off.",
				Kernel: "ip_rcv_core, IP_INHDR or PKT_TOO_SMALL. On the tunnel's device it is the inner header.",
				Confirm: []Line{
					{Command: "nstat -az IpInHdrErrors IpExtInTruncatedPkts", Says: "one of them rises", Shows: `Ip(InHdrErrors|ExtInTruncatedPkts) +[1-9]`},
					{Command: "tcpdump -ni eth0 -vv ip proto 4"},
				},
				Fix: []Line{
					{Says: "Look for the sender: the packet is on the wire as it is here."},
				},
				Prevent: "This host can't prevent it.",
			},
		},
		{
			code: "malformed-packet", stage: outer,
			at:   sure(site.HeaderUnsaid),
			fits: func(s Subject, _ *State) bool { return s.short() },
			bare: malformed,
		},
		{
			// A tunnel frees what is too short for an inner header before it asks whose it is (tunnel4_rcv).
			code: "malformed-packet", stage: outer,
			at:   sure(site.NoTunnel),
			fits: func(s Subject, _ *State) bool { return s.Packet.NoInner && s.Outer.Len < 40 },
			bare: malformed,
		},
		{
			code: "ttl-expired", stage: forwarding,
			at: sure(site.TTL),
			bare: func(s Subject) finding {
				return finding{
					summary:  fmt.Sprintf("the packet's TTL is used up: it came from %s with too few hops left, or goes in a circle", s.src()),
					evidence: []evidence{seen("ttl %d at first sight", s.Packet.Inner.TTL)},
				}
			},
			doc: Doc{
				Where:  inPacket,
				Means:  "The packet has used up its TTL.",
				Kernel: "ip_forward or ip_vs_tunnel_xmit, with ICMP 11/0 (NOT_SPECIFIED, IP_INHDR).",
				Confirm: []Line{
					{Command: "nstat -az IcmpOutTimeExcds", Says: "rises with each packet", Shows: `IcmpOutTimeExcds +[1-9]`},
					{Command: "traceroute -n VIP", On: atClient, Says: "two hops that alternate: the packet goes in a circle"},
				},
				Fix: []Line{
					{Says: "If the packet goes in a circle: forwarding is on at the real server, and the VIP is missing there (explain vip-missing)."},
				},
				Prevent: "Set net.ipv4.ip_forward=0 on real servers: the tunnel does not need it.",
			},
		},
		{
			code: "mtu-exceeded", stage: forwarding, needs: []host.Part{host.PartSysctls},
			doubted: directorSide, looks: append([]host.Part{host.PartIPVS}, lookups...),
			at: sure(site.TooBig),
			check: func(s Subject, st *State) *finding {
				if s.Supposed {
					return wouldExceed(s, st)
				}
				if discovers, ok := st.Sysctl(pmtuDisc); !s.ByIPVS || !ok || discovers == 0 {
					return nil
				}
				f := tooLong(s)
				f.evidence = append(f.evidence, st.says(pmtuDisc))
				f.fix, f.mend = command.Of("sysctl -w net.ipv4.vs.pmtu_disc=0"), setSysctl(pmtuDisc, 0)
				return &f
			},
			bare: tooLong,
			doc: Doc{
				Where:  inPacket,
				Means:  "With the outer header the packet is larger than the MTU of the way to the real server, and it may not be fragmented.",
				Kernel: "ip_vs_tunnel_xmit, with ICMP 3/4 to the client.",
				Confirm: []Line{
					{Command: "ip route get RIP", Says: "an mtu, if the route has one of its own", Shows: `RIP .*dev`},
					{Command: "ip link show eth0", Says: "its mtu otherwise: 20 of it are for the outer header", Shows: `mtu \d+`},
					{Command: "sysctl net.ipv4.vs.pmtu_disc", Says: "1: such packets are refused", Shows: `= 1`},
					{Command: "tcpdump -ni eth0 'icmp[0] = 3 and icmp[1] = 4'"},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.vs.pmtu_disc=0", Says: "everything passes then, in fragments; one that is lost loses the whole packet"},
					{Command: "ip route change default via GATEWAY advmss 1440", On: atRealServer, Says: "or make segments of TCP fit", Unplayed: "the lab has no default route, and a fault of UDP"},
					{Says: "or, best: set an MTU of 1520 between director and real server"},
				},
				Prevent: "Never filter ICMP 3/4: with net.ipv4.vs.pmtu_disc=1 (the default) it alone tells the sender. With 0, let fragments pass (explain fragment-lost).",
			},
		},
		{
			code: "fragment-lost", stage: outer, needs: []host.Part{host.PartSysctls}, looks: append([]host.Part{host.PartNft, host.PartIPTables}, lookups...),
			doubted: outerSide,
			at:      sure(site.Fragments),
			check:   fragmentState,
			bare:    lostFragment,
			doc: Doc{
				Where:  inPacket,
				Means:  "A fragment did not arrive, and the others waited for it until they were thrown away.",
				Kernel: "ip_expire, FRAG_REASM_TIMEOUT (6.12; before that NOT_SPECIFIED), with ICMP 11/1, when ipfrag_time is over. Nothing is seen before that.",
				Confirm: []Line{
					{Command: "nstat -az IpReasmFails IpReasmTimeout", Says: "one of them rises", Shows: `IpReasm(Fails|Timeout) +[1-9]`},
					{Command: "sysctl net.ipv4.ipfrag_high_thresh", Says: "0: there is no room for fragments", Shows: `= 0`, Lab: "fragments-disabled"},
					{Command: "tcpdump -ni eth0 'ip[6:2] & 0x3fff != 0'"},
				},
				Fix: []Line{
					{Says: "Let fragments pass in firewalls on the way."},
					{Command: "sysctl -w net.ipv4.ipfrag_high_thresh=4194304", Says: "or, if it is 0: make room again (4 MiB are the default)", Lab: "fragments-disabled"},
					{Command: "ip route change default via GATEWAY advmss 1440", On: atRealServer, Says: "or make segments of TCP small enough that none is fragmented", Unplayed: "the lab has no default route, and a fault of UDP"},
				},
				Prevent: "Leave net.ipv4.vs.pmtu_disc=1 on the director (the default): it refuses a packet with DF that is too large, with ICMP 3/4, instead of fragmenting it. Where ICMP 3/4 is filtered the packet is lost all the same (explain mtu-exceeded).",
			},
		},
		{
			code: "fragment-lost", stage: outer, needs: []host.Part{host.PartCounters},
			at:    maybe(site.FragmentsPurged),
			check: overlapState,
		},
	}
}

// checksumState: the state says nothing of one packet's checksum, but the kernel counts wrong ones.
func checksumState(s Subject, st *State) *finding {
	return countedSum(badChecksum(s), st, map[uint8]string{protoTCP: "Tcp.", protoUDP: "Udp.", protoICMP: "Icmp."}[s.Packet.Inner.Protocol])
}

func headerSumState(s Subject, st *State) *finding { return countedSum(badHeaderSum(s), st, "IpExt.") }

func countedSum(f finding, st *State, group string) *finding {
	counter := group + "InCsumErrors"
	if group == "" || st.Counted(counter) == 0 {
		return nil
	}
	f.consistent, f.doubtful, f.evidence = true, true, []evidence{st.counted(counter)}
	return &f
}

func malformed(s Subject) finding {
	if s.Packet.NoInner {
		return finding{summary: fmt.Sprintf("what came from %s in IPIP is no IPv4 packet: it is cut off, or of another protocol", s.Outer.Src)}
	}
	what := "inner"
	if s.Tunnelled {
		what = "outer"
	}
	if s.Outer == nil {
		what = "IP"
	}
	return finding{summary: fmt.Sprintf("the %s header does not fit the packet: whoever sent it, or something on its way, has damaged it", what)}
}

// pmtuDisc names the setting by which IPVS respects DF.
const pmtuDisc = "net/ipv4/vs/pmtu_disc"

func tooLong(s Subject) finding {
	smaller := "let the client send smaller datagrams"
	if s.Packet.Inner.Protocol == protoTCP {
		smaller = "let the real server announce a smaller MSS"
	}
	return finding{
		summary:  fmt.Sprintf("the packet of %d bytes may not be fragmented and does not fit, with 20 bytes of outer header, into the way to the real server: %s, or make the MTU larger", s.Packet.Inner.Len, smaller),
		evidence: []evidence{seen("ICMP 3/4 (fragmentation needed) to %s", s.client())},
	}
}

// usual is the length in bytes of the largest packet on Ethernet, outerLength that of the header around it.
const (
	usual       = 1500
	outerLength = 20
)

// wouldExceed: the largest packet that clients send does not fit into the way to a real server.
func wouldExceed(s Subject, st *State) *finding {
	v := st.virtual(s)
	if discovers, ok := st.Sysctl(pmtuDisc); v == nil || !ok || discovers == 0 {
		return nil
	}
	for _, d := range v.Destinations {
		a := st.Output(host.Flow{Dst: d.Addr.Addr()})
		l := st.LinkNamed(a.Dev)
		if d.Method != "tunnel" || a.Type != "unicast" || l == nil {
			continue
		}
		mtu := l.MTU
		if a.Route != nil && a.Route.MTU != 0 {
			mtu = a.Route.MTU
		}
		if mtu == 0 || mtu >= usual+outerLength {
			continue
		}
		return &finding{
			summary:  fmt.Sprintf("packets of more than %d bytes that may not be fragmented do not fit, with their outer header, into the way to the real server %s: the client is told so by ICMP 3/4, which nothing may filter", mtu-outerLength, d.Addr.Addr()),
			evidence: []evidence{by(host.PartLinks, "ip link show %s: mtu %d", command.Device(l.Name), mtu), st.says(pmtuDisc)},
		}
	}
	return nil
}

// fragmentState: the state does not say whether a fragment is missing, but says whether the kernel reassembles any.
func fragmentState(s Subject, st *State) *finding {
	f := lostFragment(s)
	f.consistent = true
	f.evidence = []evidence{st.says("net/ipv4/ipfrag_time"), st.says("net/ipv4/ipfrag_high_thresh")}
	high, ok := st.Sysctl("net/ipv4/ipfrag_high_thresh")
	switch {
	case ok && high == 0:
		f.consistent = false
		f.summary = "fragments are not put together: net.ipv4.ipfrag_high_thresh is 0"
		f.fix, f.mend = command.Of("sysctl -w net.ipv4.ipfrag_high_thresh=4194304"), setSysctl("net/ipv4/ipfrag_high_thresh", 4194304)
	case s.Supposed:
		return nil // none is missing yet
	default:
		st.laterFragments(s, &f)
	}
	return &f
}

// laterFragments says which rule drops the packet's later fragments, which nobody knows for the service's: the hooks before
// they are put together are asked, of which that at the device always is. Connection tracking puts them together in prerouting
// before most rules there (nf_defrag_ipv4).
func (st *State) laterFragments(s Subject, f *finding) {
	for _, hook := range []string{"ingress", "prerouting"} {
		s.Hook = hook
		p := filteredPacket(s, st.Snapshot)
		first := st.rules.Evaluate(p)
		p.Fragment, p.HasPorts, p.Length, p.CT = true, false, 0, 0
		o := st.rules.Evaluate(p)
		if o.Rule == nil || first.Rule != nil && o.Rule.Same(*first.Rule) {
			continue
		}
		f.consistent, f.doubtful, f.rule = false, true, o.Rule
		f.summary = fmt.Sprintf("%s drops later fragments, and one of the packet from %s did not arrive", where(*o.Rule), s.src())
		f.evidence = append(f.evidence, evidenceOf(*o.Rule)...)
		rule := *o.Rule
		f.fix, f.mend = ruleset.Fix(rule, p), func(st *State) { ruleset.Mend(st.whole, rule, p) }
		return
	}
}

// overlapState: before the timeout the kernel gives up fragments only if two overlap or are too far apart.
func overlapState(s Subject, st *State) *finding {
	if st.Counted("IpExt.ReasmOverlaps") == 0 {
		return nil
	}
	return &finding{
		summary:  fmt.Sprintf("two fragments of the packet from %s overlap, which no sound host makes (RFC 5722): the kernel frees all of them", s.src()),
		evidence: []evidence{st.counted("IpExt.ReasmOverlaps")},
		doubtful: true, // another packet may have been counted
	}
}

func lostFragment(s Subject) finding {
	return finding{summary: fmt.Sprintf("a fragment of the packet from %s did not arrive in time: let fragments pass on the way, or keep the packets small enough", s.src())}
}

func badChecksum(s Subject) finding {
	return wrongSum(map[uint8]string{protoTCP: "TCP", protoUDP: "UDP", protoICMP: "ICMP"}[s.Packet.Inner.Protocol])
}

func badHeaderSum(s Subject) finding {
	switch {
	case s.Tunnelled:
		return wrongSum("outer header's")
	case s.Outer != nil:
		return wrongSum("inner header's")
	}
	return wrongSum("IP")
}

func wrongSum(what string) finding {
	return finding{summary: fmt.Sprintf("the %s checksum is wrong: whoever sent the packet, or something on its way, has damaged it", what)}
}
