package journey

import (
	"net/netip"
	"testing"

	"ipiptrace/tracer/event"
)

// odd is what a director sent in IPIP and is no IPv4 packet, of which only the freeing is known.
func (k *kernel) odd() *skb {
	outer, nothing := ipip(), netip.AddrFrom4([4]byte{})
	return k.packet(9, event.Packet{NoInner: true, Outer: &outer, Inner: event.Header{Src: nothing, Dst: nothing}})
}

// cutOff is the same, and too short for any header.
func (k *kernel) cutOff() *skb {
	s := k.odd()
	s.packet.Outer.Len = 28
	return s
}

func TestWhatIsNoIPv4PacketIsLostWhereItIsLookedAt(t *testing.T) {
	for what, test := range map[string]struct {
		does   func(k *kernel)
		lost   bool
		inside bool // it had its outer header still
	}{
		"IP looks at it behind the tunnel":         {does: func(k *kernel) { k.odd().on("tunl0", nsRealServer).kfree("ip_rcv_core.constprop.0", "IP_INHDR") }, lost: true},
		"the same without a reason":                {does: func(k *kernel) { k.odd().on("tunl0", nsRealServer).kfree("ip_rcv_core", "") }, lost: true},
		"the tunnel finds no header in it":         {does: func(k *kernel) { k.cutOff().on("eth0", nsRealServer).kfree("tunnel4_rcv", "NOT_SPECIFIED") }, lost: true, inside: true},
		"a bridge floods it to another host":       {does: func(k *kernel) { k.odd().on("eth0", nsClient).kfree("ip_rcv_core", "OTHERHOST") }},
		"the director's own queue has no room":     {does: func(k *kernel) { k.odd().on("eth0", nsDirector).kfree("__dev_queue_xmit", "QDISC_DROP") }},
		"its outer header's checksum is wrong":     {does: func(k *kernel) { k.odd().on("eth0", nsRealServer).kfree("ip_rcv_core", "IP_CSUM") }},
		"a socket that reads everything had it":    {does: func(k *kernel) { k.odd().on("eth0", nsRealServer).kfree("packet_rcv", "PACKET_SOCK_ERROR") }},
		"it is answered, as nobody takes its sort": {does: func(k *kernel) { k.odd().on("eth0", nsRealServer).kfree("ip_protocol_deliver_rcu", "IP_NOPROTO") }},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			test.does(k)
			js := k.assemble(t, everywhere())
			if !test.lost {
				if len(js) != 0 {
					t.Errorf("%+v", js)
				}
				return
			}
			if len(js) != 1 {
				t.Fatalf("%d journeys, want 1", len(js))
			}
			j := js[0]
			if j.Fate != Dropped || j.Drop == nil || j.Drop.Tunnelled != test.inside || j.Outer == nil || j.Outer.Src != dip || j.Role != RealServer ||
				j.Direction != Request || j.Gaps != 0 || j.Changed != nil {
				t.Errorf("%+v, drop %+v", j, j.Drop)
			}
		})
	}
}
