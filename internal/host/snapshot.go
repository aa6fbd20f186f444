// Package host is one plain picture of a machine's state, as one network namespace has it: links, addresses,
// routes, sysctls, rules, sockets, IPVS. It is JSON both ways: a test's fixture, an attachment to a bug report,
// a part of a recording.
//
// A part that was not read is in Unread: absent is never the same as empty. What the state means for a packet
// is answered here only where the kernel's own lookup answers it (routes, listeners); the rest is diagnose's.
package host

import (
	"net/netip"
	"slices"
	"time"
)

// Part names a part of a Snapshot, as Unread has it.
type Part string

// The parts.
const (
	// PartAll: nothing was read.
	PartAll        Part = "everything"
	PartLinks      Part = "links"
	PartAddrs      Part = "addresses"
	PartRoutes     Part = "routes"
	PartRules      Part = "rules"
	PartNeighbours Part = "neighbours"
	// PartExceptions are what the kernel has learned of single destinations; only doctor reads them.
	PartExceptions Part = "path MTUs"
	PartSysctls    Part = "sysctls"
	PartModules    Part = "modules"
	PartNft        Part = "nftables"
	PartIPTables   Part = "iptables"
	// PartEBTables are the tables of bridges (ebtables-legacy): nothing reads them.
	PartEBTables Part = "ebtables"
	// PartARPTables are the tables of ARP (arptables-legacy): nothing reads them.
	PartARPTables Part = "arptables"
	PartSockets   Part = "sockets"
	PartConntrack Part = "conntrack"
	PartIPVS      Part = "ipvs"
	PartXFRM      Part = "xfrm"
	PartFilters   Part = "tc"
	PartCgroups   Part = "cgroup programs"
	PartLookups   Part = "socket lookup programs"
	PartCounters  Part = "counters"
	// PartFOU are the UDP ports behind which the kernel unpacks tunnels (FOU, GUE).
	PartFOU Part = "fou"
	// PartQueues are the queues of netfilter that programs read.
	PartQueues Part = "queues"
)

// Snapshot is the state of one network namespace.
type Snapshot struct {
	// Begun and Done bound the time of reading; the parts are not of one instant.
	Begun time.Time `json:"begun"`
	Done  time.Time `json:"done"`
	// Netns is the namespace's inode number; Initial says that it is the machine's first.
	Netns   uint32 `json:"netns"`
	Initial bool   `json:"initial,omitempty"`
	// Name is what `ip netns` calls it, Path a way to it ("/proc/812/ns/net"); either may be empty.
	Name string `json:"name,omitempty"`
	Path string `json:"path,omitempty"`

	Links      []Link      `json:"links,omitempty"`
	Addrs      []Addr      `json:"addrs,omitempty"`
	Routes     []Route     `json:"routes,omitempty"`
	Rules      []Rule      `json:"rules,omitempty"`
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	Exceptions []Exception `json:"exceptions,omitempty"`
	// Sysctls are by path below /proc/sys, "net/ipv4/conf/all/rp_filter"; values without the newline. Absent: not there.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Modules are those of interest that are loaded or built in: "ipip", "tunnel4", "ip_vs", "nf_conntrack", "xfrm4_tunnel", "sit", "br_netfilter".
	Modules []string `json:"modules,omitempty"`
	// Absent are those of "ipip" and "ip_vs" that this kernel can't get, each with why: modprobe would not find them.
	Absent map[string]string `json:"absent,omitempty"`
	// LSMs are the security modules that are active, "apparmor"; none where the kernel does not show them.
	LSMs []string `json:"lsms,omitempty"`

	Nft      []NftTable `json:"nft,omitempty"`
	IPTables []IPTables `json:"iptables,omitempty"`
	// NftOutline is where the rules of nftables are, if that was all that there was time to read of them.
	NftOutline []NftOutline `json:"nft_outline,omitempty"`
	// Hooks are netfilter's hooks at which several chains have the same priority, if the kernel reports the order in which it
	// runs them.
	Hooks []NfHook `json:"nf_hooks,omitempty"`

	Sockets []Socket `json:"sockets,omitempty"`
	// Coarse: the sockets were read from /proc/net, which says neither devices nor the limits of accept queues.
	Coarse    bool        `json:"coarse,omitempty"`
	Conntrack *Conntrack  `json:"conntrack,omitempty"`
	IPVS      *IPVS       `json:"ipvs,omitempty"`
	XFRM      []Policy    `json:"xfrm,omitempty"`
	Qdiscs    []Qdisc     `json:"qdiscs,omitempty"`
	Filters   []Filter    `json:"filters,omitempty"`
	Cgroups   []CgroupBPF `json:"cgroups,omitempty"`
	Lookups   []Lookup    `json:"lookups,omitempty"`
	FOU       []FOUPort   `json:"fou,omitempty"`
	// Queues are nil where that was not read, as in recordings of versions that did not: see QueuesKnown.
	Queues []Queue `json:"queues"`
	// Counters are those of /proc/net/snmp, netstat, xfrm_stat and softnet_stat: "Ip.InHdrErrors", "TcpExt.ListenDrops",
	// "Xfrm.InPolBlock", "Softnet.Dropped" (all CPUs).
	Counters map[string]uint64 `json:"counters,omitempty"`
	// Compared: the counters of Telling were read before, too. Risen says which have risen since, and by how much.
	Compared bool              `json:"compared,omitempty"`
	Risen    map[string]uint64 `json:"risen,omitempty"`

	Unread []Unread `json:"unread,omitempty"`

	index *index
}

