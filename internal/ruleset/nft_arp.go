package ruleset

import "net/netip"

// ARP is a question, or an answer, about an address of IPv4 on Ethernet.
type ARP struct {
	// Answer: it answers who asked.
	Answer bool
	// Sender and Target are invalid where they are not known.
	Sender, Target netip.Addr
}

// arpNames are operations as nft writes them.
var arpNames = map[string]uint64{"request": 1, "reply": 2, "rrequest": 3, "rreply": 4, "inrequest": 8, "inreply": 9, "nak": 10}

// arp is what an expression reads of a question or an answer of ARP. Of what is not known here it has something, as far as anybody
// can tell.
func (e *evaluation) arp(l *left) field {
	a := e.p.ARP
	operation := arpNames["request"]
	if a.Answer {
		operation = arpNames["reply"]
	}
	switch {
	case l.name == "meta" && l.key == "protocol":
		return field{known: true, number: etherNames["arp"], names: etherNames}
	case l.name == "meta" && l.key != "mark":
		return e.meta(l.key).ofDevice()
	case l.name != "payload" || l.protocol != "arp" || e.hasChanged(l.field):
		return field{}
	}
	switch l.field {
	case "operation":
		return field{known: true, number: operation, also: operation << 8, names: arpNames}
	case "htype":
		return field{known: true, number: 1} // Ethernet
	case "ptype":
		return field{known: true, number: etherNames["ip"], also: 8, names: etherNames}
	case "hlen":
		return field{known: true, number: 6}
	case "plen":
		return field{known: true, number: 4}
	case "saddr ip":
		return field{known: a.Sender.IsValid(), addr: a.Sender}
	case "daddr ip":
		return field{known: a.Target.IsValid(), addr: a.Target}
	}
	return field{}
}

// ofDevice is a field that names a device; of others nothing is known.
func (f field) ofDevice() field {
	if f.text {
		return f
	}
	return field{}
}
