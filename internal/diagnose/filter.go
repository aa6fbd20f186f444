package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
	"ipiptrace/tracer/event"
)

// filterRows are the causes in netfilter and beside it.
func filterRows() []row {
	rules := []host.Part{host.PartNft, host.PartIPTables}
	return []row{
		{
			code: "firewall-reject", stage: filter, needs: rules,
			seen:  byNetfilter,
			state: func(q question) *finding { return firewallState(q, true) },
		},
		{
			code: "firewall-drop", stage: filter, needs: rules,
			seen:  byNetfilter,
			state: func(q question) *finding { return firewallState(q, false) },
		},
		{
			code: "conntrack-full", stage: filter, needs: []host.Part{host.PartConntrack},
			seen: byNetfilter,
			state: func(q question) *finding {
				c := q.host.Conntrack
				if c == nil || c.Max == 0 || c.Drop == 0 || c.Count < c.Max {
					return nil
				}
				return &finding{
					summary:  fmt.Sprintf("the table of tracked connections is full: %d of %d", c.Count, c.Max),
					evidence: []string{fmt.Sprintf("net.netfilter.nf_conntrack_count = %d", c.Count), fmt.Sprintf("net.netfilter.nf_conntrack_max = %d", c.Max), fmt.Sprintf("/proc/net/stat/nf_conntrack: %d dropped", c.Drop)},
					fix:      command.Of("nsenter -t 1 -n sysctl -w net.netfilter.nf_conntrack_max=%", command.Number(max(2*c.Max, c.Count+65536))),
				}
			},
		},
		{
			code: "queue-drop", stage: filter, needs: rules,
			seen: func(q question) sight {
				if q.droppedIn("nf_queue", "__nf_queue", "nfqnl_enqueue_packet", "nf_reinject") {
					return shown
				}
				return absent
			},
			bare: func(question) finding {
				return finding{summary: "a rule sends the packet to NF_QUEUE, and no program takes it from there: start the program, or let the rule bypass it (queue bypass)"}
			},
		},
		{
			code: "xfrm-policy", stage: filter, needs: []host.Part{host.PartXFRM},
			seen: func(q question) sight {
				switch {
				case q.reason("XFRM_POLICY"):
					return shown
				case q.droppedIn("ipip_tunnel_rcv", "ipip_rcv") && q.noReason(), atNoSocket(q) == possible && !q.reset() && q.Reject == nil:
					return possible
				case q.unsaidAtSocket(), q.droppedIn(event.TCPConnRequest.String()), q.ReplyLost:
					return possible
				}
				return absent
			},
			state: xfrmState,
			bare:  func(question) finding { return finding{summary: "an IPsec policy (xfrm) refuses the packet"} },
		},
		{
			code: "cgroup-drop", stage: filter, needs: []host.Part{host.PartCgroups},
			seen: func(q question) sight {
				switch {
				case q.reason("BPF_CGROUP_EGRESS"):
					return shown
				case q.reason("SOCKET_FILTER"), q.noReason() && q.droppedIn("sk_filter_trim_cap"), q.unsaidAtSocket():
					return possible
				case q.reply() && q.reason("") && q.Drop.NfHook == "" && q.droppedIn("ip_finish_output"):
					return possible
				}
				return absent
			},
			state: func(q question) *finding {
				side := "ingress"
				if q.reply() {
					side = "egress"
				}
				for _, c := range q.host.Cgroups {
					if c.Attach == side {
						path := command.Path("/sys/fs/cgroup", c.Path)
						detach := command.Of("bpftool cgroup detach % cgroup_inet_% id %", path, command.OneOf("the side", side, "ingress", "egress"), command.Number(c.ID))
						if c.Link != 0 {
							detach = command.Of("bpftool link detach id %", command.Number(c.Link))
						}
						return &finding{
							summary:  fmt.Sprintf("a program at the cgroup %s drops the packet", c.Path),
							evidence: []string{fmt.Sprintf("bpftool cgroup show %s: %s id %d", path, side, c.ID)},
							fix:      detach,
							doubtful: true, // systemd counts with such programs, too
						}
					}
				}
				return nil
			},
			bare: func(question) finding { return finding{summary: "a program at a cgroup drops what leaves"} },
		},
		{
			code: "security-module", stage: filter, needs: []host.Part{host.PartSockets, host.PartCgroups},
			seen: func(q question) sight {
				switch {
				case q.reason("SECURITY_HOOK"):
					return shown
				case q.reason("SOCKET_FILTER"):
					return possible
				}
				return absent
			},
			state: securityState,
			bare: func(question) finding {
				return finding{summary: "a security module (SELinux, AppArmor) refuses the packet: its log says which policy (ausearch -m avc)"}
			},
		},
	}
}

