package read

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// Of linux/ip_vs.h: commands, attributes, and values.
const (
	ipvsVersion    = 1
	ipvsGetService = 4
	ipvsGetDest    = 8
	ipvsGetDaemon  = 11

	cmdService, cmdDest, cmdDaemon = 1, 2, 3

	svcFamily, svcProtocol, svcAddr, svcPort, svcMark, svcFlags, svcTimeout, svcNetmask, svcEngine = 1, 2, 3, 4, 5, 7, 8, 9, 11

	destAddr, destPort, destUpper, destLower, destPersistent, destTunType, destTunPort, destTunFlags = 1, 2, 5, 6, 9, 13, 14, 15

	daemonState, daemonMaster, daemonBackup = 1, 1, 2

	nlaTypeMask = 0x3fff // linux/netlink.h: what is left without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// tunTypes are IP_VS_CONN_F_TUNNEL_TYPE_*.
var tunTypes = []string{"ipip", "gue", "gre"}

// detailed asks IPVS by generic netlink for what /proc/net/ip_vs leaves out.
func detailed(v *host.IPVS) error {
	family, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		return err
	}
	services, err := ipvsDump(family.ID, ipvsGetService, nil)
	if err != nil {
		return err
	}
	for _, service := range services {
		a := nested(service, cmdService)
		if word16(a[svcFamily]) != unix.AF_INET {
			continue
		}
		s := serviceOf(v, a)
		if s == nil {
			continue
		}
		s.settings(a)
		destinations, err := ipvsDump(family.ID, ipvsGetDest, serviceKey(a))
		if err != nil {
			return err
		}
		at := make(map[netip.AddrPort]*host.Destination, len(s.Destinations))
		for i := range s.Destinations {
			at[s.Destinations[i].Addr] = &s.Destinations[i]
		}
		for _, d := range destinations {
			a := nested(d, cmdDest)
			if to := at[addrPort(a[destAddr], a[destPort])]; to != nil {
				detail(to, a)
			}
		}
	}
	daemons, err := ipvsDump(family.ID, ipvsGetDaemon, nil)
	for _, d := range daemons {
		state := word32(nested(d, cmdDaemon)[daemonState])
		v.Backup, v.Master = v.Backup || state == daemonBackup, v.Master || state == daemonMaster
	}
	return err
}

type attributes map[uint16][]byte

// serviceOf is the one of /proc/net/ip_vs that the attributes are about; nil if it has come since.
func serviceOf(v *host.IPVS, a attributes) *service {
	i := slices.IndexFunc(v.Services, func(s host.Service) bool {
		if mark := word32(a[svcMark]); mark != 0 || s.Mark != 0 {
			return s.Mark == mark
		}
		return uint16(s.Proto) == word16(a[svcProtocol]) && s.Addr == addrPort(a[svcAddr], a[svcPort])
	})
	if i < 0 {
		return nil
	}
	return &service{&v.Services[i]}
}

type service struct{ *host.Service }

// settings are a service's; /proc/net/ip_vs has the timeout in ticks.
func (s *service) settings(a attributes) {
	s.Flags, s.Timeout = word32(a[svcFlags]), 0
	if s.Flags&host.ServicePersistent == 0 {
		return
	}
	s.Timeout = word32(a[svcTimeout])
	if m := a[svcNetmask]; len(m) >= 4 {
		s.Netmask = netip.AddrFrom4([4]byte(m[:4]))
	}
	s.Engine = strings.TrimRight(string(a[svcEngine]), "\x00")
}

// detail is what /proc/net/ip_vs leaves out of a real server.
func detail(d *host.Destination, a attributes) {
	d.Upper, d.Lower, d.Persistent = word32(a[destUpper]), word32(a[destLower]), word32(a[destPersistent])
	if t := a[destTunType]; d.Method == "tunnel" && len(t) > 0 && int(t[0]) < len(tunTypes) {
		d.TunType = tunTypes[t[0]]
	}
	if p := a[destTunPort]; len(p) >= 2 {
		d.TunPort = binary.BigEndian.Uint16(p)
	}
	d.TunFlags = word16(a[destTunFlags])
}

// serviceKey are the attributes that name a service.
func serviceKey(a attributes) []byte {
	key := nl.NewRtAttr(cmdService|unix.NLA_F_NESTED, nil)
	for _, name := range []uint16{svcFamily, svcProtocol, svcAddr, svcPort, svcMark} {
		if v, ok := a[name]; ok {
			key.AddRtAttr(int(name), v)
		}
	}
	return key.Serialize()
}

func ipvsDump(family uint16, command uint8, key []byte) ([][]byte, error) {
	req := nl.NewNetlinkRequest(int(family), unix.NLM_F_DUMP)
	req.AddData(&nl.Genlmsg{Command: command, Version: ipvsVersion})
	req.AddRawData(key)
	return req.Execute(unix.NETLINK_GENERIC, 0)
}

// nested are the attributes inside of one of a message.
func nested(m []byte, name uint16) attributes {
	all := attributes{}
	if len(m) < nl.SizeofGenlmsg {
		return all
	}
	outer, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
	if err != nil {
		return all
	}
	for _, o := range outer {
		if o.Attr.Type&nlaTypeMask != name {
			continue
		}
		inner, _ := nl.ParseRouteAttr(o.Value)
		for _, a := range inner {
			all[a.Attr.Type&nlaTypeMask] = a.Value
		}
	}
	return all
}

func word16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(b)
}

func word32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func addrPort(a, port []byte) netip.AddrPort {
	if len(a) < 4 || len(port) < 2 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[:4])), binary.BigEndian.Uint16(port))
}
