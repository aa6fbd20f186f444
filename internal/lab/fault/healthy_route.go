package fault

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/moby/ipvs"

	"ipiptrace/internal/lab"
)

// healthyRoutes are ways to the service, and back, that are none of the plain ones.
func healthyRoutes() []Scenario {
	accept := func(on string) []lab.Step {
		return []lab.Step{
			sysctl(lab.RealServer, "net/ipv4/tcp_l3mdev_accept", on), sysctl(lab.RealServer, "net/ipv4/udp_l3mdev_accept", on),
		}
	}
	return []Scenario{
		twin("vrf", "tunl0 belongs to a VRF, and a service outside may have its packets (tcp_l3mdev_accept).",
			append(intoVRF(), accept("1")...), outOfVRF()),
		twin("vrf-service", "tunl0 belongs to a VRF, and the service does, too.",
			append(intoVRF(), bindService(vrf)), append(again(), outOfVRF()...)),
		twin("rp-filter-loose", "The reverse-path filter is loose.",
			[]lab.Step{sysctl(lab.RealServer, "net/ipv4/conf/all/rp_filter", "2")}, rpFilterOff()),
		twin("rp-filter-eth0", "The reverse-path filter is strict on eth0, which the director is behind, and off on tunl0.",
			[]lab.Step{sysctl(lab.RealServer, "net/ipv4/conf/eth0/rp_filter", "1")},
			[]lab.Step{sysctl(lab.RealServer, "net/ipv4/conf/eth0/rp_filter", "0")}),
		twin("vip-on-lo", "The VIP is on lo, and tunl0 has no address.",
			[]lab.Step{removeAddr(lab.RealServer, "tunl0", lab.VIP), giveAddr(lab.RealServer, "lo", lab.VIP)},
			[]lab.Step{removeAddr(lab.RealServer, "lo", lab.VIP), giveAddr(lab.RealServer, "tunl0", lab.VIP)}),
		twin("policy-routing", "A routing rule for what comes from the VIP leads to a table of its own, whose route is right; the main one has none.",
			[]lab.Step{
				run(lab.RealServer, "ip", "route", "replace", "10.0.0.0/24", "dev", "eth0", "table", tunnelTable, "rto_min", "1000ms"),
				unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "10", "from", lab.VIP.String(), "lookup", tunnelTable)),
				run(lab.RealServer, "ip", "route", "replace", "prohibit", lab.ClientAddr.String()),
			},
			[]lab.Step{
				unless("No such process", run(lab.RealServer, "ip", "route", "del", "prohibit", lab.ClientAddr.String())),
				unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "10")),
				unless("does not exist", unless("No such process", run(lab.RealServer, "ip", "route", "del", "10.0.0.0/24", "dev", "eth0", "table", tunnelTable))),
			}),
		twin("bridge", "The real server's eth0 is a port of a bridge, which has its address.",
			[]lab.Step{
				unless("File exists", run(lab.RealServer, "ip", "link", "add", "br1", "address", lab.MAC(lab.RealServerAddr).String(), "type", "bridge")),
				run(lab.RealServer, "ip", "link", "set", "eth0", "master", "br1"), linkUp(lab.RealServer, "br1"),
				withoutAddr(lab.RealServer, "eth0", lab.RealServerAddr.String()+"/24"),
				run(lab.RealServer, "ip", "addr", "replace", lab.RealServerAddr.String()+"/24", "dev", "br1"),
				run(lab.RealServer, "ip", "route", "replace", "10.0.0.0/24", "dev", "br1", "src", lab.RealServerAddr.String(), "rto_min", "1000ms"),
			},
			[]lab.Step{
				linkGone(lab.RealServer, "br1"),
				run(lab.RealServer, "ip", "addr", "replace", lab.RealServerAddr.String()+"/24", "dev", "eth0"), routeRealServer(),
			}),
		twin("container", "The real server is a host that gives the service's packets to a container by NAT.",
			slices.Concat(container(), []lab.Step{
				serveAlso(lab.Switch, netip.AddrPortFrom(netip.MustParseAddr(containerAddr), lab.Port)),
				nftIn(lab.RealServer, "ip", fmt.Sprintf(`
				chain prerouting {
					type nat hook prerouting priority dstnat; policy accept;
					ip daddr 10.99.0.1 tcp dport 80 dnat to %[1]s
					ip daddr 10.99.0.1 udp dport 80 dnat to %[1]s
				}`, containerAddr)),
			}),
			slices.Concat([]lab.Step{nftGone(lab.RealServer, "ip"), forgetConnections(lab.RealServer)}, noContainer(), again())),
		twin("container-ipip", "The real server is a container: its host forwards IPIP to it, and its answers to the client.",
			containerIPIP(), noContainerIPIP()),
	}
}

