package diagnose

import (
	"fmt"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
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
					{Command: "sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.eth0.arp_ignore", Says: "the greater counts", Shows: `all.arp_ignore = 0`},
					{Command: "arping -D -I eth0 VIP", On: "on another host", Says: "whose Ethernet address answers"},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"},
					{Command: "ip neigh flush to VIP", On: atRouter},
				},
				Prevent: "Apply the two settings in /etc/sysctl.d/ before the VIP is added. They do not help if the VIP is on eth0 itself.",
			},
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
	if slices.ContainsFunc(st.Nft, func(t host.NftTable) bool { return t.Family == "arp" }) {
		return &finding{undecided: "nftables: what a table of the family arp does to requests for the VIP"}
	}
	own := slices.ContainsFunc(on, func(x host.Link) bool { return x.Index == l.Index })
	mode, known := st.Effective(l.Name, "arp_ignore")
	all, dev := "net/ipv4/conf/all/arp_ignore", "net/ipv4/conf/"+l.Name+"/arp_ignore"
	f := &finding{evidence: []evidence{st.says(all), st.says(dev)}}
	for _, x := range on {
		f.evidence = append(f.evidence, by(host.PartAddrs, "ip addr show %s: %s", command.Device(x.Name), s.vip()))
	}
	switch {
	case !known || mode >= 8 || mode != 0 && !own:
		return nil
	case own:
		f.summary = fmt.Sprintf("the VIP %s is on %s itself, so that this host answers ARP for it: whoever asks there sends past the director", s.vip(), l.Name)
	default:
		f.summary = fmt.Sprintf("this host answers ARP for the VIP %s on %s: if the VIP belongs to that network, whoever asks there sends past the director", s.vip(), l.Name)
		f.fix, f.mend = command.Of("sysctl -w net.ipv4.conf.%.arp_ignore=1", command.DeviceSetting(l.Name)), setSysctl(dev, 1)
	}
	return f
}