// securityState: older kernels give one reason for what a socket's filter, a cgroup's program and a security module
// refuse (sk_filter_trim_cap). Whether a socket has a filter is only known with its owner.
func securityState(q question) *finding {
	s := q.serving()
	if !q.reason("SOCKET_FILTER") || s == nil || len(s.Owners) == 0 || s.Filter {
		return nil
	}
	for _, c := range q.host.Cgroups {
		if c.Attach == "ingress" {
			return nil
		}
	}
	return &finding{
		summary: "neither a filter of the service's own socket nor a program at a cgroup is there to refuse the packet: a security module is left (SELinux, AppArmor), whose log says which policy (ausearch -m avc)",
		evidence: []string{
			fmt.Sprintf("getsockopt SO_GET_FILTER on %s %s: there is none", q.proto(), s.Local), "bpftool cgroup tree: no ingress",
		},
		doubtful: true,
	}
}

func byNetfilter(q question) sight {
	if q.Drop != nil && q.Drop.NfHook != "" && q.Drop.Decider != "ip_vs_in" {
		return possible
	}
	return absent
}

// hooked is the header that the hook sees.
func (q question) hooked() ruleset.Packet {
	p := headers(q.now())
	p.Hook = q.Drop.NfHook
	if o := q.Outer; o != nil && q.tunnelled() {
		p.Src, p.Dst, p.Proto, p.TTL, p.Length, p.HasPorts, p.Fragment = o.Src, o.Dst, o.Protocol, o.TTL, o.Len, false, o.Frag&0x1fff != 0
	}
	return p
}

// filtered is the packet as the hook sees it: with its devices, and what connection tracking has made of it.
func (q question) filtered() ruleset.Packet {
	p := q.hooked()
	switch p.Hook {
	case "output", "postrouting", "egress":
		p.OIF = q.dev()
		if p.OIF == "" && q.host != nil {
			p.OIF = q.host.Route(host.Flow{Src: p.Src, Dst: p.Dst}).Dev
		}
	case "forward":
		p.IIF = q.dev()
		if q.host != nil {
			p.OIF = q.host.Route(host.Flow{Src: p.Src, Dst: p.Dst, IIF: p.IIF}).Dev
		}
	default:
		p.IIF = q.dev()
	}
	if q.Packet.Segments > 1 {
		p.Length = 0 // merged, or not cut yet
	}
	p.CT = q.tracking(p)
	return p
}

// headers are what rules read of a packet that has left its tunnel.
func headers(p event.Packet) ruleset.Packet {
	return ruleset.Packet{
		Src: p.Inner.Src, Dst: p.Inner.Dst, Proto: p.Inner.Protocol, TTL: p.Inner.TTL,
		Length: p.Inner.Len, Fragment: p.Inner.Frag&0x1fff != 0, HasPorts: p.HasPorts,
		Sport: p.SrcPort, Dport: p.DstPort, Flags: uint8(p.TCPFlags), ICMPType: p.ICMPType, ICMPCode: p.ICMPCode,
	}
}

// evaluated is what the rules do with the packet. If none of them drops a packet of the state that it should have in
// connection tracking, it may have had another: a wrong checksum, for one, makes it invalid.
func (q question) evaluated() (ruleset.Packet, ruleset.Outcome) {
	p := q.filtered()
	o := q.ruleset.Evaluate(p)
	if o.Rule == nil && len(o.Candidates) == 0 && o.Tracked && p.CT != 0 {
		p.CT = 0
		o = q.ruleset.Evaluate(p)
		if o.Rule != nil {
			o.Candidates, o.Rule = []ruleset.Rule{*o.Rule}, nil
		}
	}
	if r := q.Drop.Rule; r != nil {
		o = o.Confirm(q.host, ruleset.Seen{Handle: r.Handle, Next: r.Next, NextKnown: r.NextKnown})
	}
	return p, o
}