// healthyTunnels are the ways in which a packet may come out of a tunnel.
func healthyTunnels() []Scenario {
	gre := small(twin("gre", "The director tunnels by GRE, and the real server's tunnel is one of that kind.",
		slices.Concat([]lab.Step{load("gre"), load("ip_gre")}, instead("gre", "local", lab.RealServerAddr.String()), tunnelBy("--tun-type", "gre")),
		slices.Concat([]lab.Step{sendBy(ipvs.ConnectionFlagTunnel)}, noOwnTunnel(), []lab.Step{unloadAgain("ip_gre"), unloadAgain("gre")})))
	sit := twin("sit", "tunl0 is down, and a tunnel of sit takes packets of any kind.",
		append([]lab.Step{load("sit")}, instead("sit", "mode", "any", "local", lab.RealServerAddr.String())...),
		append(noOwnTunnel(), unloadAgain("sit")))
	gre.WholeMachine, sit.WholeMachine = true, true
	fragments := twin("fragments", "The director has to fragment the IPIP packet, and all of it arrives.",
		[]lab.Step{
			sysctl(lab.Director, "net/ipv4/vs/pmtu_disc", "0"),
			run(lab.Client, "ip", "route", "replace", lab.VIP.String(), "via", lab.DirectorAddr.String(), "mtu", "1500"),
		},
		[]lab.Step{routeClient(), sysctl(lab.Director, "net/ipv4/vs/pmtu_disc", "1")})
	fragments.Traffic = []lab.Traffic{{Proto: lab.UDP, Count: faulty, Request: lab.MTU - ipLen - udpLen, Want: lab.Answered}}
	return []Scenario{
		twin("external", "tunl0 is down, and a tunnel that asks others for its addresses (external) takes the packets.", instead("ipip", "external"), noOwnTunnel()),
		twin("own-tunnel", "tunl0 is down, and a tunnel for the director alone, in mode any, takes the packets.",
			instead("ipip", "local", lab.RealServerAddr.String(), "remote", lab.DirectorAddr.String(), "mode", "any"), noOwnTunnel()),
		sit, gre, fragments,
	}
}

// healthyDirectors are directors that do more than tunnel to one real server.
func healthyDirectors() []Scenario {
	at := func(name, summary string, inject, undo []lab.Step) Scenario {
		s := twin(name, summary, inject, undo)
		s.At = lab.Director
		return s
	}
	afresh := []lab.Step{removeServices(), addServices()}
	return []Scenario{
		// Of what follows a SYN, conntrack does not see the answers: it is invalid, and must be let in by its port.
		at("director-conntrack", "The director tracks its connections, and its firewall drops what is neither part of one nor for the service.",
			[]lab.Step{
				sysctl(lab.Director, "net/ipv4/vs/conntrack", "1"),
				nftIn(lab.Director, "inet", `
				chain input {
					type filter hook input priority filter; policy drop;
					ct state established,related accept
					ip daddr 10.99.0.1 meta l4proto { tcp, udp } th dport 80 accept
					meta l4proto 1 accept
				}
				chain output {
					type filter hook output priority filter; policy drop;
					ct state new,established,related,untracked accept
				}`),
			},
			append([]lab.Step{nftGone(lab.Director, "inet"), sysctl(lab.Director, "net/ipv4/vs/conntrack", "0"), forgetConnections(lab.Director)}, afresh...)),
		at("one-packet", "The director schedules each datagram for itself (one-packet scheduling).",
			edit(lab.Director, "-u", "-s", "rr", "-o"), afresh),
		at("persistent", "The director keeps a client at its real server (persistence).",
			append(edit(lab.Director, "-t", "-s", "rr", "-p", "300"), edit(lab.Director, "-u", "-s", "rr", "-p", "300")...), afresh),
		at("quiesced", "Of two real servers the other one has weight 0.",
			second(wrongAddr, "-w", "0"), afresh),
		at("sh-fallback", "The director hashes clients to real servers, and takes the next one where the weight is 0 (sh-fallback).",
			slices.Concat(edit(lab.Director, "-t", "-s", "sh", "-b", "sh-fallback"), edit(lab.Director, "-u", "-s", "sh", "-b", "sh-fallback"), second(wrongAddr, "-w", "0")),
			afresh),
		at("local-node", "The director is a real server of its own.",
			slices.Concat([]lab.Step{serveAlso(lab.Director, netip.AddrPortFrom(lab.VIP, lab.Port))}, second(lab.DirectorAddr.String()), []lab.Step{weigh(0)}),
			append(again(), afresh...)),
		at("fwmark", "The director's service is one for packets with a firewall mark, and a rule marks them.",
			[]lab.Step{
				removeServices(),
				unless("already exists", run(lab.Director, "ipvsadm", "-A", "-f", "7", "-s", "rr")),
				unless("already exists", run(lab.Director, "ipvsadm", "-a", "-f", "7", "-r", lab.RealServerAddr.String(), "-i")),
				nftIn(lab.Director, "ip", `
				chain prerouting {
					type filter hook prerouting priority mangle; policy accept;
					ip daddr 10.99.0.1 meta l4proto { tcp, udp } th dport 80 meta mark set 7
				}`),
			},
			[]lab.Step{nftGone(lab.Director, "ip"), unless("No such service", run(lab.Director, "ipvsadm", "-D", "-f", "7")), addServices()}),
	}
}

// edit changes a service; protocol is ipvsadm's flag.
func edit(r lab.Role, protocol string, words ...string) []lab.Step {
	return []lab.Step{run(r, append([]string{"ipvsadm", "-E", protocol, lab.VIP.String() + ":80"}, words...)...)}
}

// second gives both services another real server, by IPIP.
func second(addr string, words ...string) (steps []lab.Step) {
	for _, protocol := range []string{"-t", "-u"} {
		add := append([]string{"ipvsadm", "-a", protocol, lab.VIP.String() + ":80", "-r", addr + ":80", "-i"}, words...)
		steps = append(steps, unless("exists", run(lab.Director, add...)))
	}
	return steps
}

// instead has the real server use a tunnel of that kind in place of tunl0.
func instead(kind string, words ...string) []lab.Step {
	add := append([]string{"ip", "link", "add", "lvs0", "type", kind}, words...)
	return []lab.Step{
		linkGone(lab.RealServer, "lvs0"), run(lab.RealServer, add...), linkUp(lab.RealServer, "lvs0"),
		giveAddr(lab.RealServer, "lvs0", lab.VIP), linkDown(lab.RealServer, "tunl0"),
	}
}

// small has requests that fit into every kind of tunnel.
func small(s Scenario) Scenario {
	for i := range s.Traffic {
		s.Traffic[i].Request = 200
	}
	return s
}
