package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// tap has a packet socket take what a device sees of a protocol (unix.ETH_P_…), until the service starts or stops. If
// nobody reads it, it is soon full, and the kernel drops what it copies for it: the packets themselves go on.
func tap(r lab.Role, dev string, protocol uint16, read bool) lab.Step {
	return held(r, fmt.Sprintf("a packet socket on %s, protocol %#04x, read: %v", dev, protocol, read), func() (*os.File, error) {
		socket, err := packetSocket(dev, protocol)
		if err == nil && !read {
			err = unix.SetsockoptInt(int(socket.Fd()), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
		}
		if err == nil && read {
			go io.Copy(io.Discard, socket)
		}
		return socket, err
	})
}

// tapRing is a packet socket with a ring (TPACKET_V1): the kernel writes into it what it sees, and frees the sk_buff.
func tapRing(r lab.Role, dev string, protocol uint16) lab.Step {
	return held(r, fmt.Sprintf("a packet socket with a ring on %s, protocol %#04x", dev, protocol), func() (*os.File, error) {
		socket, err := packetSocket(dev, protocol)
		if err != nil {
			return nil, err
		}
		ring := unix.TpacketReq{Block_size: 1 << 16, Block_nr: 1, Frame_size: 1 << 11, Frame_nr: 1 << 5}
		_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, socket.Fd(), unix.SOL_PACKET, unix.PACKET_RX_RING, uintptr(unsafe.Pointer(&ring)), unsafe.Sizeof(ring), 0)
		if errno != 0 {
			return socket, fmt.Errorf("give packet socket a ring: %w", errno)
		}
		return socket, nil
	})
}

// tapRaw is a raw socket for IPIP: it has a clone of each packet that the tunnel is given (raw_local_deliver).
func tapRaw(r lab.Role) lab.Step {
	return held(r, "a raw socket for protocol 4", func() (*os.File, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_IPIP)
		if err != nil {
			return nil, fmt.Errorf("open raw socket: %w", err)
		}
		socket := os.NewFile(uintptr(fd), "raw socket")
		go io.Copy(io.Discard, socket)
		return socket, nil
	})
}

// held opens a socket in a node, which is there until the service starts or stops.
func held(r lab.Role, what string, open func() (*os.File, error)) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: %s", r, what),
		Do: func(_ context.Context, l *lab.Lab) error {
			return l.Node(r).Do(func() error {
				socket, err := open()
				if socket != nil {
					l.Service.Hold(socket)
				}
				return err
			})
		},
	}
}

// packetSocket opens one in this thread's namespace.
func packetSocket(dev string, protocol uint16) (*os.File, error) {
	device, err := net.InterfaceByName(dev)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	network := protocol<<8 | protocol>>8
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: device.Index, Protocol: network}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind packet socket to %s: %w", dev, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}
