package doctor

import (
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// TestWhatIsThereIsSaid: what people look for first is in the report, whatever is found of it.
func TestWhatIsThereIsSaid(t *testing.T) {
	setting := func(name, value string) func(*host.Snapshot) {
		return func(s *host.Snapshot) { s.Sysctls["net/ipv4/conf/"+name] = value }
	}
	announces := setting("all/arp_announce", "2")
	narrow := func(s *host.Snapshot) {
		s.Links = append(s.Links, host.Link{Index: 9, Name: "t9", Type: "ipip", Tunnel: &host.Tunnel{Proto: 4, Local: rip, Remote: netip.MustParseAddr("10.0.0.3"), Link: 2}})
		s.FOU = []host.FOUPort{{Port: 6080, Kind: "gue"}}
	}
	inVRF := func(s *host.Snapshot) {
		s.Links = append(s.Links, host.Link{Index: 9, Name: "red", Type: "vrf", Up: true})
		s.Links[2].Master, s.Links[2].MasterKind, s.Addrs[2].Scope = 9, "vrf", "host"
	}
	anyIP := func(s *host.Snapshot) { s.Addrs = append(s.Addrs[:2:2], s.Addrs[3]) }
	nowhere := func(s *host.Snapshot) { anyIP(s); s.Routes = append(s.Routes[:1:1], s.Routes[2:]...) }
	several := func(s *host.Snapshot) {
		v6 := netip.AddrPortFrom(netip.IPv6Unspecified(), 80)
		member := host.Socket{Proto: "tcp", State: "listen", Local: netip.AddrPortFrom(vip, 80), SendQueue: 128, Device: 2, Owners: []host.Process{{PID: 7, Name: "nginx"}}}
		full := member
		full.RecvQueue = 129
		s.Sockets = []host.Socket{member, full, {Proto: "tcp", State: "listen", Local: v6, V6: true, SendQueue: 5}, {Proto: "udp", State: "close", Local: netip.AddrPortFrom(vip, 80)}}
	}
	coarse := func(s *host.Snapshot) { s.Coarse = true }
	unread := func(s *host.Snapshot) {
		s.Unread = append(s.Unread, host.Unread{Part: host.PartSockets, Why: "not permitted"})
	}
	directs := func(s *host.Snapshot) {
		s.Addrs[2].Link, s.Links[2].Up = 1, false
		s.Neighbours = []host.Neighbour{{Link: 2, Addr: netip.MustParseAddr("10.0.0.12"), State: "reachable"}}
		s.Links[1].MTU = 1500
		at := func(a string) netip.AddrPort { return netip.MustParseAddrPort(a) }
		s.IPVS = &host.IPVS{
			Services: []host.Service{{
				Proto: 6, Addr: netip.AddrPortFrom(vip, 80), Scheduler: "sh", Timeout: 300, Flags: host.ServiceFallback,
				Destinations: []host.Destination{
					{Addr: at("10.0.0.12:80"), Method: "tunnel", TunType: "gue", TunPort: 6080, Weight: 1, Active: 3, Inactive: 2, Upper: 100, Lower: 80},
					{Addr: at("10.0.0.13:80"), Method: "tunnel"}, {Addr: at("10.0.0.11:80"), Method: "local", Weight: 1},
				},
			}},
			Conns: []host.IPVSConn{
				{Proto: "tcp", Client: at("203.0.113.9:3000"), Virtual: netip.AddrPortFrom(vip, 80), State: "ESTABLISHED"},
				{Proto: "tcp", Client: at("203.0.113.9:0"), Virtual: netip.AddrPortFrom(vip, 80), State: "NONE"},
			},
			Master: true,
		}
		s.Sysctls["net/ipv4/vs/expire_nodest_conn"], s.Sysctls["net/ipv4/vs/backup_only"] = "0", "0"
	}
	backup := func(s *host.Snapshot) { directs(s); nowhere(s); s.IPVS.Backup, s.IPVS.Master = true, false }
	for what, test := range map[string]struct {
		s    *host.Snapshot
		code string
		want string
	}{
		"tunnels": {machine(narrow), tunnelsCode, `tunl0: ipip, up, remote any, local any
t9: ipip, down, remote 10.0.0.3, local 10.0.0.11, by eth0 alone
the kernel unpacks gue behind UDP port 6080
IPIP from the director 10.0.0.2 to 10.0.0.11 is taken by tunl0
net.ipv4.ip_forward = 0: for packets that come out of a tunnel for an address of this machine it is of no account`},
		"settings": {machine(announces, setting("eth0/arp_announce", "0"), setting("all/src_valid_mark", "1")), inEffectCode,
			`what comes out of tunl0: rp_filter 0, src_valid_mark on, accept_local off
ARP on eth0: arp_ignore 1, the larger of 1 (all) and 0 (eth0), arp_announce 2, the larger of 2 (all) and 0 (eth0)`},
		"the VIP":          {machine(), vipCode, "10.99.0.1/32 is on tunl0\nthis machine answers no ARP for it on eth0"},
		"the VIP in a VRF": {machine(inVRF), vipCode, "10.99.0.1/32 is on tunl0, scope host, in the VRF red"},
		"any address":      {machine(anyIP), vipCode, "no device has 10.99.0.1, and a local route takes it\nthis machine answers no ARP for it on eth0"},
		"no VIP":           {machine(nowhere), vipCode, "no device has 10.99.0.1"},
		"sockets": {machine(several), listenersCode, `tcp 10.99.0.1:80%eth0 of nginx, 2 sockets, 129 of at most 128 wait to be accepted at the fullest
tcp [::]:80, and IPv4, 0 of at most 5 wait to be accepted
udp 10.99.0.1:80, 0 bytes wait`},
		"sockets of /proc": {machine(coarse), listenersCode, "tcp 0.0.0.0:80, 0 wait to be accepted"},
		"no sockets":       {machine(unread), listenersCode, "sockets: not permitted"},
		"a director": {machine(directs), servicesCode, `tcp 10.99.0.1:80 sh, persistent for 300 s, with fallback
tcp 10.99.0.1:80 -> 10.0.0.12:80 Tunnel (gue, port 6080) weight 1, 3 active and 2 inactive connections, thresholds 100 and 80; by eth0 from 10.0.0.11, next hop 10.0.0.12 (reachable), mtu 1500
tcp 10.99.0.1:80 -> 10.0.0.13:80 Tunnel (ipip) weight 0 (at rest: no new connections), 0 active and 0 inactive connections; by eth0 from 10.0.0.11, next hop 10.0.0.13 (not asked for yet), mtu 1500
tcp 10.99.0.1:80 -> 10.0.0.11:80 Local weight 1, 0 active and 0 inactive connections; this machine itself
connections of 10.99.0.1: 1 ESTABLISHED, templates of persistence: 1
net.ipv4.vs: expire_nodest_conn 0, backup_only 0
this director tells others of its connections (ipvsadm -L --daemon: master)`},
		"its VIP":          {machine(directs), vipCode, "10.99.0.1/32 is on lo\nthis machine answers no ARP for it on eth0: only a route leads clients here"},
		"that of a backup": {machine(backup), vipCode, "no device has 10.99.0.1: this director is a backup (ipvsadm -L --daemon), and need not have it"},
	} {
		r := Examine(test.s, Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
		if got := said(r, test.code); !strings.Contains(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", what, got, test.want)
		}
	}
}
