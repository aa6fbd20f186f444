package read

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// Of linux/fou.h: the command, attributes, and values.
const (
	fouVersion, fouGet = 1, 3

	fouPort, fouFamily, fouProto, fouType, fouLocal, fouPeer, fouPeerPort, fouLink = 1, 2, 3, 4, 6, 8, 10, 11

	fouGUE = 2
)

// fou reads the ports behind which the kernel unpacks tunnels. Asking for the family loads the module (genl_family): only
// where that is there.
func (r *reader) fou() error {
	if there, err := r.modules.has("fou"); !there {
		return err
	}
	ports, err := r.kernel.fou()
	if errors.Is(err, unix.ENOENT) {
		return nil // a kernel that loads no modules, and has no fou
	}
	for _, p := range ports {
		if port, ok := fouPortOf(p); ok {
			r.s.FOU = append(r.s.FOU, port)
		}
	}
	return err
}

// dumpFOU are the messages about the ports of this thread's namespace. The library has a reader for them, which writes to
// stderr of an attribute that it does not know.
func dumpFOU() ([][]byte, error) {
	family, err := netlink.GenlFamilyGet("fou")
	if err != nil {
		return nil, err
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	req.AddData(&nl.Genlmsg{Command: fouGet, Version: fouVersion})
	return req.Execute(unix.NETLINK_GENERIC, 0)
}

// fouPortOf reads a message of fou_fill_info; ok is false if there is no port in it.
func fouPortOf(message []byte) (p host.FOUPort, ok bool) {
	if len(message) < nl.SizeofGenlmsg {
		return p, false
	}
	all, err := nl.ParseRouteAttr(message[nl.SizeofGenlmsg:])
	if err != nil {
		return p, false
	}
	a := attributes{}
	for _, x := range all {
		a[x.Attr.Type&nlaTypeMask] = x.Value
	}
	p = host.FOUPort{
		Port: bigWord16(a[fouPort]), Kind: "fou", Proto: octet(a[fouProto]), V6: octet(a[fouFamily]) == unix.AF_INET6,
		Local: addr(a[fouLocal]), Peer: addr(a[fouPeer]), PeerPort: bigWord16(a[fouPeerPort]), Link: word32(a[fouLink]),
	}
	if octet(a[fouType]) == fouGUE {
		p.Kind, p.Proto = "gue", 0
	}
	return p, p.Port != 0
}

func octet(b []byte) uint8 {
	if len(b) < 1 {
		return 0
	}
	return b[0]
}

func bigWord16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}
