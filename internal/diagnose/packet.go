package diagnose

import (
	"fmt"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
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
		},
		{
			code: "malformed-packet", stage: outer,
			at:   sure(site.HeaderUnsaid),
			fits: func(s Subject, _ *State) bool { return s.short() },
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
		},
		{
			code: "mtu-exceeded", stage: forwarding, needs: []host.Part{host.PartSysctls},
			at: sure(site.TooBig),
			check: func(s Subject, st *State) *finding {
				if discovers, ok := st.Sysctl(pmtuDisc); !s.ByIPVS || !ok || discovers == 0 {
					return nil
				}
				f := tooLong(s)
				f.evidence = append(f.evidence, st.says(pmtuDisc))
				f.fix = command.Of("sysctl -w net.ipv4.vs.pmtu_disc=0")
				return &f
			},
			bare: tooLong,
		},
		{
			code: "fragment-lost", stage: outer, needs: []host.Part{host.PartSysctls},
			at:    sure(site.Fragments),
			check: fragmentState,
			bare:  lostFragment,
		},
		{
			code: "fragment-lost", stage: outer, needs: []host.Part{host.PartCounters},
			at:    maybe(site.FragmentsPurged),
			check: overlapState,
		},
	}
}

// checksumState: the packet's own fault is in no state, but the kernel counts such.
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
	what := "inner"
	if s.Tunnelled {
		what = "outer"
	}
	if s.Outer == nil {
		what = "IP"
	}
	return finding{summary: fmt.Sprintf("the %s header does not fit the packet: whoever sent it, or something on its way, has damaged it", what)}
}

// pmtuDisc names the setting by which IPVS minds that a packet must not be fragmented.
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

// fragmentState: whether one is missing is in no state, but whether any are put together is.
func fragmentState(s Subject, st *State) *finding {
	f := lostFragment(s)
	f.consistent = true
	f.evidence = []evidence{st.says("net/ipv4/ipfrag_time"), st.says("net/ipv4/ipfrag_high_thresh")}
	if high, ok := st.Sysctl("net/ipv4/ipfrag_high_thresh"); ok && high == 0 {
		f.consistent = false
		f.summary = "fragments are not put together: net.ipv4.ipfrag_high_thresh is 0"
		f.fix = command.Of("sysctl -w net.ipv4.ipfrag_high_thresh=4194304")
	}
	return &f
}

// overlapState: without a timeout fragments are given up if two of them overlap, or are too far apart.
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
