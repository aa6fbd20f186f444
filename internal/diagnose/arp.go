package diagnose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// arpRows are the causes in what this host says of the VIP on its wire. No packet is lost by them here.
func arpRows() []row {
	return []row{
		{
			code: "vip-arp-conflict", stage: link, needs: []host.Part{host.PartAddrs, host.PartLinks, host.PartSysctls, host.PartNft},
			doubted: outerSide,
			check:   arpState,
			doc: Doc{
				Where:  onHost,
				Means:  "Packets for the VIP come without a tunnel: this host has answered ARP for the VIP in the director's place.",
				Kernel: "No drop: the packets are delivered, and the director does not know of them.",
				Confirm: []Line{
					{Command: "sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.eth0.arp_ignore", Says: "the higher of the two is in effect", Shows: `all.arp_ignore = 0`},
					{Command: "arping -D -I eth0 VIP", On: "on another host", Says: "whose Ethernet address answers"},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"},
					{Command: "ip neigh flush to VIP", On: atRouter},
				},
				Prevent: "Apply the two settings in /etc/sysctl.d/ before the VIP is added. They do not help if the VIP is on eth0 itself.",
			},
		},
		{
			code: "vip-arp-conflict", stage: link, needs: append([]host.Part{host.PartSysctls, host.PartNeighbours}, lookups...), looks: answersBy,
			doubted: replySide,
			check:   announceState,
		},
	}
}

// arpState: a real server that answers ARP for the VIP takes packets that are the director's (arp_process, arp_ignore: what
// counts is the device by which the request comes).
func arpState(s Subject, st *State) *finding {
	on := st.AddrOn(s.vip())
	l := st.link(s)
	if l == nil || l.NoARP || len(on) == 0 || !s.Tunnelled {
		return nil
	}
	switch rule, undecided := st.filtersARP(*l, asked{"the question for the VIP", "input", ruleset.ARP{Target: s.vip()}}, asked{"the answer for the VIP", "output", ruleset.ARP{Answer: true, Sender: s.vip()}}); {
	case undecided != nil:
		return undecided
	case rule != nil:
		return nil
	}
	own := slices.ContainsFunc(on, func(x host.Link) bool { return x.Index == l.Index })
	dev := "net/ipv4/conf/" + l.Name + "/arp_ignore"
	f := &finding{evidence: []evidence{st.says("net/ipv4/conf/all/arp_ignore"), st.says(dev)}}
	for _, x := range on {
		f.evidence = append(f.evidence, by(host.PartAddrs, "ip addr show %s: %s", command.Device(x.Name), s.vip()))
	}
	switch answers, known := AnswersARP(st.Snapshot, s.vip(), *l); {
	case !known || !answers:
		return nil
	case own:
		f.summary = fmt.Sprintf("the VIP %s is on %s itself, so that this host answers ARP for it: whoever asks there sends past the director", s.vip(), l.Name)
	default:
		f.summary = fmt.Sprintf("this host answers ARP for the VIP %s on %s: if the VIP belongs to that network, whoever asks there sends past the director", s.vip(), l.Name)
		if mode, _ := st.Effective(l.Name, "arp_ignore"); mode == 0 { // the larger of the two counts, so that no other mode is undone there
			f.fix, f.mend = command.Of("sysctl -w net.ipv4.conf.%.arp_ignore=1", command.DeviceSetting(l.Name)), setSysctl(dev, 1)
		}
	}
	return f
}

// announceState: this host asks for the next hop of its answers with the VIP as sender, and who is asked keeps this host's Ethernet
// address for the VIP (arp_solicit, neigh_event_ns).
func announceState(s Subject, st *State) *finding {
	l := st.link(s)
	if !s.Reply || s.Tunnelled || l == nil || l.NoARP || !speaksEthernet(*l) || !st.Owns(s.vip()) {
		return nil
	}
	a, _, undecided := st.wayOut(s)
	if undecided != nil || a.Type != "unicast" {
		return nil // that is another's to say
	}
	hop := a.NextHop(s.dst())
	permanent := func(n host.Neighbour) bool { return n.Addr == hop && n.Link == l.Index && n.State == "permanent" }
	dev := "net/ipv4/conf/" + l.Name + "/arp_announce"
	mode, known := st.Effective(l.Name, "arp_announce")
	switch {
	case !known || mode == 2 || slices.ContainsFunc(st.Neighbours, permanent):
		return nil
	case mode == 1 && !slices.ContainsFunc(st.AddrsOf(l.Index), func(x host.Addr) bool { return x.Prefix.Contains(hop) && x.Prefix.Contains(s.vip()) }):
		return nil
	}
	switch rule, undecided := st.filtersARP(*l, asked{"questions that name the VIP", "output", ruleset.ARP{Sender: s.vip(), Target: hop}}); {
	case undecided != nil:
		return undecided
	case rule != nil:
		return nil
	}
	f := &finding{
		summary:  fmt.Sprintf("this host names the VIP %s as the sender when it asks for %s by ARP on %s: if the VIP belongs to that network, who is asked sends past the director then", s.vip(), hop, l.Name),
		evidence: []evidence{st.says("net/ipv4/conf/all/arp_announce"), st.says(dev)},
	}
	if mode < 2 { // the larger of the two counts
		f.fix, f.mend = command.Of("sysctl -w net.ipv4.conf.%.arp_announce=2", command.DeviceSetting(l.Name)), setSysctl(dev, 2)
	}
	return f
}

