package diagnose

import (
	"net/netip"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
	"ipiptrace/tracer/event"
)

// tracking are the states that connection tracking may have given the packet (nf_conntrack_in); 0: not known. The table was
// read after the loss, so that an entry may be a later packet's.
func tracking(h *host.Snapshot, p ruleset.Packet) ruleset.CT {
	if h == nil || !h.Knows(host.PartConntrack) || p.Fragment {
		return 0
	}
	src, dst := netip.AddrPortFrom(p.Src, p.Sport), netip.AddrPortFrom(p.Dst, p.Dport)
	if !p.HasPorts {
		src, dst = netip.AddrPortFrom(p.Src, 0), netip.AddrPortFrom(p.Dst, 0)
	}
	entry, back := h.Conntrack.Find(p.Proto, src, dst)
	switch {
	case entry == nil && h.Conntrack != nil && h.Conntrack.MoreConns > 0:
		return 0
	case p.Proto == protoTCP:
		return trackingTCP(h, p, entry, back)
	case p.Proto == protoICMP:
		return trackingICMP(p, entry)
	case entry == nil, !entry.Replied && !back:
		return ruleset.New
	case back:
		return ruleset.Established
	}
	return ruleset.New | ruleset.Established
}

// trackingTCP follows tcp_new and nf_conntrack_tcp_packet. A segment in the middle of a connection may also be outside of its
// window.
func trackingTCP(h *host.Snapshot, p ruleset.Packet, entry *host.Connection, back bool) ruleset.CT {
	flags := event.TCPFlags(p.Flags)
	syn := flags&(event.SYN|event.ACK|event.RST) == event.SYN
	switch {
	case flags&event.RST != 0:
		return 0 // it takes its entry with it
	case entry == nil && syn:
		return ruleset.New
	case entry == nil && flags&(event.SYN|event.FIN) == 0 && flags&event.ACK != 0:
		return pickedUp(h)
	case entry == nil:
		return ruleset.Invalid
	case back:
		return ruleset.Established | ruleset.Invalid
	case syn && !entry.Replied:
		return ruleset.New
	case syn:
		return ruleset.New | ruleset.Established | ruleset.Invalid
	case !entry.Replied:
		return ruleset.New | ruleset.Invalid
	}
	return ruleset.Established | ruleset.Invalid
}

// pickedUp are the states of a packet from the middle of a connection that is not tracked yet.
func pickedUp(h *host.Snapshot) ruleset.CT {
	loose, ok := h.Sysctl("net/netfilter/nf_conntrack_tcp_loose")
	switch {
	case !ok:
		return ruleset.New | ruleset.Invalid
	case loose == 0:
		return ruleset.Invalid
	}
	return ruleset.New
}

// trackingICMP: a request makes an entry, an answer needs one. The identifier, which is not known here, would say which.
func trackingICMP(p ruleset.Packet, entry *host.Connection) ruleset.CT {
	const echoReply, echo = 0, 8
	switch {
	case entry != nil:
		return 0
	case p.ICMPType == echo:
		return ruleset.New
	case p.ICMPType == echoReply:
		return ruleset.Invalid
	}
	return 0
}
