//go:build native

package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ETH_P_IP and ETH_P_ALL in network byte order.
const (
	ethIP  = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8
	ethAll = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
)

// tap opens a packet socket for one protocol on the server's wire: it has the sk_buff that comes, and leaves a clone to IP.
func tap(t *testing.T, n *network, kind, protocol int, prepare func(fd int) error) {
	t.Helper()
	in(t, n.server, func() error {
		wire, err := net.InterfaceByName("wire")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		listenTo(t, fd)
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(protocol), Ifindex: wire.Index}); err != nil || prepare == nil {
			return err
		}
		return prepare(fd)
	})
}

// rawTap opens a raw socket for TCP: each of its packets is a clone.
func rawTap(t *testing.T, n *network) {
	t.Helper()
	in(t, n.server, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err == nil {
			listenTo(t, fd)
		}
		return err
	})
}

// listenTo reads a socket until the test ends.
func listenTo(t *testing.T, fd int) {
	unix.SetNonblock(fd, true)
	f := os.NewFile(uintptr(fd), "tap")
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			if _, err := f.Read(b); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { f.Close(); <-done })
}

// nothingPasses is a filter of a socket.
func nothingPasses(fd int) error {
	no := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &no[0]})
}

// ring gives a packet socket a ring, which nobody reads.
func ring(fd int) error {
	req := unix.TpacketReq{Block_size: 1 << 16, Block_nr: 1, Frame_size: 1 << 11, Frame_nr: 1 << 5}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_PACKET, unix.PACKET_RX_RING, uintptr(unsafe.Pointer(&req)), unsafe.Sizeof(req), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// fanout has a device's packets shared between sockets, of which there is one.
func fanout(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, os.Getpid()&0xffff)
}

// TestNativeTapsAreNotThePacket has somebody listen to what is delivered, and to what a rule drops.
func TestNativeTapsAreNotThePacket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes network namespaces and traces packets")
	}
	binary := build(t)
	for what, listen := range map[string]func(t *testing.T, n *network){
		"a socket for IPv4": func(t *testing.T, n *network) { tap(t, n, unix.SOCK_RAW, ethIP, nil) },
		"one without link headers": func(t *testing.T, n *network) {
			tap(t, n, unix.SOCK_DGRAM, ethIP, nil)
		},
		"one whose filter takes nothing": func(t *testing.T, n *network) { tap(t, n, unix.SOCK_DGRAM, ethIP, nothingPasses) },
		"one with a ring":                func(t *testing.T, n *network) { tap(t, n, unix.SOCK_RAW, ethIP, ring) },
		"one for everything":             func(t *testing.T, n *network) { tap(t, n, unix.SOCK_RAW, ethAll, nil) },
		"two": func(t *testing.T, n *network) {
			tap(t, n, unix.SOCK_RAW, ethIP, nil)
			tap(t, n, unix.SOCK_RAW, ethIP, nil)
		},
		"one of a group": func(t *testing.T, n *network) { tap(t, n, unix.SOCK_RAW, ethIP, fanout) },
		"a raw socket":   rawTap,
		"a raw socket and one for IPv4": func(t *testing.T, n *network) {
			tap(t, n, unix.SOCK_RAW, ethIP, nil)
			rawTap(t, n)
		},
		"a mirror": func(t *testing.T, n *network) {
			n.on(t, n.server, "tc", "qdisc", "add", "dev", "wire", "clsact")
			n.on(t, n.server, "tc", "filter", "add", "dev", "wire", "ingress", "protocol", "ip", "u32", "match", "u32", "0", "0", "action", "mirred", "egress", "mirror", "dev", "away")
			n.on(t, n.server, "tc", "filter", "add", "dev", "wire", "egress", "protocol", "ip", "u32", "match", "u32", "0", "0", "action", "mirred", "egress", "mirror", "dev", "away")
		},
		"a rule that duplicates": func(t *testing.T, n *network) {
			n.on(t, n.server, "nft", "add table ip tap; add chain ip tap p { type filter hook prerouting priority -300; }; add rule ip tap p ip daddr "+vip+" dup to "+farClient)
		},
		"a device's rule that duplicates": func(t *testing.T, n *network) {
			n.on(t, n.server, "nft", `add table netdev tap; add chain netdev tap p { type filter hook ingress device "wire" priority -300; }; add rule netdev tap p ip daddr `+vip+` dup to "away"`)
		},
	} {
		t.Run(what, func(t *testing.T) {
			n := newNetwork(t)
			n.serve(t)
			listen(t, n)

			n.on(t, n.server, "nft", fmt.Sprintf("add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i udp dport %d drop", deafPort))
			tr := startTrace(t, binary, n)
			n.exchange(t, "tcp", port, 3000)
			n.exchange(t, "udp", port, 200)
			n.throw(t, deafPort)
			ended := tr.end(t, syscall.SIGINT)
			want := seen{Fate: "dropped", Drop: &drop{Function: "nft_do_chain", Reason: "NETFILTER_DROP", NfHook: "input"}}
			if ended.account.Lost != 1 || ended.count(func(j seen) bool { return j.matches(want) }) != 1 {
				t.Errorf("not one packet is lost: %+v", ended.account)
				ended.dump(t, func(seen) bool { return true })
			}
			for _, flags := range []string{"S", "FA"} {
				if ended.count(func(j seen) bool { return j.is("request", "tcp", "delivered") && j.Inner.Flags == flags }) != 1 {
					t.Errorf("no %s was delivered", flags)
					ended.dump(t, func(j seen) bool { return j.Direction == "request" })
				}
			}
		})
	}
}
