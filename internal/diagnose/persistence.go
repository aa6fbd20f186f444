package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/site"
)

// persistenceRows are the causes in what IPVS remembers of a client.
func persistenceRows() []row {
	return []row{
		{
			code: "ipvs-persistence", stage: filter, needs: []host.Part{host.PartIPVS, host.PartSysctls},
			doubted: directorSide,
			at:      maybe(site.IPVSUnreachable, site.Neighbour, site.NoSocket),
			fits:    func(s Subject, st *State) bool { return !s.Reply && isDirected(s, st) }, check: persistState,
			doc: Doc{
				Where:  onDirector,
				Means:  "Persistence keeps the client at a real server that takes no new clients (weight 0), and that cannot be reached or does not serve any more.",
				Kernel: "ip_vs_check_template accepts a template whose real server has weight 0, while net.ipv4.vs.expire_quiescent_template is 0. The packet is lost as others for that real server: ip_vs_tunnel_xmit and ICMP 3/1, or neigh_invalidate.",
				Confirm: []Line{
					{Command: "ipvsadm -Lnc | grep CLIENT:0", Says: "the template, and its real server", Shows: `CLIENT:0`},
					{Command: "ipvsadm -Ln", Says: "its weight: 0", Shows: `Tunnel +0 `},
					{Command: "sysctl net.ipv4.vs.expire_quiescent_template", Says: "0", Shows: `= 0`},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.vs.expire_quiescent_template=1"},
				},
				Prevent: "Set expire_quiescent_template=1 where health checks set the weight to 0 (keepalived: inhibit_on_failure).",
			},
		},
	}
}

// quiescent names the setting by which persistence gives up a real server whose weight is 0.
const quiescent = "net/ipv4/vs/expire_quiescent_template"

// persistState finds the template that keeps the client at a real server that takes no new clients.
func persistState(s Subject, st *State) *finding {
	v := st.virtual(s)
	if on, ok := st.Sysctl(quiescent); v == nil || !ok || on != 0 || v.Flags&host.ServicePersistent == 0 {
		return nil
	}
	kept := template(v, s, st.IPVS.Conns)
	i := slices.IndexFunc(v.Destinations, func(d host.Destination) bool { return kept != nil && d.Addr.Addr() == kept.Dest.Addr() })
	some := func(d host.Destination) bool { return lacks(v, d) == available }
	if i < 0 || v.Destinations[i].Weight > 0 || !slices.ContainsFunc(v.Destinations, some) || s.Outer != nil && s.Outer.Dst != kept.Dest.Addr() {
		return nil
	}
	return &finding{
		summary: fmt.Sprintf("persistence keeps the client %s at the real server %s, which has the weight 0 and does not get or take its packets", s.client(), kept.Dest.Addr()),
		evidence: []evidence{
			by(host.PartIPVS, "ipvsadm -Lnc: %s %s %s, a template", kept.Client, kept.Virtual, kept.Dest),
			by(host.PartIPVS, "ipvsadm -Ln: -> %s %s weight 0", v.Destinations[i].Addr, methodName[v.Destinations[i].Method]), st.says(quiescent),
		},
		fix:  command.Of("sysctl -w net.ipv4.vs.expire_quiescent_template=1"),
		mend: setSysctl(quiescent, 1),
	}
}

// template is persistence's for the packet's client: a connection from port 0 (ip_vs_sched_persist); nil if none is known.
func template(v *host.Service, s Subject, all []host.IPVSConn) *host.IPVSConn {
	from := s.client()
	if v.Netmask.Is4() && from.Is4() {
		a, mask := from.As4(), v.Netmask.As4()
		for i := range a {
			a[i] &= mask[i]
		}
		from = netip.AddrFrom4(a)
	}
	for i := range all {
		if c := &all[i]; c.Proto == s.proto() && c.Client == netip.AddrPortFrom(from, 0) && c.Virtual == v.Addr {
			return c
		}
	}
	return nil
}

// chosen are the real servers that IPVS may have given the packet to: that of its connection, or of its client's
// template, if it is known; else those that take connections.
func (st *State) chosen(v *host.Service, s Subject) []host.Destination {
	for _, c := range st.IPVS.Conns {
		if !s.Supposed && ofConnection(c, s) {
			return ofAddress(v, c.Dest)
		}
	}
	expires, _ := st.Sysctl(quiescent)
	if c := template(v, s, st.IPVS.Conns); c != nil {
		kept := ofAddress(v, c.Dest)
		if len(kept) > 0 && (kept[0].Weight > 0 || expires == 0) {
			return kept
		}
	}
	var some []host.Destination
	for _, d := range chooses(v, s).among {
		if lacks(v, *d) == available {
			some = append(some, *d)
		}
	}
	if len(some) == 0 {
		return v.Destinations // by now
	}
	return some
}

func ofAddress(v *host.Service, a netip.AddrPort) []host.Destination {
	return slices.DeleteFunc(slices.Clone(v.Destinations), func(d host.Destination) bool { return !d.Takes(a) })
}