// Unread is a part that could not be read, or only partly.
type Unread struct {
	Part Part   `json:"part"`
	Why  string `json:"why"`
}

// Knows reports whether the part was read, and whole.
func (s *Snapshot) Knows(p Part) bool {
	if s == nil {
		return false
	}
	for _, u := range s.Unread {
		if u.Part == p || u.Part == PartAll {
			return false
		}
	}
	return true
}

// Link is a device.
type Link struct {
	Index uint32 `json:"index"`
	Name  string `json:"name"`
	// Type is rtnetlink's kind, "veth", "ipip", "bridge", "dummy"; "device" for hardware, "loopback" for lo.
	Type string `json:"type"`
	// Up is IFF_UP; Running is IFF_RUNNING: it has a carrier.
	Up      bool   `json:"up"`
	Running bool   `json:"running,omitempty"`
	Promisc bool   `json:"promisc,omitempty"`
	NoARP   bool   `json:"noarp,omitempty"`
	MTU     uint32 `json:"mtu"`
	MAC     string `json:"mac,omitempty"`
	// Master is the index of the bridge or VRF that it belongs to, MasterKind that device's type.
	Master     uint32 `json:"master,omitempty"`
	MasterKind string `json:"master_kind,omitempty"`
	// Table is the routing table of a VRF (IFLA_VRF_TABLE).
	Table uint32 `json:"table,omitempty"`
	// Tunnel is there with ipip, sit, gre, vti devices.
	Tunnel *Tunnel `json:"tunnel,omitempty"`
	// XDP are the attached XDP programs.
	XDP []XDP `json:"xdp,omitempty"`
	// LinkNetns: the tunnel's lower half, or the veth's peer, is in another namespace.
	LinkNetns  bool   `json:"link_netns,omitempty"`
	RxDropped  uint64 `json:"rx_dropped,omitempty"`
	RxErrors   uint64 `json:"rx_errors,omitempty"`
	RxFrameErr uint64 `json:"rx_frame_errors,omitempty"`
	TxDropped  uint64 `json:"tx_dropped,omitempty"`
}

// Tunnel is how an IP tunnel device is set up. The zero Addr is any.
type Tunnel struct {
	Local  netip.Addr `json:"local"`
	Remote netip.Addr `json:"remote"`
	// Proto is IFLA_IPTUN_PROTO: ProtoIPIP, ProtoAny, 137 mplsip, 41 sit's own (ip6ip).
	Proto uint8 `json:"proto"`
	// Link is the index of the device that it is bound to, 0 for none.
	Link uint32 `json:"link,omitempty"`
	// Collect: the device takes every tunnel's packets ("external").
	Collect bool `json:"collect,omitempty"`
	// Keyed: it takes only packets with a key, as GRE may have one.
	Keyed bool `json:"keyed,omitempty"`
	// Fallback: it is the module's own device, tunl0, sit0, gre0 or ip_vti0.
	Fallback  bool   `json:"fallback,omitempty"`
	TTL       uint8  `json:"ttl,omitempty"`
	EncapType uint16 `json:"encap_type,omitempty"`
	EncapPort uint16 `json:"encap_port,omitempty"`
}

