package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// virtualServices are IPVS's services of a VIP with their real servers and the ways there, its connections, its settings, and the
// daemon that tells another director of connections.
func (x service) virtualServices() (lines []string) {
	if x.s.IPVS == nil {
		return nil
	}
	for _, v := range x.s.IPVS.Services {
		if v.Mark == 0 && v.Addr.Addr() != x.vip || v.Mark != 0 && !x.marked(v.Mark) {
			continue
		}
		lines = append(lines, serviceLine(v))
		var ways []string
		for _, d := range v.Destinations[:min(len(v.Destinations), maxShown+1)] {
			ways = append(ways, serviceName(v)+" "+x.wayLine(d))
		}
		if more := len(v.Destinations) - maxShown; more > 0 {
			ways = append(ways[:maxShown], fmt.Sprintf("%s and %d more real servers", serviceName(v), more))
		}
		lines = append(lines, ways...)
	}
	if len(lines) == 0 {
		lines = []string{fmt.Sprintf("none is for %s", x.vip)}
	}
	lines = append(lines, x.connections()...)
	lines = append(lines, x.ipvsSettings()...)
	return append(lines, syncLine(x.s.IPVS))
}

// marked reports whether rules give packets for the VIP that mark.
func (x service) marked(mark uint32) bool {
	own := &host.Snapshot{Nft: x.s.Nft, IPTables: x.s.IPTables, IPVS: &host.IPVS{Services: []host.Service{{Mark: mark}}}}
	return slices.ContainsFunc(markers(own), func(t target) bool { return t.addr == x.vip })
}

func serviceName(v host.Service) string {
	if v.Mark != 0 {
		return fmt.Sprintf("firewall mark %d", v.Mark)
	}
	return fmt.Sprintf("%s %s", words[v.Proto], v.Addr)
}

func serviceLine(v host.Service) string {
	line := serviceName(v) + " " + v.Scheduler
	if v.Timeout > 0 {
		line += fmt.Sprintf(", persistent for %d s", v.Timeout)
		if v.Netmask.IsValid() && v.Netmask != netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			line += fmt.Sprintf(" (clients by %s)", v.Netmask)
		}
		if v.Engine != "" {
			line += ", engine " + v.Engine
		}
	}
	hashes := v.Scheduler == "sh" || v.Scheduler == "mh"
	for _, f := range []struct {
		is   bool
		says string
	}{
		{v.Flags&host.ServiceOnePacket != 0, "each packet a connection"}, {hashes && v.Flags&host.ServiceFallback != 0, "with fallback"},
		{hashes && v.Flags&host.ServicePort != 0, "by the client's port, too"}, {len(v.Destinations) == 0, "without real servers"},
	} {
		if f.is {
			line += ", " + f.says
		}
	}
	return line
}

// wayLine is a real server, how it is sent to, and by which way.
func (x service) wayLine(d host.Destination) string {
	at := d.Addr.Addr()
	line := fmt.Sprintf("-> %s %s weight %d", d.Addr, method(d), d.Weight)
	if d.Weight == 0 {
		line += " (at rest: no new connections)"
	}
	line += fmt.Sprintf(", %d active and %d inactive connections", d.Active, d.Inactive)
	if d.Upper > 0 {
		line += fmt.Sprintf(", thresholds %d and %d", d.Upper, d.Lower)
	}
	if x.s.Owns(at) {
		return line + "; this machine itself"
	}
	a := x.s.Output(host.Flow{Dst: at})
	if a.Type != "unicast" {
		return line + "; no way there is known (" + cmp.Or(a.Type, "none") + ")"
	}
	line += "; by " + a.Dev
	if from := diagnose.SourceTo(x.s, at); from.IsValid() {
		line += fmt.Sprintf(" from %s", from)
	}
	hop, out, state := a.NextHop(at), x.s.LinkNamed(a.Dev), "not asked for yet"
	for _, n := range x.s.Neighbours {
		if n.Addr == hop && out != nil && n.Link == out.Index {
			state = n.State
		}
	}
	line += fmt.Sprintf(", next hop %s (%s)", hop, state)
	if mtu, _ := x.mtuOf(at, a); mtu > 0 {
		line += fmt.Sprintf(", mtu %d", mtu)
	}
	return line
}

// method is how ipvsadm -Ln names it, with how a tunnel encapsulates.
func method(d host.Destination) string {
	word := map[string]string{"masq": "Masq", "tunnel": "Tunnel", "route": "Route", "local": "Local", "bypass": "Bypass"}[d.Method]
	switch {
	case d.Method != "tunnel":
		return cmp.Or(word, d.Method)
	case d.TunPort != 0:
		return fmt.Sprintf("%s (%s, port %d)", word, d.TunType, d.TunPort)
	}
	return fmt.Sprintf("%s (%s)", word, cmp.Or(d.TunType, "ipip"))
}

// connections are those of the VIP, by their states, and the templates of persistence.
func (x service) connections() []string {
	states, templates := map[string]int{}, 0
	for _, c := range x.s.IPVS.Conns {
		switch {
		case c.Virtual.Addr() != x.vip:
		case c.Client.Port() == 0 && c.Proto != "icmp":
			templates++
		default:
			states[cmp.Or(c.State, "NONE")]++
		}
	}
	if len(states)+templates == 0 {
		return nil
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		parts = append(parts, fmt.Sprintf("%d %s", states[state], state))
	}
	if templates > 0 {
		parts = append(parts, fmt.Sprintf("templates of persistence: %d", templates))
	}
	line := fmt.Sprintf("connections of %s: %s", x.vip, strings.Join(parts, ", "))
	if x.s.IPVS.MoreConns > 0 {
		line += fmt.Sprintf("; %d more were not read", x.s.IPVS.MoreConns)
	}
	return []string{line}
}

// ipvsSettings are those that change what becomes of a connection.
func (x service) ipvsSettings() (lines []string) {
	var values []string
	for _, name := range []string{"expire_nodest_conn", "expire_quiescent_template", "conn_reuse_mode", "sloppy_tcp", "ignore_tunneled", "backup_only", "conntrack", "schedule_icmp"} {
		if value, ok := x.s.Sysctl("net/ipv4/vs/" + name); ok {
			values = append(values, fmt.Sprintf("%s %d", name, value))
		}
	}
	if len(values) == 0 {
		return nil
	}
	return []string{"net.ipv4.vs: " + strings.Join(values, ", ")}
}

func syncLine(v *host.IPVS) string {
	switch {
	case v.Master && v.Backup:
		return "this director tells others of its connections, and learns of theirs (ipvsadm -L --daemon: master, backup)"
	case v.Master:
		return "this director tells others of its connections (ipvsadm -L --daemon: master)"
	case v.Backup:
		return "this director learns of another one's connections (ipvsadm -L --daemon: backup)"
	}
	return "no daemon tells other directors of connections (ipvsadm -L --daemon)"
}
