package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// cross asks what rules do to the service's packets that a bridge of this machine passes on. Who sends them, and to whom, the peer
// says, if it is the director; else what is not given is not known, and no address stands for it.
func (x service) cross(rules *ruleset.Ruleset, r *Report) {
	over, why := x.bridge()
	if over == "" {
		r.check(diagnose.Check{Code: "firewall-drop", Unread: []string{why}}, nil)
		return
	}
	for _, k := range x.passedKinds() {
		q := diagnose.Supposition{
			Proto: k.proto, Client: netip.AddrPortFrom(netip.Addr{}, port(k)), Service: netip.AddrPortFrom(x.vip, k.port),
			OuterSrc: x.o.Director, OuterProto: protoIPIP, Over: over, Late: x.o.Late,
		}
		if x.o.Client.IsSingleIP() {
			q.Client = netip.AddrPortFrom(x.o.Client.Addr(), port(k))
		}
		for _, way := range x.crossings(k, q) {
			found, checks := way.Examine(x.s, rules)
			r.add(x.vip, found, checks)
		}
	}
	if len(x.o.Ports) == 0 && x.o.Proto != protoICMP {
		r.check(diagnose.Check{Code: "firewall-drop", Unread: []string{"what a bridge does to the service's answers is not asked: give its port (--port)"}}, nil)
	}
	if at := x.atPorts(); at != "" {
		r.check(diagnose.Check{Code: "firewall-drop", Unread: []string{fmt.Sprintf("what %s does to frames at a port of %s is not asked: by which ports they pass is not known", at, over)}}, nil)
	}
}

// crossings are the packets of a service by the ways that the peer tells, or one of which it is not known where it goes.
func (x service) crossings(k kind, q diagnose.Supposition) (all []diagnose.Supposition) {
	if x.o.Peer != nil {
		for _, s := range x.o.Peer.Sends {
			if proto := tunnelled[s.By]; proto != 0 && s.VIP == x.vip && s.Proto == words[k.proto] && (s.Port == k.port || k.port == 0) {
				q.OuterSrc, q.OuterDst, q.OuterProto, q.OuterPort, q.OuterFOU = s.From, s.To, proto, s.TunPort, s.By == "fou"
				all = append(all, q)
			}
		}
	}
	if len(all) == 0 {
		return []diagnose.Supposition{q}
	}
	return all
}

// bridge is the one that passes packets on; empty if it is not known which.
func (x service) bridge() (name, why string) {
	for _, l := range x.s.Links {
		if !l.Up || l.Type != "bridge" || len(x.portsOf(l)) < 2 {
			continue
		}
		if name != "" {
			return "", fmt.Sprintf("what a bridge does to a frame is not asked: there are several, %s and %s, and which passes the service's packets on is not known", name, l.Name)
		}
		name = l.Name
	}
	return name, "what a bridge does to a frame is not asked: none has two ports that are up"
}

func (x service) portsOf(bridge host.Link) (all []host.Link) {
	for _, l := range x.s.Links {
		if l.Master == bridge.Index && l.Up {
			all = append(all, l)
		}
	}
	return all
}

// atPorts names a chain that sees the frames of single ports, at the hooks of the family netdev; empty if there is none.
func (x service) atPorts() string {
	for _, t := range x.s.Nft {
		for _, c := range t.Chains {
			if port := func(dev string) bool { l := x.s.LinkNamed(dev); return l != nil && l.MasterKind == "bridge" }; !t.Dormant && slices.ContainsFunc(c.Devices, port) {
				return fmt.Sprintf("chain %s of nft table %s %s", c.Name, t.Family, t.Name)
			}
		}
	}
	return ""
}
