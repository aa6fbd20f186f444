package read

import (
	"os"
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
