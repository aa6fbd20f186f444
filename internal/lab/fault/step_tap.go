package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// tap has a packet socket take what a device sees of a protocol (unix.ETH_P_…), until the service starts or stops. If
// nobody reads it, it is soon full, and the kernel drops what it copies for it: the packets themselves go on.
func tap(r lab.Role, dev string, protocol uint16, read bool) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: a packet socket on %s, protocol %#04x, read: %v", r, dev, protocol, read),
		Do: func(_ context.Context, l *lab.Lab) error {
			return l.Node(r).Do(func() error {
				socket, err := packetSocket(dev, protocol)
				if err != nil {
					return err
				}
				l.Service.Hold(socket)
				if read {
					go io.Copy(io.Discard, socket)
					return nil
				}
				return unix.SetsockoptInt(int(socket.Fd()), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
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