// FOUPort is a UDP port behind which the kernel unpacks what is tunnelled (ip fou). The zero Addr and 0 are any.
type FOUPort struct {
	Port uint16 `json:"port"`
	// Kind is "gue", or "fou": there the packet of the protocol Proto follows the UDP header at once.
	Kind     string     `json:"kind"`
	Proto    uint8      `json:"proto,omitempty"`
	V6       bool       `json:"v6,omitempty"`
	Local    netip.Addr `json:"local,omitzero"`
	Peer     netip.Addr `json:"peer,omitzero"`
	PeerPort uint16     `json:"peer_port,omitempty"`
	// Link is the index of the device that it is bound to.
	Link uint32 `json:"link,omitempty"`
}

// XDP is an XDP program on a device.
type XDP struct {
	// Mode is "driver", "generic" or "hardware", as `ip link set dev … xdpdrv|xdpgeneric|xdpoffload off` wants it.
	Mode string `json:"mode"`
	ID   uint32 `json:"id"`
}

// Addr is an address of a device.
type Addr struct {
	Link   uint32       `json:"link"`
	Prefix netip.Prefix `json:"prefix"`
	// Peer is the other end of a point-to-point address.
	Peer  netip.Prefix `json:"peer,omitzero"`
	Scope string       `json:"scope"`
}

// Route is an IPv4 route.
type Route struct {
	Table uint32       `json:"table"`
	Dst   netip.Prefix `json:"dst"`
	// Type is "unicast", "local", "broadcast", "blackhole", "unreachable", "prohibit", "throw", "nat", "multicast".
	Type string `json:"type"`
	// Protocol is the number of who made it (rtnetlink(7)); 2 is the kernel.
	Protocol uint8      `json:"protocol,omitempty"`
	Scope    string     `json:"scope,omitempty"`
	TOS      uint8      `json:"tos,omitempty"`
	Priority uint32     `json:"priority,omitempty"`
	Source   netip.Addr `json:"source,omitzero"`
	Hops     []Hop      `json:"hops,omitempty"`
	MTU      uint32     `json:"mtu,omitempty"`
	AdvMSS   uint32     `json:"advmss,omitempty"`
	// Nexthop is the number of its nexthop object (`ip nexthop`), if it has one: Hops and Type are that object's.
	Nexthop uint32 `json:"nexthop,omitempty"`
}

// Exception is what the kernel has learned of one destination, from an ICMP error 3/4.
type Exception struct {
	Dst     netip.Addr `json:"dst"`
	Gateway netip.Addr `json:"gateway,omitzero"`
	Link    uint32     `json:"link,omitempty"`
	// MTU is the path's, in bytes.
	MTU uint32 `json:"mtu"`
}

// Hop is one way that a route leads.
type Hop struct {
	Link    uint32     `json:"link,omitempty"`
	Gateway netip.Addr `json:"gateway,omitzero"`
	// LinkDown: its device has no carrier (RTNH_F_LINKDOWN). The kernel uses it all the same, unless it is Dead, too.
	LinkDown bool `json:"linkdown,omitempty"`
	// Dead: the kernel does not use it (RTNH_F_DEAD): its device is down, or has no carrier and
	// ignore_routes_with_linkdown is set.
	Dead   bool   `json:"dead,omitempty"`
	Onlink bool   `json:"onlink,omitempty"`
	Weight uint32 `json:"weight,omitempty"`
}

