package diagnose

import (
	"fmt"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// linkRows are the causes before IP sees the packet.
func linkRows() []row {
	return []row{
		{
			code: "xdp-drop", stage: link, needs: []host.Part{host.PartLinks},
			doubted: outerSide | innerSide,
			at:      sure(site.XDP),
			check:   xdpState,
			bare: func(s Subject) finding {
				return finding{summary: fmt.Sprintf("an XDP program on %s drops the packet", s.Dev)}
			},
			doc: Doc{
				Where:  inFilters,
				Means:  "An XDP program drops the packet.",
				Kernel: "do_xdp_generic or veth_xdp_rcv_skb. In a driver's XDP the packet never becomes one of the kernel's, and nothing is seen.",
				Confirm: []Line{
					{Command: "ip -d link show eth0", Says: "prog/xdp, and its id", Shows: `xdp`},
					{Command: "bpftool net", Says: "eth0, and how it is attached", Shows: `eth0`},
				},
				Fix: []Line{
					{Command: "ip link set dev eth0 xdpgeneric off", Says: "if ip link says xdpgeneric"},
					{Command: "ip link set dev eth0 xdpdrv off", Says: "or, if it says xdp alone", Lab: "xdp-native"},
				},
				Prevent: "Find who loads it, or it comes back.",
			},
		},
		{
			code: "tc-drop", stage: link, needs: []host.Part{host.PartFilters, host.PartLinks},
			doubted: outerSide | innerSide | replySide,
			at:      sure(site.TCIngress, site.TCEgress),
			fits:    mayFilter,
			check:   tcState,
			bare: func(s Subject) finding {
				return finding{summary: fmt.Sprintf("a tc filter on %s drops the packet", s.Dev)}
			},
			doc: Doc{
				Where:  inFilters,
				Means:  "A tc filter drops the packet.",
				Kernel: "__netif_receive_skb_core, TC_INGRESS; __dev_queue_xmit, TC_EGRESS.",
				Confirm: []Line{
					{Command: "tc -s filter show dev eth0 ingress", Says: "its pref, and what it dropped", Shows: `pref \d+[\s\S]*drop`},
					{Command: "tc -s filter show dev eth0 egress", Shows: `pref \d+[\s\S]*drop`, Lab: "tc-egress"},
				},
				Fix: []Line{
					{Command: "tc filter del dev eth0 ingress pref PREF"},
					{Command: "tc filter del dev eth0 egress pref PREF", Says: "or this, if it is a filter of what leaves", Lab: "tc-egress"},
				},
				Prevent: "Find who put it there (Cilium, a filter against floods), or it comes back.",
			},
		},
		{
			code: "tc-drop", stage: link, needs: []host.Part{host.PartFilters, host.PartLinks},
			at:    maybe(site.TCUnsaid),
			check: tcState,
		},
		{
			// A filter that a queueing discipline asks for the packet's class drops it.
			code: "tc-drop", stage: link, needs: []host.Part{host.PartFilters, host.PartLinks},
			at:      maybe(site.Qdisc, site.QdiscUnsaid),
			doubted: replySide,
			check:   classifierState,
		},
		{
			code: "backlog-full", stage: link, needs: []host.Part{host.PartSysctls}, looks: []host.Part{host.PartCounters},
			doubted: outerSide,
			at:      sure(site.Backlog),
			check: func(s Subject, st *State) *finding {
				limit, ok := st.Sysctl("net/core/netdev_max_backlog")
				if !ok || s.Supposed && limit >= fewPackets {
					return nil
				}
				return &finding{
					consistent: !s.Supposed, // the queue was full at that moment
					summary:    "the queue of packets that wait for a CPU is full",
					evidence:   []evidence{st.says("net/core/netdev_max_backlog"), by(host.PartCounters, "/proc/net/softnet_stat: %d dropped", st.Counters["Softnet.Dropped"])},
					fix:        command.Of("nsenter -t 1 -n sysctl -w net.core.netdev_max_backlog=%", command.Number(max(2*limit, 1000))),
					mend:       setSysctl("net/core/netdev_max_backlog", max(2*limit, 1000)),
				}
			},
			bare: func(Subject) finding {
				return finding{summary: "the queue of packets that wait for a CPU is full; net.core.netdev_max_backlog says how long it may get"}
			},
			doc: Doc{
				Where:  onHost,
				Means:  "The queue of packets that wait for a CPU is full.",
				Kernel: "enqueue_to_backlog, CPU_BACKLOG.",
				Confirm: []Line{
					{Command: "cat /proc/net/softnet_stat", Says: "the second column, for each CPU", Shows: `(?m)^[0-9a-f]{8} 0*[1-9a-f]`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.core.netdev_max_backlog=2000", On: atFirst},
				},
				Prevent: "Spread the load over more CPUs: RSS or RPS.",
			},
		},
		{
			code: "wrong-mac", stage: link, needs: []host.Part{host.PartLinks},
			at:    sure(site.OtherHost),
			check: macState,
			bare:  func(s Subject) finding { return finding{summary: wrongMAC(s) + tagged(s)} },
			doc: Doc{
				Where:  beforeTunnel,
				Means:  "The frame is addressed to another Ethernet address than this host's: its sender has a wrong neighbour entry. Or it has the tag of a VLAN for which this host has no device.",
				Kernel: "ip_rcv_core, OTHERHOST. Only a device in promiscuous mode, or a veth, shows a frame for another address to the kernel; one with a VLAN's tag comes in any case, and __netif_receive_skb_core makes it another host's.",
				Confirm: []Line{
					{Command: "ip neigh show RIP", On: atDirector, Says: "lladdr", Shows: `RIP dev \S+ lladdr`},
					{Command: "ip link show eth0", Says: "link/ether is the real address; PROMISC", Shows: `PROMISC[^/]*link/ether`},
				},
				Fix: []Line{
					{Command: "ip neigh del RIP dev eth0", On: atDirector},
				},
				Prevent: "Make no permanent neighbour entries; announce an address that moves (arping -U).",
			},
		},
		{
			// Kernels without reasons: IP sees other hosts' frames on a promiscuous device.
			code: "wrong-mac", stage: link, needs: []host.Part{host.PartLinks},
			at: []spot{{site.HeaderUnsaid, likely}},
			check: func(s Subject, st *State) *finding {
				if l := st.link(s); l == nil || !l.Promisc || s.short() {
					return nil
				}
				return macState(s, st)
			},
		},
	}
}

// mayFilter reports whether a filter of tc may have dropped the packet: where the kernel gives no reason, one has to be there.
func mayFilter(s Subject, st *State) bool {
	if st == nil || s.Supposed || !s.unsaid || !st.whole.Knows(host.PartFilters) || !st.whole.Knows(host.PartLinks) {
		return true
	}
	l := st.whole.LinkNamed(s.Dev)
	return l == nil || slices.ContainsFunc(st.whole.Filters, func(f host.Filter) bool { return f.Link == l.Index && seesIPv4(f) })
}

// fewPackets is less than what comes in one go from any network card.
const fewPackets = 16

// macState: the state does not say which address the frame had.
func macState(s Subject, st *State) *finding {
	l := st.link(s)
	if l == nil {
		return nil
	}
	f := &finding{
		consistent: true, summary: wrongMAC(s),
		evidence: []evidence{by(host.PartLinks, "ip link show %s: link/ether %s%s", command.Device(l.Name), l.MAC, promisc(l))},
	}
	if !l.Promisc {
		f.summary, f.doubtful = wrongMAC(s)+tagged(s), true
	}
	return f
}

// tagged is the other cause of such a frame, which is not to be told apart: the kernel takes one with a VLAN's tag, for which
// there is no device, for another host's (__netif_receive_skb_core). A network card that is not promiscuous lets no other frame
// in; a veth does.
func tagged(s Subject) string {
	return fmt.Sprintf("; or the frame has the tag of a VLAN that has no device on %s, which is likelier where %s is not promiscuous: tcpdump -eni %s shows both", s.Dev, s.Dev, command.Device(s.Dev))
}

func promisc(l *host.Link) string {
	if l.Promisc {
		return ", PROMISC"
	}
	return ""
}

func wrongMAC(s Subject) string {
	sender := "the director"
	if !s.Tunnelled {
		sender = "whoever sent it"
	}
	return fmt.Sprintf("the frame's destination is not the Ethernet address of %s: %s has a wrong neighbour entry for %s; run there: ip neigh del %s dev DEVICE", s.Dev, sender, s.dst(), command.Address(s.dst()))
}

func xdpState(s Subject, st *State) *finding {
	l := st.link(s)
	if l == nil || len(l.XDP) == 0 {
		return nil
	}
	f := &finding{
		consistent: true, // what the program does is in no state
		summary:    fmt.Sprintf("an XDP program on %s drops the packet", l.Name),
		mend:       changeLink(l.Index, func(l *host.Link) { l.XDP = nil }),
	}
	for _, x := range l.XDP {
		word, ok := xdpWord[x.Mode]
		if !ok {
			word = command.Say("xdp")
		}
		f.evidence = append(f.evidence, by(host.PartLinks, "ip link show %s: %s, prog id %d", command.Device(l.Name), word, x.ID))
		f.fix = f.fix.Then("ip link set dev % % off", command.Device(l.Name), word)
	}
	return f
}

// xdpWord is how ip names the ways in which a program is attached.
var xdpWord = map[string]command.Part{
	"driver": command.Say("xdpdrv"), "generic": command.Say("xdpgeneric"), "hardware": command.Say("xdpoffload"),
}
