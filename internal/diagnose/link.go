package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// linkRows are the causes before IP sees the packet.
func linkRows() []row {
	return []row{
		{
			code: "xdp-drop", stage: link, needs: []host.Part{host.PartLinks},
			seen: func(q question) sight {
				switch {
				case q.droppedIn("do_xdp_generic", "netif_receive_generic_xdp", "bpf_prog_run_generic_xdp", "veth_xdp_rcv_skb", "veth_xdp_rcv", "veth_poll"):
					return shown
				case q.reason("XDP"):
					return shown
				}
				return absent
			},
			state: xdpState,
			bare: func(q question) finding {
				return finding{summary: fmt.Sprintf("an XDP program on %s drops the packet", q.dev())}
			},
		},
		{
			code: "tc-drop", stage: link, needs: []host.Part{host.PartFilters},
			seen: func(q question) sight {
				switch {
				case q.reason("TC_INGRESS", "TC_EGRESS"):
					return shown
				case q.noReason() && q.Drop.NfHook == "" && q.droppedIn("__netif_receive_skb_core", "sch_handle_ingress", "sch_handle_egress", "__dev_queue_xmit"):
					return possible
				}
				return absent
			},
			state: tcState,
			bare: func(q question) finding {
				return finding{summary: fmt.Sprintf("a tc filter on %s drops the packet", q.dev())}
			},
		},
		{
			code: "backlog-full", stage: link, needs: []host.Part{host.PartSysctls},
			seen: func(q question) sight {
				if q.reason("CPU_BACKLOG") || q.droppedIn("enqueue_to_backlog") {
					return shown
				}
				return absent
			},
			state: func(q question) *finding {
				limit, ok := q.host.Sysctl("net/core/netdev_max_backlog")
				if !ok {
					return nil
				}
				return &finding{
					summary:  "the queue of packets that wait for a CPU is full",
					evidence: []string{q.says("net/core/netdev_max_backlog"), fmt.Sprintf("/proc/net/softnet_stat: %d dropped", q.host.Counters["Softnet.Dropped"])},
					fix:      command.Of("nsenter -t 1 -n sysctl -w net.core.netdev_max_backlog=%", command.Number(max(2*limit, 1000))),
				}
			},
			bare: func(question) finding {
				return finding{summary: "the queue of packets that wait for a CPU is full; net.core.netdev_max_backlog says how long it may get"}
			},
		},
		{
			code: "wrong-mac", stage: link, needs: []host.Part{host.PartLinks},
			seen: func(q question) sight {
				switch {
				case q.reason("OTHERHOST"):
					return shown
				case q.reason("") && q.droppedIn("ip_rcv_core", "ip_rcv"):
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				l := q.link()
				if l == nil || q.reason("") && (!l.Promisc || q.short()) {
					return nil
				}
				return &finding{summary: wrongMAC(q), evidence: []string{fmt.Sprintf("ip link show %s: link/ether %s%s", command.Device(l.Name), l.MAC, promisc(l))}}
			},
			bare: func(q question) finding { return finding{summary: wrongMAC(q)} },
		},
	}
}

func promisc(l *host.Link) string {
	if l.Promisc {
		return ", PROMISC"
	}
	return ""
}

func wrongMAC(q question) string {
	sender := "the director"
	if !q.tunnelled() {
		sender = "whoever sent it"
	}
	return fmt.Sprintf("the frame is addressed to another Ethernet address than that of %s: %s has a wrong neighbour entry for %s; there: ip neigh del %s dev DEVICE", q.dev(), sender, q.dst(), command.Address(q.dst()))
}

func xdpState(q question) *finding {
	l := q.link()
	if l == nil || len(l.XDP) == 0 {
		return nil
	}
	f := &finding{summary: fmt.Sprintf("an XDP program on %s drops the packet", l.Name)}
	for _, x := range l.XDP {
		word, ok := xdpWord[x.Mode]
		if !ok {
			word = command.Say("xdp")
		}
		f.evidence = append(f.evidence, fmt.Sprintf("ip link show %s: %s, prog id %d", command.Device(l.Name), word, x.ID))
		f.fix = f.fix.Then("ip link set dev % % off", command.Device(l.Name), word)
	}
	return f
}

// xdpWord is how ip names the ways in which a program is attached.
var xdpWord = map[string]command.Part{
	"driver": command.Say("xdpdrv"), "generic": command.Say("xdpgeneric"), "hardware": command.Say("xdpoffload"),
}

func tcState(q question) *finding {
	side, at := "ingress", command.Say("ingress")
	if q.reply() || q.reason("TC_EGRESS") || q.droppedIn("__dev_queue_xmit", "sch_handle_egress") {
		side, at = "egress", command.Say("egress")
	}
	l := q.link()
	if l == nil {
		return nil
	}
	var may []host.Filter
	for _, f := range q.host.Filters {
		drops := slices.ContainsFunc(f.Actions, func(a string) bool { return strings.HasSuffix(a, " drop") })
		if f.Link == l.Index && f.Side == side && (drops || f.Kind == "bpf" || f.Kind == "tcx") {
			may = append(may, f)
		}
	}
	if len(may) == 0 {
		return nil
	}
	f := &finding{
		summary:  fmt.Sprintf("a tc filter at the %s of %s drops the packet", side, l.Name),
		doubtful: len(may) > 1,
	}
	for _, x := range may {
		what := strings.Join(x.Actions, ", ")
		if x.Program != "" {
			what = strings.TrimSpace(what + " program " + x.Program)
		}
		f.evidence = append(f.evidence, fmt.Sprintf("tc filter show dev %s %s: pref %d %s %s", command.Device(l.Name), side, x.Pref, x.Kind, what))
	}
	if len(may) == 1 && may[0].Pref != 0 { // 0 would be all of them
		f.fix = command.Of("tc filter del dev % % pref %", command.Device(l.Name), at, command.Number(may[0].Pref))
	}
	return f
}
