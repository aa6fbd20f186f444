package diagnose

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/host"
)

// Here a repair is applied to a copy of the state, so that every check can be asked again before the repair is printed. A
// slice or a map of the state is copied before it is changed: others read it.

// together does several mends in order.
func together(mends ...func(*State)) func(*State) {
	return func(st *State) {
		for _, m := range mends {
			m(st)
		}
	}
}

// setSysctl is `sysctl -w`.
func setSysctl(name string, value int) func(*State) {
	return func(st *State) {
		st.whole.Sysctls = maps.Clone(st.whole.Sysctls)
		st.whole.Sysctls[name] = strconv.Itoa(value)
	}
}

// changeLink changes a device.
func changeLink(index uint32, change func(*host.Link)) func(*State) {
	return func(st *State) {
		st.whole.Links = slices.Clone(st.whole.Links)
		for i := range st.whole.Links {
			if st.whole.Links[i].Index == index {
				change(&st.whole.Links[i])
			}
		}
	}
}

// loadIPIP is `modprobe ipip; ip link set tunl0 up`: the device takes what no other tunnel does.
func loadIPIP(st *State) {
	addModule("ipip")(st)
	addTunnel("tunl0", host.Tunnel{Proto: host.ProtoIPIP, Fallback: true})(st)
}

// addModule is `modprobe NAME`.
func addModule(name string) func(*State) {
	return func(st *State) { st.whole.Modules = append(slices.Clip(st.whole.Modules), name) }
}

// addTunnel makes a tunnel of ipip that is up. It gets the settings that conf.default has.
func addTunnel(name string, t host.Tunnel) func(*State) {
	return func(st *State) {
		l := host.Link{Index: 1, Name: name, Type: "ipip", Up: true, Running: true, Tunnel: &t}
		for _, x := range st.whole.Links {
			l.Index = max(l.Index, x.Index+1)
		}
		st.whole.Links = append(slices.Clip(st.whole.Links), l)
		st.made = append(slices.Clip(st.made), name)
		settings := maps.Clone(st.whole.Sysctls)
		for path, value := range st.whole.Sysctls {
			if setting, ok := strings.CutPrefix(path, "net/ipv4/conf/default/"); ok {
				settings["net/ipv4/conf/"+name+"/"+setting] = value
			}
		}
		st.whole.Sysctls = settings
	}
}

// giveAddress is `ip addr add ADDR/32 dev DEV`, with the route that the kernel makes for it.
func giveAddress(a netip.Addr, dev string) func(*State) {
	return func(st *State) {
		l := st.whole.LinkNamed(dev)
		if l == nil {
			return
		}
		p := netip.PrefixFrom(a, 32)
		st.whole.Addrs = append(slices.Clip(st.whole.Addrs), host.Addr{Link: l.Index, Prefix: p})
		st.whole.Routes = append(slices.Clip(st.whole.Routes), host.Route{Table: 255, Dst: p, Type: "local", Protocol: 2, Hops: []host.Hop{{Link: l.Index}}})
	}
}

// takeAddress is `ip addr del`, with what the kernel takes with it: later addresses of the same network unless they are promoted
// (__inet_del_ifa), and the routes of each. A device that is left without an address loses all its routes (inetdev_event,
// fib_disable_ip), those by a gateway among them.
func takeAddress(p netip.Prefix, link uint32) func(*State) {
	return func(st *State) {
		own := (&State{Snapshot: st.whole}).sharing(host.Link{Index: link}, p)
		gone := own[min(len(own), max(0, slices.Index(own, p))):]
		if l := st.whole.Link(link); slices.Index(own, p) > 0 || l != nil && st.whole.Either(l.Name, "promote_secondaries") {
			gone = []netip.Prefix{p}
		}
		for _, x := range gone {
			st.takeOne(x, link)
		}
		if len(st.whole.AddrsOf(link)) == 0 {
			st.whole.Routes = slices.DeleteFunc(slices.Clone(st.whole.Routes), func(r host.Route) bool {
				return len(r.Hops) > 0 && !slices.ContainsFunc(r.Hops, func(h host.Hop) bool { return h.Link != link })
			})
		}
	}
}

// takeOne takes one address, with the routes that the kernel made for it, those of its network while no other address of that is
// there, and those that send with it (fib_sync_down_addr).
func (st *State) takeOne(p netip.Prefix, link uint32) {
	st.whole.Addrs = slices.DeleteFunc(slices.Clone(st.whole.Addrs), func(x host.Addr) bool { return x.Link == link && x.Prefix == p })
	shared := slices.ContainsFunc(st.whole.Addrs, func(x host.Addr) bool { return x.Link == link && x.Prefix.Masked() == p.Masked() })
	left := slices.ContainsFunc(st.whole.Addrs, func(x host.Addr) bool { return x.Prefix.Addr() == p.Addr() })
	st.whole.Routes = slices.DeleteFunc(slices.Clone(st.whole.Routes), func(r host.Route) bool {
		on := len(r.Hops) == 1 && r.Hops[0].Link == link
		own := r.Table == tableLocal && r.Type == "local" && r.Dst == netip.PrefixFrom(p.Addr(), 32)
		made := own || !shared && (r.Protocol == 2 && r.Dst == p.Masked() || r.Table == tableLocal && r.Type == "broadcast" && p.Contains(r.Dst.Addr()))
		return on && made || !left && r.Source == p.Addr() && r.Table != tableLocal && !(on && r.Protocol == 2)
	})
}

