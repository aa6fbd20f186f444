package host

import "net/netip"

// Request is a packet that the service is to answer.
type Request struct {
	// Proto is "tcp" or "udp".
	Proto           string
	Client, Service netip.AddrPort
	// Dev is the device by which it came in, without its outer header.
	Dev string
	TOS uint8
	// Mark is the packet's mark when the socket was found, unless MarkUnknown.
	Mark        uint32
	MarkUnknown bool
}

// Reply is the lookup that the kernel makes for the answer of a socket to a request; without a socket it is that of a
// reset (inet_csk_route_req, ip_send_unicast_reply, udp_sendmsg). Output answers it.
//
// The request's mark gets into the answer by tcp_fwmark_accept, if the socket has none of its own, and by fwmark_reflect
// into a reset; its VRF by tcp_l3mdev_accept, and always into a reset. A UDP socket that is bound to no device answers from
// outside of the VRF, unless its program names a device in each message (IP_PKTINFO), which nobody can read.
func (s *Snapshot) Reply(r Request, from *Socket) Flow {
	f := Flow{Src: r.Service.Addr(), Dst: r.Client.Addr(), Proto: 6, Sport: r.Service.Port(), Dport: r.Client.Port(), FromHere: true}
	switch {
	case from == nil:
		f.TOS, f.OIF = r.TOS, s.vrfOf(r.Dev)
		s.reflect(&f, r, "net/ipv4/fwmark_reflect")
		return f
	case r.Proto == "udp":
		f.Proto = 17
	}
	f.Mark, f.TOS, f.UID, f.FromHere = from.Mark, from.TOS, from.UID, !from.Transparent
	if from.Untold {
		f.Unknown |= FieldTOS | FieldMark | FieldFromHere
	}
	if l := s.Link(from.Device); l != nil {
		f.OIF = l.Name
	}
	if r.Proto == "tcp" {
		if accept, _ := s.Sysctl("net/ipv4/tcp_l3mdev_accept"); accept != 0 && f.OIF == "" {
			f.OIF = s.vrfOf(r.Dev)
		}
		if f.Mark == 0 {
			s.reflect(&f, r, "net/ipv4/tcp_fwmark_accept")
		}
	}
	return f
}

// reflect gives an answer the request's mark, if the setting is on.
func (s *Snapshot) reflect(f *Flow, r Request, setting string) {
	on, known := s.Sysctl(setting)
	switch {
	case known && on == 0, r.Mark == 0 && !r.MarkUnknown:
	case !known, r.MarkUnknown:
		f.Unknown |= FieldMark
	default:
		f.Mark = r.Mark
	}
}

// vrfOf is the name of the VRF that a device belongs to, or is; empty without.
func (s *Snapshot) vrfOf(dev string) string {
	l := s.LinkNamed(dev)
	switch {
	case l == nil:
		return ""
	case l.Type == "vrf":
		return l.Name
	case l.MasterKind != "vrf":
		return ""
	}
	if master := s.Link(l.Master); master != nil {
		return master.Name
	}
	return ""
}
