package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

func stopListening() lab.Step {
	return lab.Step{
		What: "real-server: stop listening",
		Do:   func(_ context.Context, l *lab.Lab) error { return l.Service.Stop() },
	}
}

func listen() lab.Step {
	return lab.Step{
		What: "real-server: listen",
		Do:   func(_ context.Context, l *lab.Lab) error { return l.Service.Listen() },
	}
}

// backlog is the length of a queue that is meant to overflow: one more than it says has room in it.
const backlog = 1

// fillAcceptQueue replaces the service by one that accepts nothing, and has the real server connect to itself.
func fillAcceptQueue() lab.Step {
	return lab.Step{
		What: "real-server: fill the accept queue",
		Do: func(_ context.Context, l *lab.Lab) error {
			if err := listenDeaf(l, lab.Port, backlog); err != nil {
				return err
			}
			return connect(l, lab.Port, backlog+1)
		},
	}
}

// handshakes is the room for handshakes that a service has whose queue of them is to overflow.
const handshakes = 8

// fillSYNQueue leaves the service room for few handshakes, and begins more than that.
func fillSYNQueue() lab.Step {
	return lab.Step{
		What: "real-server: fill the SYN queue",
		Do: func(_ context.Context, l *lab.Lab) error {
			err := l.Service.Restart()
			if err != nil {
				return err
			}
			tcp, _ := l.Service.Sockets()
			err = setBacklog(tcp, handshakes)
			for range handshakes + 3 {
				err = errors.Join(err, l.Send(lab.Client, halfOpen(l.NextFrame())))
			}
			return err
		},
	}
}

// fillReceiveBuffer replaces the service by one that reads no datagrams, and has the real server send it some.
func fillReceiveBuffer() lab.Step {
	return lab.Step{
		What: "real-server: fill the receive buffer",
		Do:   func(_ context.Context, l *lab.Lab) error { return stuff(l) },
	}
}

// keepConnections has the real server hold connections to itself, on another port.
func keepConnections(n int) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("real-server: %d connections to itself", n),
		Do: func(_ context.Context, l *lab.Lab) error {
			return errors.Join(l.Service.Restart(), listenDeaf(l, otherPort, n), connect(l, otherPort, n))
		},
	}
}

// otherPort is nobody's concern.
const otherPort = 8080

// listenDeaf opens a TCP socket that nobody accepts from. One on the service's port takes the service's place.
func listenDeaf(l *lab.Lab, port, backlog int) error {
	if port == lab.Port {
		if err := l.Service.Stop(); err != nil {
			return err
		}
	}
	return l.RealServer.Do(func() error {
		tcp, err := lab.Freebind().Listen(context.Background(), "tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			return err
		}
		l.Service.Hold(tcp)
		return setBacklog(tcp.(*net.TCPListener), backlog)
	})
}

// connect makes connections from the real server to its own address: not to the VIP, which is being watched.
func connect(l *lab.Lab, port, n int) error {
	return l.RealServer.Do(func() error {
		for range n {
			c, err := net.DialTimeout("tcp4", netip.AddrPortFrom(lab.RealServerAddr, uint16(port)).String(), lab.ServiceDeadline)
			if err != nil {
				return err
			}
			l.Service.Hold(c)
		}
		return nil
	})
}

// serveAlso has a second service, on another node, until the first one is opened or closed again.
func serveAlso(r lab.Role, at netip.AddrPort) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("%s: serve on %s", r, at),
		Do: func(_ context.Context, l *lab.Lab) error {
			if err := l.Service.Restart(); err != nil {
				return err
			}
			return l.Node(r).Do(func() error {
				tcp, err := net.Listen("tcp4", at.String())
				if err != nil {
					return err
				}
				udp, err := net.ListenPacket("udp4", at.String())
				if err != nil {
					return errors.Join(err, tcp.Close())
				}
				l.Service.Also(tcp, udp)
				return nil
			})
		},
	}
}

// serveTwice replaces the service by two whose sockets share the port (SO_REUSEPORT).
func serveTwice() lab.Step {
	return lab.Step{
		What: "real-server: two services on one port (SO_REUSEPORT)",
		Do: func(ctx context.Context, l *lab.Lab) error {
			if err := l.Service.Stop(); err != nil {
				return err
			}
			config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
				return lab.Control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
			}}
			config.SetMultipathTCP(false)
			at := netip.AddrPortFrom(lab.VIP, lab.Port).String()
			return l.RealServer.Do(func() error {
				for range 2 {
					tcp, err := config.Listen(ctx, "tcp4", at)
					if err != nil {
						return err
					}
					udp, err := config.ListenPacket(ctx, "udp4", at)
					if err != nil {
						return errors.Join(err, tcp.Close())
					}
					l.Service.Also(tcp, udp)
				}
				return nil
			})
		},
	}
}

// stuff replaces the service by a UDP socket with the smallest buffer there is, full of what nobody reads.
func stuff(l *lab.Lab) error {
	if err := l.Service.Stop(); err != nil {
		return err
	}
	return l.RealServer.Do(func() error {
		p, err := net.ListenUDP("udp4", &net.UDPAddr{Port: lab.Port})
		if err != nil {
			return err
		}
		l.Service.Hold(p)
		if err := p.SetReadBuffer(1); err != nil {
			return err
		}
		c, err := net.Dial("udp4", netip.AddrPortFrom(lab.RealServerAddr, lab.Port).String())
		if err != nil {
			return err
		}
		defer c.Close()
		for range 16 {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	})
}

// listenElsewhere replaces the service by one that is bound to another address, or to a device.
func listenElsewhere(addr netip.Addr, dev string) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("real-server: listen on %s %s", addr, dev),
		Do: func(_ context.Context, l *lab.Lab) error {
			if err := l.Service.Stop(); err != nil {
				return err
			}
			at := netip.AddrPortFrom(addr, lab.Port).String()
			return l.RealServer.Do(func() error {
				config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
					return lab.Control(c, func(fd int) error { return unix.BindToDevice(fd, dev) })
				}}
				tcp, err := config.Listen(context.Background(), "tcp4", at)
				if err != nil {
					return err
				}
				l.Service.Hold(tcp)
				udp, err := config.ListenPacket(context.Background(), "udp4", at)
				if err == nil {
					l.Service.Hold(udp)
				}
				return err
			})
		},
	}
}

// hangUp ends the connections that the service still has with resets.
func hangUp() lab.Step {
	return lab.Step{What: "real-server: end all connections", Do: func(_ context.Context, l *lab.Lab) error {
		for _, c := range l.Service.Connections() {
			c.SetLinger(0)
			c.Close()
		}
		return nil
	}}
}

// setBacklog changes what the listener's queues hold.
func setBacklog(l *net.TCPListener, n int) error {
	c, err := l.SyscallConn()
	if err != nil {
		return err
	}
	return lab.Control(c, func(fd int) error { return unix.Listen(fd, n) })
}
