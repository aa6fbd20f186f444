package read

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

func TestASocketSaysWhatItAsksFor(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	plain := host.Socket{V6: true}
	askOptions(&plain, os.Getpid(), fd)
	if plain.Filter || plain.V6Only || plain.MinTTL != 0 {
		t.Errorf("a new socket: %+v", plain)
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	for what, err := range map[string]error{
		"SO_ATTACH_FILTER": unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]}),
		"IP_MINTTL":        unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MINTTL, 255),
		"IP_TOS":           unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TOS, 0x10),
		"IPV6_V6ONLY":      unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	s := host.Socket{V6: true, Untold: true}
	askOptions(&s, os.Getpid(), fd)
	if !s.Filter || !s.V6Only || s.MinTTL != 255 || s.TOS != 0x10 || s.Untold || !s.Unbound {
		t.Errorf("got %+v", s)
	}
}

// TestASocketSaysHowLongItsSegmentsAre: a listener, and a connection over loopback.
func TestASocketSaysHowLongItsSegmentsAre(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := func(c syscall.Conn, s *host.Socket) {
		raw, err := c.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { askOptions(s, os.Getpid(), int(fd)) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	waits := host.Socket{Proto: "tcp", State: "listen"}
	ask(listener.(*net.TCPListener), &waits)
	if waits.Segments != (host.Segments{}) {
		t.Errorf("a listener that was told nothing: %+v", waits.Segments)
	}
	connected := host.Socket{Proto: "tcp", State: "established", Remote: netip.MustParseAddrPort(listener.Addr().String())}
	ask(client.(*net.TCPConn), &connected)
	// With the option for timestamps or without: headers of 40 bytes are all that is taken off.
	if s := connected.Segments; s.Announced != min(s.MTU, 65535)-40 || s.Sent == 0 || s.MTU < s.Sent {
		t.Errorf("a connection: %+v", s)
	}
}
