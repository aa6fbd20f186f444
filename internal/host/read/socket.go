package read

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// tcpStates are TCP_* (include/net/tcp_states.h).
var tcpStates = []string{
	1: "established", 2: "syn-sent", 3: "syn-recv", 4: "fin-wait-1", 5: "fin-wait-2", 6: "time-wait", 7: "close",
	8: "close-wait", 9: "last-ack", 10: "listen", 11: "closing", 12: "syn-recv",
}

// maxSockets bounds the connections that are kept. A socket that is not connected may be the one that takes a packet: each
// of those is kept.
const maxSockets = 1000

// sockets reads listeners and datagram sockets on the service's ports, and the service's connections.
//
// inet_diag says more than /proc does, but the kernel loads it when it is asked: it is asked only if it is there.
func (r *reader) sockets() error {
	var errs []error
	connected := 0
	for _, proto := range []string{"tcp", "udp"} {
		all, err := []host.Socket(nil), errNotAsked
		generic, _ := r.modules.has("inet_diag")
		if own, _ := r.modules.has(proto + "_diag"); generic && own {
			all, err = r.kernel.sockets(proto)
		}
		if err != nil {
			all, err = r.listed(proto)
			r.s.Coarse = true
		}
		errs = append(errs, err)
		for _, s := range all {
			if !r.wanted(s) || proto == "tcp" && s.State == "close" { // bound, and it does not listen: it takes nothing
				continue
			}
			if s.Remote.IsValid() {
				connected++
			}
			if !s.Remote.IsValid() || connected <= maxSockets {
				r.s.Sockets = append(r.s.Sockets, s)
			}
		}
	}
	r.owners()
	return errors.Join(errs...)
}

// errNotAsked: inet_diag is not there.
var errNotAsked = errors.New("not asked")

func (r *reader) wanted(s host.Socket) bool {
	if len(r.options.Ports) > 0 && !slices.Contains(r.options.Ports, s.Local.Port()) {
		return false
	}
	return !s.Remote.IsValid() || slices.Contains(r.options.VIPs, s.Local.Addr().Unmap())
}

// Of linux/inet_diag.h: sizes, and the numbers of attributes.
const (
	diagMsgSize   = 72
	diagInfo      = 2
	diagTOS       = 5
	diagMemInfo   = 7
	diagV6Only    = 11
	diagMark      = 15
	diagMD5       = 18
	memRecvAlloc  = 0
	memRecvBuf    = 1
	memDrops      = 8
	sockDiagByFam = 20
)

// listeners and others are states, each a bit (TCPF_LISTEN).
const (
	listeners = uint32(1) << tcpListen
	others    = ^listeners
)

// diagRequest is inet_diag_req_v2: of a family and protocol those in some states, with memory and TOS. Of listeners it asks for
// tcp_info, too: the kernel tells a socket's keys only with that (inet_sk_diag_fill).
type diagRequest struct {
	family, proto uint8
	states        uint32
}

func (d diagRequest) Len() int { return 56 }

func (d diagRequest) Serialize() []byte {
	b := make([]byte, d.Len())
	b[0], b[1], b[2] = d.family, d.proto, 1<<(diagMemInfo-1)|1<<(diagTOS-1)
	if d.states == listeners {
		b[2] |= 1 << (diagInfo - 1)
	}
	binary.NativeEndian.PutUint32(b[4:], d.states)
	return b
}

func diagnosed(proto string) (all []host.Socket, err error) {
	asked := []diagRequest{{proto: unix.IPPROTO_TCP, states: listeners}, {proto: unix.IPPROTO_TCP, states: others}}
	if proto == "udp" {
		asked = []diagRequest{{proto: unix.IPPROTO_UDP, states: ^uint32(0)}}
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, of := range asked {
			of.family = family
			req := nl.NewNetlinkRequest(sockDiagByFam, unix.NLM_F_DUMP)
			req.AddData(of)
			msgs, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
			if err != nil {
				return all, err
			}
			for _, m := range msgs {
				if s, ok := socketOf(proto, m); ok {
					all = append(all, s)
				}
			}
		}
	}
	return all, nil
}

// socketOf reads struct inet_diag_msg and its attributes.
func socketOf(proto string, m []byte) (s host.Socket, ok bool) {
	if len(m) < diagMsgSize {
		return s, false
	}
	be, ne := binary.BigEndian, binary.NativeEndian
	address := func(b []byte) netip.Addr {
		if m[0] == unix.AF_INET {
			a, _ := netip.AddrFromSlice(b[:4])
			return a
		}
		a, _ := netip.AddrFromSlice(b[:16])
		return a
	}
	s = host.Socket{
		Proto: proto, State: tcpState(m[1]), V6: m[0] == unix.AF_INET6,
		Local:  netip.AddrPortFrom(address(m[8:]), be.Uint16(m[4:])),
		Device: ne.Uint32(m[40:]), RecvQueue: ne.Uint32(m[56:]), SendQueue: ne.Uint32(m[60:]),
		UID: ne.Uint32(m[64:]), Inode: uint64(ne.Uint32(m[68:])),
		Untold: true, // marks are only told with CAP_NET_ADMIN
	}
	if port := be.Uint16(m[6:]); port != 0 {
		s.Remote = netip.AddrPortFrom(address(m[24:]), port)
	}
	attrs, err := nl.ParseRouteAttr(m[diagMsgSize:])
	if err != nil {
		return s, true
	}
	for _, a := range attrs {
		switch v := a.Value; {
		case a.Attr.Type == diagMemInfo && len(v) >= 4*(memDrops+1):
			s.RecvAlloc, s.RecvBuf, s.Drops = ne.Uint32(v[4*memRecvAlloc:]), ne.Uint32(v[4*memRecvBuf:]), ne.Uint32(v[4*memDrops:])
		case a.Attr.Type == diagV6Only && len(v) >= 1:
			s.V6Only = v[0] != 0
		case a.Attr.Type == diagMark && len(v) >= 4:
			s.Mark, s.Untold = ne.Uint32(v), false
		case a.Attr.Type == diagTOS && len(v) >= 1:
			s.TOS = v[0]
		case a.Attr.Type == diagMD5:
			s.MD5, s.Signs = len(v) > 0, signers(v)
		}
	}
	s.KeysUntold = s.Untold // both are told to who may administer the network
	return s, true
}

