package diagnose

import (
	"fmt"
	"strconv"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// balanceRows are the causes in what a director was told beside its services: settings, and methods.
func balanceRows() []row {
	return []row{
		{
			code: "ipvs-defence", stage: forwarding, needs: []host.Part{host.PartIPVS, host.PartSysctls},
			seen: func(q question) sight {
				if q.Reject != nil || q.Packet.Inner.Protocol == protoTCP && !q.isSYN() {
					return absent // only what begins a connection is turned away, and not answered
				}
				return atDirector(q)
			},
			state: defenceState,
		},
		{
			code: "ipvs-port-reuse", stage: forwarding, needs: []host.Part{host.PartIPVS, host.PartSysctls},
			seen: func(q question) sight {
				if q.Reject != nil || !q.isSYN() {
					return absent
				}
				return atDirector(q)
			},
			state: reuseState,
		},
		{
			// The packet met it on the director, before it came here and nobody was there for it.
			code: "ipvs-wrong-method", stage: link,
			seen: func(q question) sight {
				if _, ok := q.sentPlain(); ok && (opensNoSocket(q) != absent || atNoRoute(q) != absent) {
					return shown
				}
				return absent
			},
			state: func(q question) *finding {
				f := wrongMethod(q)
				f.doubtful = true // the director's state is not this one
				return &f
			},
			bare: wrongMethod,
		},
	}
}

// dropPacket names the setting by which a director turns connections away: 1 only when memory is short, 2 now that
// it is, 3 always.
const dropPacket = "net/ipv4/vs/drop_packet"

func defenceState(q question) *finding {
	if mode, ok := q.host.Sysctl(dropPacket); q.virtual() == nil || !ok || mode < 2 {
		return nil
	}
	return &finding{
		summary:  "the director turns new connections away on purpose, as a defence against floods",
		evidence: []string{q.says(dropPacket), q.says("net/ipv4/vs/am_droprate")},
		fix:      command.Of("sysctl -w net.ipv4.vs.drop_packet=0"),
	}
}

// reuseState: a connection from the same port had not been forgotten yet, and connection tracking knows it, too
// (ip_vs_conn_uses_old_conntrack). The first packet is the price of forgetting it.
func reuseState(q question) *finding {
	const reuse, tracks = "net/ipv4/vs/conn_reuse_mode", "net/ipv4/vs/conntrack"
	mode, _ := q.host.Sysctl(reuse)
	if on, ok := q.host.Sysctl(tracks); q.virtual() == nil || !ok || on == 0 || mode == 0 {
		return nil
	}
	return &finding{
		summary:  fmt.Sprintf("the client %s had another connection from the same port a moment ago, and the director, which tracks its connections, drops the first packet of the new one", q.client()),
		evidence: []string{q.says(tracks), q.says(reuse)},
		fix:      command.Of("sysctl -w net.ipv4.vs.conn_reuse_mode=0"),
		doubtful: true, // by now the old connection is forgotten
	}
}

// markedState: the only services are for packets with a firewall mark, and this one would be IPVS's with it.
func markedState(q question) *finding {
	services := q.host.IPVS.Services
	if len(services) != 1 || services[0].Mark == 0 {
		return nil
	}
	mark := strconv.Itoa(int(services[0].Mark))
	return &finding{
		summary:  fmt.Sprintf("IPVS has a service for packets with the firewall mark %s, and this one has it not: the director takes it for its own", mark),
		evidence: []string{"ipvsadm -Ln: FWM " + mark + ", no other service"},
		fix: command.Of("nft add table ip ipvs").
			Then("nft add chain ip ipvs prerouting '{ type filter hook prerouting priority mangle; }'").
			Then("nft add rule ip ipvs prerouting ip daddr % % dport % meta mark set %",
				command.Address(q.vip()), command.OneOf("the protocol", q.proto(), "tcp", "udp"), command.Number(q.port()), command.Number(services[0].Mark)),
	}
}

// sentPlain is how a director in another network namespace has sent the packet here without an outer header.
func (q question) sentPlain() (at journey.Step, ok bool) {
	for _, s := range q.Steps {
		if s.Place == event.IPVSXmit && plainMethod[s.Method] != "" && q.Drop != nil && s.Netns != q.Drop.Netns {
			at, ok = s, true
		}
	}
	return at, ok
}

// plainMethod names the methods without an outer header as ipvsadm does.
var plainMethod = map[string]string{"nat": "Masq", "direct": "Route"}

func wrongMethod(q question) finding {
	at, _ := q.sentPlain()
	return finding{
		summary:  fmt.Sprintf("the director has sent the packet without IPIP (ipvsadm -Ln: %s, not Tunnel); there: ipvsadm -e … -i", plainMethod[at.Method]),
		evidence: []string{fmt.Sprintf("IPVS in network namespace %d: method %s", at.Netns, at.Method)},
	}
}
