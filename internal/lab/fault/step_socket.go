package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// setSockets sets what the service's own sockets ask of a packet; the service starts anew.
func setSockets(what string, set func(fd int) error) lab.Step {
	return lab.Step{
		What: "real-server: " + what,
		Do: func(_ context.Context, l *lab.Lab) error {
			if err := l.Service.Restart(); err != nil {
				return err
			}
			tcp, udp := l.Service.Sockets()
			for _, c := range []syscall.Conn{tcp, udp} {
				raw, err := c.SyscallConn()
				if err != nil {
					return err
				}
				if err := lab.Control(raw, set); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// filterSockets puts a filter on the service's sockets that lets so many bytes of each packet pass; 0 drops it.
func filterSockets(bytes uint32) lab.Step {
	return setSockets(fmt.Sprintf("a filter on the service's sockets that takes %d bytes", bytes), func(fd int) error {
		filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: bytes}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &filter[0]})
	})
}

// bindService binds the service's sockets to a device.
func bindService(dev string) lab.Step {
	return setSockets("the service bound to "+dev, func(fd int) error { return unix.BindToDevice(fd, dev) })
}

// wantTTL has the service refuse what has a smaller TTL (RFC 5082).
func wantTTL(ttl int) lab.Step {
	return setSockets(fmt.Sprintf("IP_MINTTL %d", ttl), func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MINTTL, ttl)
	})
}

// wantSignatures has the service expect of the client that it signs its segments (RFC 2385).
func wantSignatures() lab.Step {
	return setSockets("TCP_MD5SIG for the client", func(fd int) error {
		key := unix.TCPMD5Sig{Keylen: 3, Key: [80]uint8{'l', 'a', 'b'}}
		key.Addr.Family = unix.AF_INET
		addr := lab.ClientAddr.As4()
		for i, b := range addr { // struct sockaddr_in: port, address
			key.Addr.Data[2+i] = b
		}
		err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &key)
		if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) { // the UDP socket
			return nil
		}
		return err
	})
}

// listenIPv6Only replaces the service by one that takes IPv6 only.
func listenIPv6Only() lab.Step {
	return lab.Step{
		What: "real-server: listen on [::], IPV6_V6ONLY",
		Do: func(_ context.Context, l *lab.Lab) error {
			if err := l.Service.Stop(); err != nil {
				return err
			}
			at := fmt.Sprintf("[::]:%d", lab.Port)
			return l.RealServer.Do(func() error {
				// Of tcp6 and udp6 Go makes sockets with IPV6_V6ONLY.
				tcp, err := net.Listen("tcp6", at)
				if err != nil {
					return err
				}
				l.Service.Hold(tcp)
				udp, err := net.ListenPacket("udp6", at)
				if err == nil {
					l.Service.Hold(udp)
				}
				return err
			})
		},
	}
}

// lookUpNothing has a program choose no socket for what comes to the service's port, until the service stops.
func lookUpNothing() lab.Step {
	return lab.Step{
		What: "real-server: a program that chooses no socket (BPF_SK_LOOKUP)",
		Do: func(_ context.Context, l *lab.Lab) error {
			if err := l.Service.Restart(); err != nil {
				return err
			}
			liftMemlock()
			const localPort, drop, pass = 60, 0, 1 // of struct bpf_sk_lookup; the verdicts
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
				Name: "lab_lookup", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "Dual BSD/GPL",
				Instructions: asm.Instructions{
					asm.LoadMem(asm.R2, asm.R1, localPort, asm.Word),
					asm.Mov.Imm(asm.R0, pass),
					asm.JNE.Imm(asm.R2, lab.Port, "end"),
					asm.Mov.Imm(asm.R0, drop),
					asm.Return().WithSymbol("end"),
				},
			})
			if err != nil {
				return err
			}
			defer p.Close()
			attached, err := link.AttachNetNs(l.RealServer.FD(), p)
			if err == nil {
				l.Service.Hold(attached)
			}
			return err
		},
	}
}