// Rule is a routing policy rule.
type Rule struct {
	Priority uint32       `json:"priority"`
	From     netip.Prefix `json:"from,omitzero"`
	To       netip.Prefix `json:"to,omitzero"`
	IIF      string       `json:"iif,omitempty"`
	OIF      string       `json:"oif,omitempty"`
	Mark     uint32       `json:"mark,omitempty"`
	Mask     uint32       `json:"mask,omitempty"`
	// TOS is compared with the bits 0x1c of a packet's (IPTOS_RT_MASK); DSCP, of Linux 6.13, with those of DSCPMask, 0 for any.
	TOS      uint8 `json:"tos,omitempty"`
	DSCP     uint8 `json:"dscp,omitempty"`
	DSCPMask uint8 `json:"dscp_mask,omitempty"`
	Invert   bool  `json:"invert,omitempty"`
	// Action is "lookup", "goto", "nop", "blackhole", "unreachable", "prohibit"; empty if it is not known.
	Action string `json:"action"`
	Table  uint32 `json:"table,omitempty"`
	Goto   uint32 `json:"goto,omitempty"`
	// Suppress is suppress_prefixlength, -1 for none.
	Suppress int `json:"suppress"`
	// IPProto, Sport and Dport are 0 for any; a range has both ends. A mask that is not 0 says which bits of a port
	// are compared with the first of the range (Linux 6.15).
	IPProto   uint8     `json:"ipproto,omitempty"`
	Sport     [2]uint16 `json:"sport,omitzero"`
	Dport     [2]uint16 `json:"dport,omitzero"`
	SportMask uint16    `json:"sport_mask,omitempty"`
	DportMask uint16    `json:"dport_mask,omitempty"`
	// UIDFirst and UIDEnd bound the owners of sockets; UIDEnd is behind the last, 0 for any.
	UIDFirst uint32 `json:"uid_first,omitempty"`
	UIDEnd   uint32 `json:"uid_end,omitempty"`
	// TunID is the key of a packet that came by a tunnel's "external" device, 0 for any.
	TunID uint64 `json:"tun_id,omitempty"`
	// L3mdev: the table is that of the VRF that the packet belongs to.
	L3mdev bool `json:"l3mdev,omitempty"`
	// Unread names the part of the rule that is not understood, "attribute 31": then the rule may apply to a packet or not.
	Unread string `json:"unread,omitempty"`
}

// Neighbour is an entry of the ARP table.
type Neighbour struct {
	Link uint32     `json:"link"`
	Addr netip.Addr `json:"addr"`
	// State is "reachable", "stale", "failed", "incomplete", "permanent", "delay", "probe", "noarp", "none".
	State string `json:"state"`
	MAC   string `json:"mac,omitempty"`
}

// Socket is a TCP listener, a TCP connection of the service, or a UDP socket on one of its ports.
type Socket struct {
	Proto string         `json:"proto"`
	Local netip.AddrPort `json:"local"`
	// Remote is invalid with a listener and an unconnected UDP socket.
	Remote netip.AddrPort `json:"remote,omitzero"`
	// State is "listen", "established", "time-wait", …, and "close" for an unconnected UDP socket.
	State string `json:"state"`
	// V6 sockets on "::" take IPv4 too, unless V6Only.
	V6     bool `json:"v6,omitempty"`
	V6Only bool `json:"v6only,omitempty"`
	// Device is the index of the device to which the socket is bound (SO_BINDTODEVICE). Unbound: the socket itself says that it
	// is bound to none; if sockets were read coarsely, Device says nothing.
	Device  uint32 `json:"device,omitempty"`
	Unbound bool   `json:"unbound,omitempty"`
	// Told is the device as the socket itself says it (SO_BINDTOIFINDEX), also where sockets were read coarsely.
	Told uint32 `json:"told_device,omitempty"`
	// RecvQueue and SendQueue: of a listener the length and the limit of its accept queue, else bytes.
	RecvQueue uint32 `json:"recv_queue"`
	SendQueue uint32 `json:"send_queue"`
	// RecvBuf is sk_rcvbuf in bytes, RecvAlloc what is used of it, Drops sk_drops.
	RecvBuf   uint32 `json:"recv_buf,omitempty"`
	RecvAlloc uint32 `json:"recv_alloc,omitempty"`
	Drops     uint32 `json:"drops,omitempty"`
	// MD5: it has keys of TCP-MD5, for peers in Signs, as far as those are known. KeysUntold: whether it has any was not told.
	MD5        bool           `json:"md5,omitempty"`
	Signs      []netip.Prefix `json:"signs,omitempty"`
	KeysUntold bool           `json:"keys_untold,omitempty"`
	// MinTTL is IP_MINTTL; Filter: the socket has a filter (SO_ATTACH_FILTER). Both are known only of sockets with owners.
	MinTTL uint8 `json:"min_ttl,omitempty"`
	Filter bool  `json:"filter,omitempty"`
	// Segments are known of listeners with owners, and of some connections; only doctor reads them.
	Segments Segments `json:"segments,omitzero"`
	// Mark is SO_MARK, TOS IP_TOS, Transparent IP_TRANSPARENT; Untold: they could not be read.
	Mark        uint32 `json:"mark,omitempty"`
	TOS         uint8  `json:"tos,omitempty"`
	Transparent bool   `json:"transparent,omitempty"`
	Untold      bool   `json:"untold,omitempty"`
	UID         uint32 `json:"uid,omitempty"`
	Inode       uint64 `json:"inode,omitempty"`
	// Owners are the processes that have it open, as far as they could be read.
	Owners []Process `json:"owners,omitempty"`
}

