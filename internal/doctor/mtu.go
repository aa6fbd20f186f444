package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// pathMTUCode is the word in the table for what is known of lengths.
const pathMTUCode = "path-mtu"

// Lengths in bytes: of the headers of IPv4 and TCP, and of what each kind of tunnel puts before a packet.
const headers = 40

var overhead = map[string]uint32{"": 20, "ipip": 20, "gre": 24, "gue": 32}

// maxShown bounds the lines of one kind.
const maxShown = 8

// mtu says how long packets may be: on the devices, on the ways to clients and real servers, and what the service announces.
func (x service) mtu(rules *ruleset.Ruleset, r *Report) {
	r.say(stepMTU, pathMTUCode, x.deviceMTUs()...)
	if x.role == Director {
		r.say(stepMTU, pathMTUCode, x.towardsServers()...)
	} else {
		r.say(stepMTU, pathMTUCode, x.announced()...)
		r.say(stepMTU, pathMTUCode, x.segments()...)
	}
	r.say(stepMTU, pathMTUCode, clamps(x.s)...)
	r.say(stepMTU, pathMTUCode, fragments(x.s)...)
	for _, u := range x.s.Unread {
		if u.Part == host.PartLinks || u.Part == host.PartRoutes || u.Part == host.PartExceptions || u.Part == host.PartAll {
			r.open(pathMTUCode, fmt.Sprintf("%s: %s", u.Part, u.Why))
		}
	}
	x.toldOfLengths(rules, r)
}

// deviceMTUs are those of the devices that packets of the service may come by, the tunnels last.
func (x service) deviceMTUs() []string {
	var wires, tunnels []string
	for _, l := range x.s.Links {
		words := fmt.Sprintf("%s %d", l.Name, l.MTU)
		switch {
		case l.MTU == 0, !l.Up:
		case l.Tunnel != nil && l.TakesIPv4():
			tunnels = append(tunnels, words)
		case x.isWire(l):
			wires = append(wires, words)
		}
	}
	all := append(wires, tunnels...)
	if len(all) == 0 {
		return nil
	}
	more := ""
	if len(all) > maxShown {
		more = fmt.Sprintf(", and %d more", len(all)-maxShown)
	}
	return []string{"mtu of devices: " + strings.Join(all[:min(len(all), maxShown)], ", ") + more}
}

// mtuOf is that of a way: the learned one of the destination, else the route's, else the device's.
func (x service) mtuOf(to netip.Addr, a host.Answer) (mtu uint32, learned bool) {
	for _, e := range x.s.Exceptions {
		if e.Dst == to {
			return e.MTU, true
		}
	}
	if a.Route != nil && a.Route.MTU != 0 {
		return a.Route.MTU, false
	}
	if l := x.s.LinkNamed(a.Dev); l != nil {
		return l.MTU, false
	}
	return 0, false
}

// announced is the MSS that the service has in its SYN/ACKs, and how long a client's full segment then is with its outer header.
func (x service) announced() (lines []string) {
	if !slices.ContainsFunc(x.kinds(), func(k kind) bool { return k.proto == protoTCP }) {
		return nil
	}
	for _, client := range x.clients() {
		a := x.s.Output(host.Flow{Src: x.vip, Dst: client})
		mtu, learned := x.mtuOf(client, a)
		if a.Type != "unicast" || mtu <= headers {
			continue
		}
		mss := mtu - headers
		if a.Route != nil && a.Route.AdvMSS != 0 {
			mss = a.Route.AdvMSS
		}
		how := ""
		if learned {
			how = ", which was learned by ICMP"
		}
		who := client.String()
		if !x.knowsClients() {
			who = fmt.Sprintf("clients such as %s (a sample)", client)
		}
		lines = append(lines, fmt.Sprintf("answers to %s leave by %s, mtu %d%s: without clamping the service announces an MSS of %d, and a client's full segment is %d bytes long in IPIP (GUE: %d)",
			who, a.Dev, mtu, how, mss, mss+headers+overhead["ipip"], mss+headers+overhead["gue"]))
	}
	return lines
}