// firewallState finds the rule, or the policy, that drops the packet, or rejects it. Of those that may have, only
// ones that answer count if the packet was answered.
func firewallState(q question, rejects bool) *finding {
	p, o := q.rules()
	verb := map[bool]string{true: "reject", false: "drop"}[rejects]
	if q.Reject != nil {
		o.Candidates = slices.DeleteFunc(slices.Clone(o.Candidates), func(r ruleset.Rule) bool { return !r.Rejects })
	}
	rule, summary := o.Rule, "%s %ss the packet"
	if rule == nil && len(o.Candidates) == 1 {
		rule, summary = &o.Candidates[0], "of the rules at the hook "+p.Hook+" only %s can %s the packet"
		if o.Against {
			summary = "%s %ss the packet, as the kernel was seen doing, though by what was read of it it would not"
		}
	}
	switch {
	case rule != nil && rule.Rejects == rejects:
		return &finding{
			summary:  fmt.Sprintf(summary, where(*rule), verb),
			evidence: slices.Concat(evidenceOf(*rule), trackedAs(p, o), q.gone(o)), fix: q.letPass(*rule, p), rule: rule, doubtful: o.Rule == nil,
		}
	case rule != nil, len(o.Candidates) == 0, o.Candidates[0].Rejects != rejects, rejects && q.Reject == nil:
		return nil
	}
	return &finding{
		summary:    fmt.Sprintf("one of %d rules at the hook %s %ss the packet", len(o.Candidates), p.Hook, verb),
		candidates: o.Candidates, doubtful: true,
	}
}

// letPass are the commands that take back what the rule does to the packet. The policy that drops it in its outer
// header is met again when that is gone.
func (q question) letPass(r ruleset.Rule, p ruleset.Packet) command.Fix {
	fix := ruleset.Fix(r, p)
	if r.Policy == "" || p.Proto != protoIPIP {
		return fix
	}
	inner := headers(q.now())
	inner.Hook = p.Hook
	for _, l := range tunnels(q.host) {
		if l.Up && takes(l, q) {
			inner.IIF = l.Name
		}
	}
	inner.CT = q.tracking(inner)
	if o := q.ruleset.Evaluate(inner); o.Rule != nil && o.Rule.Same(r) {
		fix = fix.And(ruleset.Fix(*o.Rule, inner))
	}
	return fix
}

// where names a rule in a sentence.
func where(r ruleset.Rule) string {
	place := fmt.Sprintf("chain %s of %s table %s %s", r.Chain, r.Backend, r.Family, r.Table)
	if r.Backend != "nft" {
		place = fmt.Sprintf("chain %s of %s table %s", r.Chain, r.Backend, r.Table)
	}
	switch {
	case r.Policy != "":
		return "the policy of " + place
	case r.Backend == "nft":
		return fmt.Sprintf("the rule with handle %d in %s", r.Handle, place)
	}
	return fmt.Sprintf("rule %d in %s", r.Number, place)
}

// evidenceOf is a rule as it is listed. One that may have begun on an earlier line of the listing has no text.
func evidenceOf(r ruleset.Rule) []string {
	switch {
	case r.Policy != "":
		return []string{fmt.Sprintf("chain %s: policy drop, and no rule accepts the packet", r.Chain)}
	case strings.TrimSpace(r.Text) != "":
		return []string{r.Text}
	case r.Backend == "nft":
		return []string{fmt.Sprintf("chain %s: handle %d, whose text cannot be read safely", r.Chain, r.Handle)}
	}
	return []string{fmt.Sprintf("chain %s: rule %d, which has no text", r.Chain, r.Number)}
}

// trackedAs is what connection tracking has the packet for, if a rule has asked.
func trackedAs(p ruleset.Packet, o ruleset.Outcome) []string {
	if !o.Tracked || p.CT == 0 {
		return nil
	}
	return []string{"/proc/net/nf_conntrack: to connection tracking the packet is " + p.CT.String()}
}

// gone says that the kernel used a rule that was not there any more when the ruleset was read.
func (q question) gone(o ruleset.Outcome) []string {
	if !o.Gone {
		return nil
	}
	return []string{fmt.Sprintf("the kernel was seen using a rule with handle %d, which the ruleset did not have when it was read", q.Drop.Rule.Handle)}
}

func xfrmState(q question) *finding {
	dir, src, dst := "in", q.src(), q.dst()
	if q.reply() || q.ReplyLost || q.droppedIn(event.TCPConnRequest.String()) {
		dir, src, dst = "out", q.vip(), q.client()
	}
	for _, p := range q.host.XFRM {
		proto := q.Packet.Inner.Protocol
		if q.tunnelled() {
			proto = q.outerProto()
		}
		if p.Dir != dir || p.Action != "block" && p.Templates == 0 || !p.Src.Contains(src) || !p.Dst.Contains(dst) || p.Proto != 0 && p.Proto != proto {
			continue
		}
		return &finding{
			summary:  fmt.Sprintf("the IPsec policy for %s → %s (%s) refuses the packet", p.Src, p.Dst, p.Dir),
			evidence: []string{fmt.Sprintf("ip xfrm policy: src %s dst %s dir %s action %s priority %d", p.Src, p.Dst, p.Dir, p.Action, p.Priority)},
			fix:      command.Of("ip xfrm policy delete dir % index %", command.OneOf("the direction", p.Dir, "in", "out"), command.Number(p.Index)),
		}
	}
	return nil
}