// Segments are how long those of a TCP socket are, without headers, in bytes; 0 is not known (struct tcp_info).
type Segments struct {
	// Announced is the MSS that it has announced to its peer, or of a listener the largest that it may (TCP_MAXSEG).
	Announced uint32 `json:"announced,omitempty"`
	// Sent is how long its own may be, Received how long its peer's are, as far as some were seen.
	Sent     uint32 `json:"sent,omitempty"`
	Received uint32 `json:"received,omitempty"`
	// MTU is that of the path to its peer.
	MTU uint32 `json:"mtu,omitempty"`
}

// Asked reports whether the socket itself was asked for its options.
func (s Socket) Asked() bool { return s.Unbound || s.Told != 0 }

// Process is one that has a socket open.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// Conntrack is the state of connection tracking. Limits are machine-wide, the count is the namespace's.
type Conntrack struct {
	Count uint64 `json:"count"`
	Max   uint64 `json:"max"`
	// Drop, EarlyDrop, InsertFailed and Invalid are summed over the CPUs (/proc/net/stat/nf_conntrack).
	Drop         uint64 `json:"drop,omitempty"`
	EarlyDrop    uint64 `json:"early_drop,omitempty"`
	InsertFailed uint64 `json:"insert_failed,omitempty"`
	Invalid      uint64 `json:"invalid,omitempty"`
	// Conns are the entries of VIPs and of IPIP, at most 4,096; MoreConns is the number left out.
	Conns     []Connection `json:"conns,omitempty"`
	MoreConns int          `json:"more_conns,omitempty"`

	index trackedIndex
}

// Connection is an entry of the table of tracked connections. Ports are 0 where the protocol has none.
type Connection struct {
	// Proto is the IP protocol number.
	Proto uint8 `json:"proto"`
	// From and To are of the packet that began it, Back and BackTo those of an answer: with NAT they are others.
	From   netip.AddrPort `json:"from"`
	To     netip.AddrPort `json:"to"`
	Back   netip.AddrPort `json:"back"`
	BackTo netip.AddrPort `json:"back_to"`
	// State is TCP's, "ESTABLISHED"; empty with others.
	State string `json:"state,omitempty"`
	// Replied: an answer was seen.
	Replied bool `json:"replied,omitempty"`
}

// IPVS is the director's state.
type IPVS struct {
	Services []Service `json:"services,omitempty"`
	// Conns are the connections to the VIP: at most 1,000 templates of persistence, from port 0, then at most 1,000 others,
	// first those whose real server is in no service. MoreConns is the number left out.
	Conns     []IPVSConn `json:"conns,omitempty"`
	MoreConns int        `json:"more_conns,omitempty"`
	// Backup: this namespace's sync daemon has the backup role. Master: it, or another one, has the other role.
	Backup bool `json:"backup,omitempty"`
	Master bool `json:"master,omitempty"`
}

