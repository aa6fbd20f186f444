//go:build native

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The network: a client and a server with the VIP on its loopback, one wire between them.
const (
	clientAddr = "198.51.100.1"
	serverAddr = "198.51.100.2"
	vip        = "192.0.2.80"
	farClient  = "203.0.113.9" // the client's too, and reached from the server by another device
	port       = 8080
	deafPort   = 8081
)

// network is what the tests made on this machine; it is gone when they end.
type network struct{ client, server string }

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{client: fmt.Sprintf("ipiptrace-%d-client", os.Getpid()), server: fmt.Sprintf("ipiptrace-%d-server", os.Getpid())}
	for _, ns := range []string{n.client, n.server} {
		command(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		n.on(t, ns, "ip", "link", "set", "lo", "up")
		n.on(t, ns, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
	}
	command(t, "ip", "link", "add", "wire", "netns", n.client, "type", "veth", "peer", "name", "wire", "netns", n.server)
	n.on(t, n.client, "ip", "addr", "add", clientAddr+"/24", "dev", "wire")
	n.on(t, n.client, "ip", "addr", "add", farClient+"/32", "dev", "lo")
	n.on(t, n.client, "ip", "link", "set", "wire", "up")
	n.on(t, n.client, "ip", "route", "add", vip, "via", serverAddr)
	n.on(t, n.server, "ip", "addr", "add", serverAddr+"/24", "dev", "wire")
	n.on(t, n.server, "ip", "addr", "add", vip+"/32", "dev", "lo")
	n.on(t, n.server, "ip", "link", "set", "wire", "up")
	n.on(t, n.server, "ip", "link", "add", "away", "type", "veth", "peer", "name", "nowhere")
	n.on(t, n.server, "ip", "link", "set", "away", "up")
	n.on(t, n.server, "ip", "link", "set", "nowhere", "up")
	n.on(t, n.server, "ip", "route", "add", farClient, "dev", "away")
	n.on(t, n.server, "sysctl", "-qw", "net.ipv4.conf.wire.rp_filter=0", "net.ipv4.icmp_ratelimit=0")
	return n
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// on runs a command in a namespace.
func (n *network) on(t *testing.T, ns, name string, args ...string) {
	t.Helper()
	command(t, "ip", append([]string{"netns", "exec", ns, name}, args...)...)
}

// in runs do in a namespace; sockets made there stay there.
func in(t *testing.T, ns string, do func() error) {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = do()
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// serve answers TCP and UDP with what it gets.
func (n *network) serve(t *testing.T) {
	t.Helper()
	in(t, n.server, func() error {
		listener, err := net.Listen("tcp4", service(port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		datagrams, err := net.ListenPacket("udp4", service(port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { datagrams.Close() })
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					io.Copy(c, c)
					c.Close()
				}()
			}
		}()
		go func() {
			b := make([]byte, 2048)
			for {
				size, from, err := datagrams.ReadFrom(b)
				if err != nil {
					return
				}
				datagrams.WriteTo(b[:size], from)
			}
		}()
		return nil
	})
}

// service is the address of a port of the service.
func service(port int) string { return net.JoinHostPort(vip, strconv.Itoa(port)) }

// exchange sends size bytes to the service, gets them back and hangs up.
func (n *network) exchange(t *testing.T, network string, port, size int) {
	t.Helper()
	in(t, n.client, func() error {
		c, err := net.Dial(network+"4", service(port))
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write(make([]byte, size)); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, size)); err != nil {
			return err
		}
		if c, ok := c.(*net.TCPConn); ok {
			c.CloseWrite()
			_, err = io.Copy(io.Discard, c)
		}
		return err
	})
}

// knock sends a SYN to which the answer is no.
func (n *network) knock(t *testing.T, port int) {
	t.Helper()
	in(t, n.client, func() error {
		if c, err := net.DialTimeout("tcp4", service(port), 5*time.Second); err == nil {
			c.Close()
			return fmt.Errorf("somebody listens on port %d", port)
		}
		return nil
	})
}

// throw sends a datagram and does not wait for an answer.
func (n *network) throw(t *testing.T, port int) {
	t.Helper()
	n.throwFrom(t, clientAddr, port)
}

func (n *network) throwFrom(t *testing.T, from string, port int) {
	t.Helper()
	in(t, n.client, func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(vip), Port: port})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	})
}

// throwTunnelled sends a datagram to the VIP in IPIP, as a director would.
func (n *network) throwTunnelled(t *testing.T) {
	t.Helper()
	payload := []byte("hello")
	udp := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	n.throwInIPIP(t, ipv4(farClient, vip, unix.IPPROTO_UDP, append(udp, payload...)))
}

// throwInIPIP sends what stands behind IPIP's header, as a director would.
func (n *network) throwInIPIP(t *testing.T, inner []byte) {
	t.Helper()
	in(t, n.client, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet4{}
		copy(to.Addr[:], net.ParseIP(serverAddr).To4())
		return unix.Sendto(fd, ipv4(clientAddr, serverAddr, unix.IPPROTO_IPIP, inner), 0, to)
	})
}

// ipv4 puts a header (RFC 791) before payload.
func ipv4(src, dst string, proto byte, payload []byte) []byte {
	h := make([]byte, 20, 20+len(payload))
	h[0], h[8], h[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(h[4:], 4711)
	copy(h[12:], net.ParseIP(src).To4())
	copy(h[16:], net.ParseIP(dst).To4())
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	return append(h, payload...)
}