// arpNever is the mode of arp_ignore that answers nothing.
const arpNever = 8

// AnswersARP reports whether a machine answers ARP for an address of its own on a device (arp_ignore, inet_confirm_addr); the modes
// that the kernel does not know are as 0. It goes without arp_filter, without rules, and takes the asker for a neighbour.
func AnswersARP(s *host.Snapshot, a netip.Addr, on host.Link) (answers, known bool) {
	mode, known := s.Effective(on.Name, "arp_ignore")
	if on.NoARP {
		return false, true
	}
	switch mode {
	case 1, 2:
		answers = slices.ContainsFunc(s.AddrOn(a), func(x host.Link) bool { return x.Index == on.Index })
	case 3:
		answers = slices.ContainsFunc(s.Addrs, func(x host.Addr) bool { return x.Prefix.Addr() == a && x.Scope != "host" })
	case arpNever:
	default:
		answers = true
	}
	return answers, known
}

// silentState: nobody who has to ask finds this host on the device by which packets come, or this host nobody there: it answers
// no ARP, or the device does none (arp_rcv, arp_constructor: what leaves by it goes to its own Ethernet address then).
func silentState(s Subject, st *State) *finding {
	l := st.link(s)
	if l == nil || !speaksEthernet(*l) {
		return nil
	}
	mode, known := st.Effective(l.Name, "arp_ignore")
	switch {
	case l.NoARP && l.Type != "device": // hardware may be a modem, which takes what comes
		return &finding{
			summary:  fmt.Sprintf("%s does without ARP (NOARP): whoever has no permanent entry for this host does not find it there, and what this host sends by it goes to nobody but those of whom it has one", l.Name),
			evidence: []evidence{by(host.PartLinks, "ip link show %s: NOARP", command.Device(l.Name))},
			fix:      command.Of("ip link set % arp on", command.Device(l.Name)),
			mend:     changeLink(l.Index, func(l *host.Link) { l.NoARP = false }),
		}
	case known && mode == arpNever:
		return &finding{
			summary:  fmt.Sprintf("this host answers no ARP on %s (arp_ignore 8): whoever has no permanent entry for it does not find it there", l.Name),
			evidence: []evidence{st.says("net/ipv4/conf/all/arp_ignore"), st.says("net/ipv4/conf/" + l.Name + "/arp_ignore")},
		}
	}
	return nil
}

// speaksEthernet reports whether a device is one of Ethernet, on which hosts find each other by ARP; ipvlan's may work at IP.
func speaksEthernet(l host.Link) bool {
	return l.MAC != "" && slices.Contains([]string{"device", "veth", "bridge", "bond", "team", "vlan", "macvlan"}, l.Type)
}

// arpDroppers are the rules and policies of the family arp that may drop a question or an answer (arp_xmit, arp_rcv): what
// they ask for is not read.
func arpDroppers(s *host.Snapshot) (all []ruleset.Rule) {
	for _, t := range s.Nft {
		for _, c := range t.Chains {
			if t.Family != "arp" || t.Dormant {
				continue
			}
			here := ruleset.Rule{Backend: "nft", Family: t.Family, Table: t.Name, Chain: c.Name}
			for i, r := range c.Rules {
				if !slices.ContainsFunc(r.Exprs, mayDrop) {
					continue
				}
				rule := here
				rule.Handle, rule.Number, rule.Text = r.Handle, i+1, r.Text
				all = append(all, rule)
			}
			if c.Policy == "drop" {
				here.Policy = c.Policy
				all = append(all, here)
			}
		}
	}
	return all
}

// mayDrop reports whether an expression may end a packet: it is a verdict, one of a map, or iptables' extension.
func mayDrop(expression json.RawMessage) bool {
	return slices.ContainsFunc([]string{`"drop"`, `"vmap"`, `"xt"`}, func(word string) bool { return bytes.Contains(expression, []byte(word)) })
}

// blameARP says that rules of this host may be why nobody answers.
func (f *finding) blameARP(rules []ruleset.Rule) {
	f.doubtful = true
	if len(rules) > 1 {
		f.summary += fmt.Sprintf(", or one of %d rules of the family arp drops the question or the answer here", len(rules))
		return
	}
	f.summary += ", or " + where(rules[0]) + " drops the question or the answer"
	if rules[0].Policy == "" {
		f.evidence = append(f.evidence, evidenceOf(rules[0])...)
	}
}