// Service is a virtual service.
type Service struct {
	// Proto is the IP protocol number, 0 with a mark.
	Proto     uint8          `json:"proto"`
	Addr      netip.AddrPort `json:"addr"`
	Mark      uint32         `json:"mark,omitempty"`
	Scheduler string         `json:"scheduler"`
	// Flags are IP_VS_SVC_F_*.
	Flags uint32 `json:"flags,omitempty"`
	// Timeout is that of persistence in seconds, 0 without; Netmask is that of the clients which persistence takes for
	// one, Engine its engine ("sip"), empty for none.
	Timeout uint32     `json:"timeout,omitempty"`
	Netmask netip.Addr `json:"netmask,omitzero"`
	Engine  string     `json:"engine,omitempty"`
	// Destinations are in the kernel's order, by which schedulers that hash fill their tables.
	Destinations []Destination `json:"destinations,omitempty"`
}

// IP_VS_SVC_F_*: persistence, one packet a connection, and two that are each scheduler's own.
const (
	ServicePersistent uint32 = 1 << iota
	_
	ServiceOnePacket
	ServiceFallback // of sh and mh: another real server if the one of the hash is not available
	ServicePort     // of sh and mh: the client's port is hashed, too
)

// Has reports whether a connection's real server is one of the service's.
func (s Service) Has(dest netip.AddrPort) bool {
	return slices.ContainsFunc(s.Destinations, func(d Destination) bool { return d.Takes(dest) })
}

// Takes reports whether a connection's real server is this one: without a port of its own it takes packets at the port that
// they are for (ip_vs_schedule), as those of services for every port and for firewall marks do.
func (d Destination) Takes(dest netip.AddrPort) bool {
	return d.Addr == dest || d.Addr.Port() == 0 && d.Addr.Addr() == dest.Addr()
}

// Destination is a real server.
type Destination struct {
	Addr netip.AddrPort `json:"addr"`
	// Method is "masq", "local", "tunnel", "route" or "bypass", as ipvsadm names them.
	Method string `json:"method"`
	// TunType is "ipip", "gue" or "gre"; TunFlags are IP_VS_TUNNEL_ENCAP_FLAG_*: 1 for a checksum, 2 for a remote one.
	TunType  string `json:"tun_type,omitempty"`
	TunPort  uint16 `json:"tun_port,omitempty"`
	TunFlags uint16 `json:"tun_flags,omitempty"`
	Weight   int32  `json:"weight"`
	// Upper and Lower are the thresholds of connections, 0 for none.
	Upper      uint32 `json:"upper,omitempty"`
	Lower      uint32 `json:"lower,omitempty"`
	Active     uint32 `json:"active"`
	Inactive   uint32 `json:"inactive"`
	Persistent uint32 `json:"persistent,omitempty"`
}

// IPVSConn is a connection of /proc/net/ip_vs_conn.
type IPVSConn struct {
	Proto   string         `json:"proto"`
	Client  netip.AddrPort `json:"client"`
	Virtual netip.AddrPort `json:"virtual"`
	Dest    netip.AddrPort `json:"dest"`
	State   string         `json:"state"`
	// Expires is in seconds.
	Expires uint32 `json:"expires"`
}

// Policy is an xfrm policy.
type Policy struct {
	// Dir is "in", "out" or "fwd", Action "allow" or "block".
	Dir      string       `json:"dir"`
	Action   string       `json:"action"`
	Src      netip.Prefix `json:"src"`
	Dst      netip.Prefix `json:"dst"`
	Proto    uint8        `json:"proto,omitempty"`
	Sport    uint16       `json:"sport,omitempty"`
	Dport    uint16       `json:"dport,omitempty"`
	Priority uint32       `json:"priority"`
	Index    uint32       `json:"index"`
	// Templates is the number of transformations that it asks for; 0 with "allow" lets packets pass as they are.
	Templates int `json:"templates,omitempty"`
	// Optional: packets that were not transformed pass, too (level use).
	Optional bool `json:"optional,omitempty"`
	// Beyond is what else of the packet it asks for: "mark 7", "if_id 3", "dev 4".
	Beyond string `json:"beyond,omitempty"`
}