// towardsServers are the ways to the real servers of a director, and what fits into them.
func (x service) towardsServers() (lines []string) {
	if x.s.IPVS == nil {
		return nil
	}
	known := map[string]bool{}
	for _, v := range x.s.IPVS.Services {
		if v.Mark == 0 && v.Addr.Addr() != x.vip {
			continue
		}
		for _, d := range v.Destinations {
			a := x.s.Output(host.Flow{Dst: d.Addr.Addr()})
			mtu, learned := x.mtuOf(d.Addr.Addr(), a)
			if d.Method != "tunnel" || a.Type != "unicast" || mtu == 0 {
				continue
			}
			how, kind := "", cmp.Or(d.TunType, "ipip")
			if learned {
				how = ", learned by ICMP"
			}
			line := fmt.Sprintf("to %s by %s in %s: mtu %d%s, so that clients' packets of up to %d bytes fit", d.Addr.Addr(), a.Dev, kind, mtu, how, mtu-min(mtu, overhead[kind]))
			if !known[line] {
				known[line] = true
				lines = append(lines, line)
			}
		}
	}
	if len(lines) > maxShown {
		lines = append(lines[:maxShown], fmt.Sprintf("and %d more real servers", len(lines)-maxShown))
	}
	if discovers, ok := x.s.Sysctl("net/ipv4/vs/pmtu_disc"); ok && len(lines) > 0 {
		what := "1: what is longer and may not be fragmented is refused, and its client told so by ICMP 3/4"
		if discovers == 0 {
			what = "0: what is longer is sent in fragments"
		}
		lines = append(lines, "net.ipv4.vs.pmtu_disc = "+what)
	}
	return lines
}

// fragments are what the kernel has counted of putting packets together, and the room that it has for it.
func fragments(s *host.Snapshot) (lines []string) {
	var words []string
	for _, name := range []string{"Ip.ReasmReqds", "Ip.ReasmFails", "Ip.ReasmTimeout", "Ip.FragFails"} {
		if n := s.Counters[name]; n > 0 {
			words = append(words, fmt.Sprintf("%s %d", strings.ReplaceAll(name, ".", ""), n))
		}
	}
	if len(words) == 0 {
		return nil
	}
	line := "fragments since the start: " + strings.Join(words, ", ")
	if high, ok := s.Sysctl("net/ipv4/ipfrag_high_thresh"); ok {
		line += fmt.Sprintf("; net.ipv4.ipfrag_high_thresh = %d bytes", high)
	}
	if wait, ok := s.Sysctl("net/ipv4/ipfrag_time"); ok {
		line += fmt.Sprintf(", ipfrag_time = %d s", wait)
	}
	return []string{line}
}

// toldOfLengths asks the rules whether who sends packets that are too long can be told so: a rule that drops ICMP 3/4 loses
// no packet of the service by itself, but what is too long on a way is lost without anybody's knowing.
func (x service) toldOfLengths(rules *ruleset.Ruleset, r *Report) {
	if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code == "firewall-drop" && f.Severity == diagnose.Lost }) {
		return // that is to be repaired first
	}
	for _, p := range x.errors() {
		o := rules.Evaluate(p)
		if o.Rule == nil {
			continue
		}
		r.add(x.vip, []diagnose.Finding{{Severity: diagnose.Noted, Cause: diagnose.Cause{
			Code: "mtu-exceeded", Certainty: diagnose.Inferred,
			Summary:  fmt.Sprintf("at the hook %s %s drops ICMP 3/4 (fragmentation needed) from %s to %s: whose packets are too long for a part of the way is never told, and they get lost; let ICMP type 3 code 4 pass there", p.Hook, diagnose.Where(*o.Rule), p.Src, p.Dst),
			Evidence: shown(*o.Rule),
		}}}, []diagnose.Check{{Code: "mtu-exceeded", Answer: diagnose.Clear}})
		return
	}
}

// errors are the ICMP errors that have to get through: to a real server those about its answers, which the director sends on in
// the tunnel; on a director those to the VIP, and its own to clients. On a director connection tracking may know nothing
// of what they quote.
func (x service) errors() (all []ruleset.Packet) {
	for _, client := range x.clients()[:1] {
		p := ruleset.Packet{Src: client, Dst: x.vip, Proto: protoICMP, ICMPType: 3, ICMPCode: 4, TTL: 64, Length: 576}
		p.IIF = x.faces(client)
		if x.role == RealServer {
			p.IIF = ""
			for _, l := range x.s.Links {
				if l.Up && l.Tunnel != nil && l.TakesIPv4() {
					p.IIF = cmp.Or(p.IIF, l.Name)
				}
			}
			if x.s.Conntrack != nil && !rulesHave(x.s, []string{"notrack"}, "NOTRACK", "--notrack") {
				p.CT = ruleset.Related
			}
		}
		if p.IIF == "" {
			return nil
		}
		for _, hook := range []string{"prerouting", "input"} {
			p.Hook = hook
			all = append(all, p)
		}
		if x.role == Director {
			back := p
			back.Src, back.Dst, back.IIF, back.OIF, back.Hook = x.vip, client, "", x.faces(client), "output"
			all = append(all, back)
		}
	}
	return all
}

// shown is a rule as it is listed.
func shown(r ruleset.Rule) []string {
	switch {
	case r.Policy != "":
		return []string{fmt.Sprintf("chain %s: policy drop, and no rule accepts it", r.Chain)}
	case strings.TrimSpace(r.Text) != "":
		return []string{r.Text}
	}
	return nil
}
