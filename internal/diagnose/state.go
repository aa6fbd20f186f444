package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// State is the state of the machine as one row may see it: the parts that it names. A nil State was not read.
type State struct {
	*host.Snapshot
	// whole is all that was read; rules are netfilter's of it.
	whole *host.Snapshot
	rules *ruleset.Ruleset
	// made are devices that no state has: a repair would make them.
	made []string
	// filtered evaluates netfilter's rules for the packet in question, once for all rows.
	filtered func() (ruleset.Packet, ruleset.Outcome)
}

// only is the state as far as the row names its parts; nil if one that it needs was not read.
func (st *State) only(r row) *State {
	if st == nil {
		return nil
	}
	for _, p := range r.needs {
		if !st.whole.Knows(p) {
			return nil
		}
	}
	own := *st
	own.Snapshot = st.whole.Only(slices.Concat(r.needs, r.minds, r.looks)...)
	return &own
}

// link is the device on which the packet is; nil if it is not known.
func (st *State) link(s Subject) *host.Link {
	if st == nil {
		return nil
	}
	return st.LinkNamed(s.Dev)
}

// isDirector reports whether there are virtual services.
func (st *State) isDirector() bool {
	return st != nil && st.IPVS != nil && len(st.IPVS.Services) > 0
}

// directs reports whether this host should send the packet on: it runs IPVS, the packet came as its client sent it, and the
// VIP is not on a tunnel's device.
func (st *State) directs(s Subject) bool {
	return st != nil && st.whole.IPVS != nil && s.Outer == nil && !s.Reply && !st.behindTunnel(s)
}

// behindTunnel reports whether the VIP is on a tunnel's device, as on a real server.
func (st *State) behindTunnel(s Subject) bool {
	return slices.ContainsFunc(st.whole.AddrOn(s.vip()), func(l host.Link) bool { return l.Tunnel != nil })
}

// atHome reports whether a packet that IPVS takes is for a socket here: it was seen going to a real server that is this
// host, or one of the real servers is.
func (st *State) atHome(s Subject) bool {
	if s.AtHome || !st.directs(s) {
		return s.AtHome
	}
	whole := st.entire()
	v := whole.virtual(s)
	if v == nil || whole.standsBy() {
		return false
	}
	return slices.ContainsFunc(v.Destinations, func(d host.Destination) bool { return st.whole.Owns(d.Addr.Addr()) })
}

// entire is the state with all its parts, whichever row asks.
func (st *State) entire() *State { return &State{Snapshot: st.whole, whole: st.whole, rules: st.rules} }

// virtual is the IPVS service for the packet, nil if there is none, or it is not known which: that of its mark, which is asked
// first, that of its port, or the one of all ports (ip_vs_service_find).
func (st *State) virtual(s Subject) *host.Service {
	if st == nil || st.IPVS == nil {
		return nil
	}
	if !slices.ContainsFunc(st.IPVS.Services, func(v host.Service) bool { return v.Mark != 0 }) {
		return st.addressed(s)
	}
	mark, known := st.markAtIPVS(s)
	for i := range st.IPVS.Services {
		v := &st.IPVS.Services[i]
		if known && v.Mark == mark && mark != 0 {
			return v
		}
		// One that has dropped the packet is the only one that there is.
		if !known && !s.Supposed && s.Hook == "input" && len(st.IPVS.Services) == 1 {
			return v
		}
	}
	if !known && s.Supposed {
		return nil
	}
	return st.addressed(s)
}

// markAtIPVS is the mark that a request has where IPVS gets it, at the hook input.
func (st *State) markAtIPVS(s Subject) (mark uint32, known bool) {
	if st.whole == nil || st.rules == nil {
		return 0, false
	}
	return st.markPast(s, "input")
}

// addressed is the service for the packet's address and port.
func (st *State) addressed(s Subject) *host.Service {
	for _, port := range []uint16{s.port(), 0} {
		for i := range st.IPVS.Services {
			v := &st.IPVS.Services[i]
			if v.Mark == 0 && v.Proto == s.Packet.Inner.Protocol && v.Addr == netip.AddrPortFrom(s.vip(), port) {
				return v
			}
		}
	}
	return nil
}

// serving is the socket that gets the packet; nil if there is none.
func (st *State) serving(s Subject) *host.Socket {
	serving, _ := st.Serves(s.proto(), s.wanted(), st.link(s))
	if len(serving) == 0 {
		return nil
	}
	return &serving[0]
}

// served reports whether a socket gets the packet, after NAT.
func (st *State) served(s Subject) bool {
	serving, _ := st.Serves(s.proto(), s.asked(), st.link(s))
	return len(serving) > 0
}

// setting is the name of a sysctl as people write it, with dots.
func setting(name string) string {
	// A dot in a device's name is a slash there.
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}

// says is a line of evidence about a sysctl.
func (st *State) says(name string) evidence {
	value, ok := st.Sysctls[name]
	if !ok {
		value = "(not there)"
	}
	if dev, what, ok := strings.Cut(strings.TrimPrefix(name, "net/ipv4/conf/"), "/"); ok && slices.Contains(st.made, dev) {
		value += ", as net.ipv4.conf.default." + what
	}
	return by(host.PartSysctls, "%s = %s", setting(name), value)
}

// foretold are lines of evidence; those that name a device which a repair would make say that they are not of now.
func (st *State) foretold(lines []string) []string {
	part := func(r rune) bool { return r == ' ' || r == '.' || r == ',' || r == '(' || r == ')' || r == ':' }
	told := slices.Clone(lines)
	for i, line := range told {
		if slices.ContainsFunc(strings.FieldsFunc(line, part), func(word string) bool { return slices.Contains(st.made, word) }) {
			told[i] = "then " + line
		}
	}
	return told
}

// counted is a line of evidence about a counter.
func (st *State) counted(name string) evidence {
	how := "%d"
	if st.Compared {
		how = "has risen by %d"
	}
	return by(host.PartCounters, "nstat -az %s: "+how, strings.ReplaceAll(name, ".", ""), st.Counted(name))
}

// got is what `ip route get` says.
func got(to netip.Addr, a host.Answer) evidence {
	s := fmt.Sprintf("ip route get %s: ", command.Address(to))
	switch {
	case a.Type == host.NoRoute:
		s += "Network is unreachable"
	case a.Type != "unicast":
		s += a.Type
	case a.Gateway.IsValid():
		s += fmt.Sprintf("via %s dev %s", a.Gateway, a.Dev)
	default:
		s += "dev " + a.Dev
	}
	return evidence{host.PartRoutes, s}
}

// addressesOf is what `ip -4 addr` shows.
func addressesOf(s *host.Snapshot) evidence {
	var all []netip.Prefix
	for _, a := range s.Addrs {
		all = append(all, a.Prefix)
	}
	return by(host.PartAddrs, "ip -4 addr: %s", list(all))
}

func list[T fmt.Stringer](all []T) string {
	words := make([]string, len(all))
	for i, x := range all {
		words[i] = x.String()
	}
	return strings.Join(words, ", ")
}