// givePrefix is `ip addr add` of an address with its network, which gets a route unless another address has made it.
func givePrefix(p netip.Prefix, dev string) func(*State) {
	return func(st *State) {
		l := st.whole.LinkNamed(dev)
		if l == nil || slices.ContainsFunc(st.whole.AddrsOf(l.Index), func(x host.Addr) bool { return x.Prefix == p }) {
			return
		}
		giveAddress(p.Addr(), dev)(st)
		st.whole.Addrs[len(st.whole.Addrs)-1].Prefix = p
		table, kind := uint32(tableMain), "unicast"
		if l.Type == "loopback" {
			table, kind = tableLocal, "local"
		}
		to := host.Route{Table: table, Dst: p.Masked(), Type: kind, Protocol: 2, Hops: []host.Hop{{Link: l.Index}}}
		there := slices.ContainsFunc(st.whole.Routes, func(r host.Route) bool { return sameRoute(r, to) })
		if p.Bits() < 32 && l.Up && !there {
			st.whole.Routes = append(slices.Clip(st.whole.Routes), to)
		}
	}
}

// addRoute is `ip route add NET dev DEV table TABLE`.
func addRoute(to netip.Prefix, dev string, table uint32) func(*State) {
	return func(st *State) {
		if l := st.whole.LinkNamed(dev); l != nil {
			st.whole.Routes = append(slices.Clip(st.whole.Routes), host.Route{Table: table, Dst: to, Type: "unicast", Hops: []host.Hop{{Link: l.Index}}})
		}
	}
}

// dropRoute is `ip route del` of that route.
func dropRoute(r host.Route) func(*State) {
	return func(st *State) {
		st.whole.Routes = slices.Clone(st.whole.Routes)
		if i := slices.IndexFunc(st.whole.Routes, func(x host.Route) bool { return sameRoute(x, r) }); i >= 0 {
			st.whole.Routes = slices.Delete(st.whole.Routes, i, i+1)
		}
	}
}

// dropRule is `ip rule del`.
func dropRule(r host.Rule) func(*State) {
	return func(st *State) {
		st.whole.Rules = slices.Clone(st.whole.Rules)
		if i := slices.Index(st.whole.Rules, r); i >= 0 {
			st.whole.Rules = slices.Delete(st.whole.Rules, i, i+1)
		}
	}
}

// dropFilter is `tc filter del` of that filter.
func dropFilter(f host.Filter) func(*State) {
	return func(st *State) {
		st.whole.Filters = slices.DeleteFunc(slices.Clone(st.whole.Filters), func(x host.Filter) bool {
			same := x.Link == f.Link && x.Side == f.Side || f.Block != 0 && x.Block == f.Block
			return same && x.Pref == f.Pref && x.Chain == f.Chain && x.Handle == f.Handle
		})
	}
}

// dropQdisc is `tc qdisc del dev DEV parent CLASS`: what is below goes, too, and the class gets the kernel's own.
func dropQdisc(d host.Qdisc) func(*State) {
	return func(st *State) {
		st.whole.Qdiscs = slices.DeleteFunc(slices.Clone(st.whole.Qdiscs), func(x host.Qdisc) bool {
			return x.Link == d.Link && (x.Parent == d.Parent || strings.HasPrefix(x.Parent, d.Handle))
		})
	}
}

// dropQdiscs is `tc qdisc del dev DEV root`: what is below goes, too.
func dropQdiscs(link uint32) func(*State) {
	return func(st *State) {
		st.whole.Qdiscs = slices.DeleteFunc(slices.Clone(st.whole.Qdiscs), func(d host.Qdisc) bool { return d.Link == link && d.Parent != "ingress" })
	}
}

// changeService is `ipvsadm -e` or `-a`.
func changeService(of host.Service, change func(*host.Service)) func(*State) {
	return func(st *State) {
		services := slices.Clone(st.whole.IPVS.Services)
		for i := range services {
			if v := &services[i]; v.Proto == of.Proto && v.Addr == of.Addr && v.Mark == of.Mark {
				v.Destinations = slices.Clone(v.Destinations)
				change(v)
			}
		}
		st.withServices(services)
	}
}

// dropService is `ipvsadm -D`.
func dropService(of host.Service) func(*State) {
	return func(st *State) {
		st.withServices(slices.DeleteFunc(slices.Clone(st.whole.IPVS.Services), func(v host.Service) bool {
			return v.Proto == of.Proto && v.Addr == of.Addr && v.Mark == of.Mark
		}))
	}
}

func (st *State) withServices(services []host.Service) {
	ipvs := *st.whole.IPVS
	ipvs.Services = services
	st.whole.IPVS = &ipvs
}
