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

// takeAddress is `ip addr del`, with the routes that the kernel made for it: those of its network stay while another address
// of that network is there.
func takeAddress(p netip.Prefix, link uint32) func(*State) {
	return func(st *State) {
		st.whole.Addrs = slices.DeleteFunc(slices.Clone(st.whole.Addrs), func(x host.Addr) bool { return x.Link == link && x.Prefix == p })
		shared := slices.ContainsFunc(st.whole.Addrs, func(x host.Addr) bool { return x.Link == link && x.Prefix.Masked() == p.Masked() })
		st.whole.Routes = slices.DeleteFunc(slices.Clone(st.whole.Routes), func(r host.Route) bool {
			on := len(r.Hops) == 1 && r.Hops[0].Link == link
			own := r.Table == tableLocal && r.Type == "local" && r.Dst == netip.PrefixFrom(p.Addr(), 32)
			return on && (own || !shared && (r.Protocol == 2 && r.Dst == p.Masked() || r.Table == tableLocal && r.Type == "broadcast" && p.Contains(r.Dst.Addr())))
		})
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
