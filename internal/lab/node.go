package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Role is the part that a namespace plays in the lab.
type Role string

// The roles. The switch only carries frames between the others.
const (
	Client     Role = "client"
	Director   Role = "director"
	RealServer Role = "real-server"
	Switch     Role = "switch"
)

// ErrNotPermitted says that the caller may not make network namespaces.
var ErrNotPermitted = errors.New("not permitted to make network namespaces: run as root (CAP_SYS_ADMIN and CAP_NET_ADMIN)")

// Node is one network namespace. It has no name: an open file of this process keeps it alive.
type Node struct {
	Role   Role
	handle netns.NsHandle
}

func newNode(r Role) (*Node, error) {
	n := &Node{Role: r, handle: netns.None()}
	err := OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			if errors.Is(err, unix.EPERM) {
				return ErrNotPermitted
			}
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		var err error
		n.handle, err = netns.Get()
		return err
	})
	if err != nil {
		return nil, err
	}
	return n, n.quiet()
}

// quiet turns off what a host's defaults may bring into a new namespace: IPv6 chatter, forwarding and
// source checks that nobody asked for.
func (n *Node) quiet() error {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		if err := n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"); err != nil {
			return err
		}
		if err := n.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"); err != nil {
			return err
		}
	}
	// Every packet is answered, and none sent twice on suspicion (tail loss probes): a fault must look
	// the same the first and the hundredth time.
	for _, s := range [][2]string{
		{"net/ipv4/ip_forward", "0"},
		{"net/ipv4/icmp_ratelimit", "0"},
		{"net/ipv4/tcp_early_retrans", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
	} {
		if err := n.Sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return n.sysctlAll("rp_filter", "0")
}

// Do runs f on a thread that has entered the namespace. Sockets that f opens and processes that it
// starts belong to the namespace; goroutines that it starts do not.
func (n *Node) Do(f func() error) error {
	return OnOwnThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter namespace of the %s: %w", n.Role, err)
		}
		return f()
	})
}

// OnOwnThread runs f on a thread that ends with it, because f changes the thread for good.
func OnOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// heldPath is the path of a file that a process holds open, by the numbers of both.
const heldPath = "/proc/%d/fd/%d"

// Path names the namespace for other processes, while this one lives.
func (n *Node) Path() string { return fmt.Sprintf(heldPath, os.Getpid(), int(n.handle)) }

// Inode is the namespace's number, as in /proc/PID/ns/net.
func (n *Node) Inode() (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(n.handle), &stat); err != nil {
		return 0, fmt.Errorf("number of the %s's namespace: %w", n.Role, err)
	}
	return stat.Ino, nil
}

// FD is the file of this process that keeps the namespace alive.
func (n *Node) FD() int { return int(n.handle) }

func (n *Node) close() error {
	if !n.handle.IsOpen() {
		return nil
	}
	return n.handle.Close()
}

// Sysctl writes a setting of the namespace; name has slashes: net/ipv4/ip_forward.
func (n *Node) Sysctl(name, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
			return fmt.Errorf("set %s = %s in %s: %w", name, value, n.Role, errors.Unwrap(err))
		}
		return nil
	})
}

// sysctlAll writes a setting of net.ipv4.conf for all present devices and for "all".
func (n *Node) sysctlAll(name, value string) error {
	return n.Do(func() error {
		devices, err := os.ReadDir("/proc/sys/net/ipv4/conf")
		if err != nil {
			return err
		}
		for _, d := range devices {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+d.Name()+"/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}