// signers are those for whom a socket has keys: struct tcp_diag_md5sig each, of which the key itself is not read.
func signers(keys []byte) (all []netip.Prefix) {
	const size = 100
	for ; len(keys) >= size; keys = keys[size:] {
		a, ok := netip.AddrFromSlice(keys[4:8])
		if keys[0] == unix.AF_INET6 {
			a, ok = netip.AddrFromSlice(keys[4:20])
		}
		if ok {
			all = append(all, netip.PrefixFrom(a, int(keys[1])))
		}
	}
	return all
}

func tcpState(n uint8) string {
	if int(n) < len(tcpStates) {
		return tcpStates[n]
	}
	return strconv.Itoa(int(n))
}

// listed reads /proc/net/{tcp,udp}{,6}: no devices, no limits of queues, and nothing of IPV6_V6ONLY.
func (r *reader) listed(proto string) (all []host.Socket, err error) {
	for _, file := range []string{proto, proto + "6"} {
		text, err := os.ReadFile(r.files.net(file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return all, err
		}
		sockets, err := parseSockets(proto, string(text))
		if err != nil {
			return all, fmt.Errorf("/proc/net/%s: %w", file, err)
		}
		for i := range sockets {
			sockets[i].V6, sockets[i].Untold = file != proto, true
		}
		all = append(all, sockets...)
	}
	return all, nil
}

// parseSockets reads the lines behind the title.
func parseSockets(proto, text string) (all []host.Socket, err error) {
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.Lines(text) {
		s, err := parseSocket(proto, strings.Fields(line))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// parseSocket reads "0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 …".
func parseSocket(proto string, f []string) (s host.Socket, err error) {
	if len(f) < 10 {
		return s, fmt.Errorf("%d fields", len(f))
	}
	local, err1 := hexAddrPort(f[1])
	remote, err2 := hexAddrPort(f[2])
	state, err3 := strconv.ParseUint(f[3], 16, 8)
	tx, rx, _ := strings.Cut(f[4], ":")
	sendq, err4 := strconv.ParseUint(tx, 16, 32)
	recvq, err5 := strconv.ParseUint(rx, 16, 32)
	uid, err6 := strconv.ParseUint(f[7], 10, 32)
	inode, err7 := strconv.ParseUint(f[9], 10, 64)
	s = host.Socket{
		Proto: proto, Local: local, State: tcpState(uint8(state)), SendQueue: uint32(sendq), RecvQueue: uint32(recvq),
		UID: uint32(uid), Inode: inode,
	}
	if remote.Port() != 0 {
		s.Remote = remote
	}
	if proto == "udp" && len(f) >= 13 {
		drops, _ := strconv.ParseUint(f[12], 10, 32)
		s.Drops = uint32(drops)
	}
	return s, errors.Join(err1, err2, err3, err4, err5, err6, err7)
}

// hexAddrPort reads "0100007F:0050": words of the address in the machine's byte order.
func hexAddrPort(text string) (netip.AddrPort, error) {
	words, digits, _ := strings.Cut(text, ":")
	port, err := strconv.ParseUint(digits, 16, 16)
	if err != nil || len(words)%8 != 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	var b []byte
	for ; len(words) > 0; words = words[8:] {
		word, err := strconv.ParseUint(words[:8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(word))
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}

// maxMeasured bounds the connections that are asked how long their segments are.
const maxMeasured = 64

// owners finds the processes that have the sockets open, as far as there is time.
func (r *reader) owners() {
	at, measured := map[string][]int{}, 0
	for i, s := range r.s.Sockets {
		connection := r.options.Exceptions && s.State == "established" && s.Proto == "tcp" && measured < maxMeasured
		if connection {
			measured++
		}
		if s.Inode != 0 && (!s.Remote.IsValid() || connection) {
			link := fmt.Sprintf("socket:[%d]", s.Inode)
			at[link] = append(at[link], i)
		}
	}
	if len(at) == 0 {
		return
	}
	for _, p := range r.files.processes() {
		pid, err := strconv.Atoi(p)
		if err != nil {
			continue
		}
		dir, owner := "/proc/"+p+"/fd", host.Process{PID: pid}
		for _, name := range r.files.names(dir) {
			if r.ctx.Err() != nil {
				return
			}
			link, err := os.Readlink(r.files.path(dir, name))
			if err != nil {
				continue
			}
			for _, i := range at[link] {
				s := &r.s.Sockets[i]
				if number, err := strconv.Atoi(name); err == nil && s.Remote.IsValid() {
					r.kernel.options(s, pid, number)
					continue
				}
				if number, err := strconv.Atoi(name); err == nil && len(s.Owners) == 0 {
					r.kernel.options(s, pid, number)
				}
				if owner.Name == "" {
					owner.Name = r.files.comm(p)
				}
				if !slices.Contains(s.Owners, owner) {
					s.Owners = append(s.Owners, owner)
				}
			}
		}
	}
}

func (files root) comm(pid string) string {
	name, _ := os.ReadFile(files.path("/proc", pid, "comm"))
	return strings.TrimSuffix(string(name), "\n")
}