// Qdisc is a queueing discipline. Handles are written "8001:".
type Qdisc struct {
	Link   uint32 `json:"link"`
	Kind   string `json:"kind"`
	Handle string `json:"handle"`
	// Parent is "root", "ingress", "clsact" or "1:2".
	Parent  string `json:"parent"`
	Dropped uint64 `json:"dropped,omitempty"`
	Backlog uint32 `json:"backlog,omitempty"`
	// Loss is netem's, in per cent; Limit the queue's in packets or bytes, as the kind has it.
	Loss  float64 `json:"loss,omitempty"`
	Limit uint32  `json:"limit,omitempty"`
	// NoRoom: its limit, of packets or of memory, is less than any packet takes.
	NoRoom bool `json:"no_room,omitempty"`
}

// Filter is a tc filter.
type Filter struct {
	Link uint32 `json:"link"`
	// Side is "ingress", "egress" (of clsact) or the parent's handle.
	Side string `json:"side"`
	// Kind is "u32", "flower", "bpf", "matchall", …; Pref and Protocol (ETH_P_*) with the side name it for `tc filter del`.
	Kind     string `json:"kind"`
	Pref     uint16 `json:"pref"`
	Protocol uint16 `json:"protocol,omitempty"`
	Handle   string `json:"handle,omitempty"`
	Chain    uint32 `json:"chain,omitempty"`
	// Block is the block of filters that the side shares with others, 0 if none: the kernel changes such filters by it alone.
	Block uint32 `json:"block,omitempty"`
	// Actions are the kinds and verdicts in order, "gact drop", "mirred redirect"; of a policer what it does with what is
	// too much, "police drop".
	Actions []string `json:"actions,omitempty"`
	// Dropped is how many packets its actions have dropped.
	Dropped uint64 `json:"dropped,omitempty"`
	// Target is the index of the device to which it redirects (mirred), 0 if it does not.
	Target uint32 `json:"target,omitempty"`
	// Program is the name of a bpf filter's, ProgramID its number.
	Program   string `json:"program,omitempty"`
	ProgramID uint32 `json:"program_id,omitempty"`
}

// Lookup is a program that chooses the socket for a packet, or none (BPF_SK_LOOKUP), and the link that holds it.
type Lookup struct {
	Link    uint32 `json:"link"`
	Program uint32 `json:"program"`
}

// CgroupBPF is a program at a cgroup's ingress or egress.
type CgroupBPF struct {
	// Path is below /sys/fs/cgroup.
	Path string `json:"path"`
	// Attach is "ingress", "egress", or "sendmsg4": before a datagram is sent.
	Attach string `json:"attach"`
	ID     uint32 `json:"id"`
	// Link is the BPF link by which it is there, 0 if it was attached without one.
	Link uint32 `json:"link,omitempty"`
}

// Telling are the counters whose rise explains a loss that nothing else explains. They are also read before the loss, because
// on most machines each of them has risen at some time.
var Telling = []string{
	"Tcp.InCsumErrors", "Udp.InCsumErrors", "Icmp.InCsumErrors", "IpExt.InCsumErrors", "IpExt.ReasmOverlaps",
	"TcpExt.TCPMD5NotFound", "TcpExt.TCPMD5Unexpected", "TcpExt.TCPMD5Failure",
	"TcpExt.TCPReqQFullDrop", "TcpExt.ListenOverflows",
}

// OnlyTelling are those of some counters.
func OnlyTelling(counters map[string]uint64) map[string]uint64 {
	some := make(map[string]uint64, len(Telling))
	for _, name := range Telling {
		some[name] = counters[name]
	}
	return some
}

// Compare finds the counters that have risen since before.
func (s *Snapshot) Compare(before map[string]uint64) {
	s.Compared, s.Risen = true, map[string]uint64{}
	for _, name := range Telling {
		if n := s.Counters[name]; n > before[name] {
			s.Risen[name] = n - before[name]
		}
	}
}

// Counted is how often the kernel has counted something since the earlier reading or, if there was none, at all.
func (s *Snapshot) Counted(name string) uint64 {
	if s.Compared {
		return s.Risen[name]
	}
	return s.Counters[name]
}
