// Package read reads the state of a network namespace into a host.Snapshot.
//
// Reading changes nothing: the kernel loads a module when it is asked for a subsystem that is not there, and
// iptables-legacy makes the tables that it lists, so each part is read only if it is there already. A part that is
// not there is empty; one that can't be read is in Unread.
package read

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// Options bound what is read of sockets and connections.
type Options struct {
	VIPs   []netip.Addr
	Ports  []uint16
	Client netip.Prefix
	// Exceptions: path MTUs that the kernel has learned are read, too, and how long segments of sockets are.
	Exceptions bool
	// PartTime is what a part may take; what has not answered by then is left alone. 0: all the time that there is.
	PartTime time.Duration
}

// reader reads one namespace, on a thread that is in it.
type reader struct {
	ns      Namespace
	ctx     context.Context
	options Options
	files   root
	run     runner
	kernel  kernel
	rt      *netlink.Handle
	modules modules
	bpf     []linkInfo // what bpfLinks has read
	s       *host.Snapshot
}

// part is one part of a snapshot and how it is read.
type part struct {
	name host.Part
	read func(*reader) error
	// slow parts may take that many times as long; rendered are those for which programs are run.
	slow     time.Duration
	rendered bool
}

// slowly is how many times as long as others a part may take that is a matter of how large the machine is: fifty thousand
// rules keep nft for seconds, twenty thousand sockets their owners' directories, and a slow machine for minutes.
const slowly = 9

// parts are in the order of reading: what changes fastest comes first, what may take all the time there is comes last.
var parts = []part{
	{name: host.PartCounters, read: (*reader).counters},
	{name: host.PartSockets, read: (*reader).sockets, slow: slowly},
	{name: host.PartConntrack, read: (*reader).conntrack},
	{name: host.PartNeighbours, read: (*reader).neighbours},
	{name: host.PartLinks, read: (*reader).links},
	{name: host.PartAddrs, read: (*reader).addrs},
	{name: host.PartRoutes, read: (*reader).routes},
	{name: host.PartRules, read: (*reader).rules},
	{name: host.PartExceptions, read: (*reader).exceptions},
	{name: host.PartSysctls, read: (*reader).sysctls},
	{name: host.PartIPVS, read: (*reader).ipvs},
	{name: host.PartFOU, read: (*reader).fou},
	{name: host.PartQueues, read: (*reader).queues},
	{name: host.PartXFRM, read: (*reader).xfrm},
	{name: host.PartFilters, read: (*reader).filters},
	{name: host.PartCgroups, read: (*reader).cgroups},
	{name: host.PartLookups, read: (*reader).lookups},
	{name: host.PartNft, read: (*reader).nft, slow: slowly, rendered: true},
	{name: host.PartIPTables, read: (*reader).iptables, slow: slowly, rendered: true},
}

// Snapshot reads a namespace. What can't be read is said in the snapshot; with a ctx that is done, all that was left.
func Snapshot(ctx context.Context, ns Namespace, o Options) *host.Snapshot {
	s := &host.Snapshot{Begun: time.Now(), Netns: ns.inode, Initial: ns.initial(), Name: ns.name, Path: ns.path, Sysctls: map[string]string{}}
	(&reader{files: ns.files, s: s}).ownSysctls()
	if err := ns.on(func() error { return read(ctx, s, ns, o, parts) }); err != nil {
		s.Unread = append(s.Unread, host.Unread{Part: host.PartAll, Why: plain(err)})
	}
	s.Done = time.Now()
	return s
}

// ofVIPs are the parts of which no more is kept than what is of the VIPs.
var ofVIPs = []host.Part{host.PartSockets, host.PartConntrack, host.PartIPVS}

// Narrow reads those parts of a state anew that are of VIPs, for the options' VIPs: who learns them from a state need not read
// all of it twice.
func Narrow(ctx context.Context, s *host.Snapshot, ns Namespace, o Options) {
	anew := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return !slices.Contains(ofVIPs, p.name) })
	s.Sockets, s.Coarse, s.Conntrack, s.IPVS = nil, false, nil, nil
	s.Unread = slices.DeleteFunc(s.Unread, func(u host.Unread) bool { return u.Part == host.PartModules || slices.Contains(ofVIPs, u.Part) })
	if err := ns.on(func() error { return read(ctx, s, ns, o, anew) }); err != nil {
		s.Unread = append(s.Unread, host.Unread{Part: host.PartAll, Why: plain(err)})
	}
	s.Done = time.Now()
}

func read(ctx context.Context, s *host.Snapshot, ns Namespace, o Options, parts []part) error {
	rt, err := routing()
	if err != nil {
		return err
	}
	defer rt.Close()
	r := &reader{ns: ns, ctx: ctx, options: o, files: ns.files, run: execute(runTime), kernel: running(), rt: rt, s: s}
	if o.PartTime > 0 {
		r.run = execute(patientTime)
	}
	if r.modules, err = ns.files.modules(); err != nil {
		s.Unread = append(s.Unread, host.Unread{Part: host.PartModules, Why: plain(err)})
	}
	s.Modules, s.Absent, s.LSMs = r.modules.names, ns.files.absent(r.modules), ns.files.lsms()
	if o.PartTime == 0 {
		r.read(parts)
		return nil
	}
	asked, rendered := parts, []part(nil)
	if i := slices.IndexFunc(parts, func(p part) bool { return p.rendered }); i >= 0 {
		asked, rendered = parts[:i], parts[i:]
	}
	take := r.beside(rendered)
	r.read(asked)
	take()
	return nil
}

// read reads parts, as far as there is time, and says of each that could not be read why.
func (r *reader) read(parts []part) {
	for _, p := range parts {
		err := r.ctx.Err()
		if err == nil {
			err = r.timed(p)
		}
		if err != nil {
			r.s.Unread = append(r.s.Unread, host.Unread{Part: p.name, Why: plain(err)})
		}
	}
}

// routing is a socket of rtnetlink in the thread's namespace.
func routing() (*netlink.Handle, error) {
	rt, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := rt.SetSocketTimeout(time.Second); err != nil {
		rt.Close()
		return nil, err
	}
	return rt, nil
}

// plain is an error in a few words.
func plain(err error) string {
	switch {
	case errors.Is(err, os.ErrPermission):
		return "not permitted"
	case errors.Is(err, context.Canceled):
		return "the run ended before it was read"
	case errors.Is(err, context.DeadlineExceeded):
		return "there was no time left"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ") // errors.Join has a line for each
}

// Namespace is a way into a network namespace.
type Namespace struct {
	files      root
	inode      uint32
	name, path string
}

const netnsDir = "/run/netns"

// errNoWay says that nothing leads into a namespace: no name, no process, no open file.
var errNoWay = errors.New("no process and no name leads to it")

// errNoRight says that something may lead into a namespace that this process may not look at.
var errNoRight = errors.New("no name leads to it, nor a process that may be looked at: CAP_SYS_PTRACE is missing")

// Netns finds a way into the namespace with that inode number.
func Netns(inode uint32) (Namespace, error) { return machine.netns(inode) }

func (files root) netns(inode uint32) (Namespace, error) {
	denied := false
	is := func(path string) bool {
		var stat unix.Stat_t
		err := unix.Stat(path, &stat)
		denied = denied || errors.Is(err, os.ErrPermission)
		return err == nil && uint32(stat.Ino) == inode
	}
	if path := files.path("/proc/self/ns/net"); is(path) {
		return Namespace{files: files, inode: inode, path: path}, nil
	}
	for _, name := range files.names(netnsDir) {
		if path := files.path(netnsDir, name); is(path) {
			return Namespace{files: files, inode: inode, name: name, path: path}, nil
		}
	}
	if path := files.throughProcesses(is, inode); path != "" {
		return Namespace{files: files, inode: inode, path: path}, nil
	}
	if denied {
		return Namespace{}, fmt.Errorf("network namespace %d: %w", inode, errNoRight)
	}
	return Namespace{}, fmt.Errorf("network namespace %d: %w", inode, errNoWay)
}

// processes are the numbers of all processes.
func (files root) processes() (numbers []string) {
	for _, name := range files.names("/proc") {
		if strings.Trim(name, "0123456789") == "" {
			numbers = append(numbers, name)
		}
	}
	return numbers
}

// held are what a process holds open that looks like a network namespace: whose link begins like that.
func (files root) held(process, link string) (paths []string) {
	dir := "/proc/" + process + "/fd"
	for _, number := range files.names(dir) {
		path := files.path(dir, number)
		if to, err := os.Readlink(path); err == nil && (strings.HasPrefix(to, link) || to == "/proc/self/ns/net") {
			paths = append(paths, path)
		}
	}
	return paths
}

// throughProcesses looks at what every process is in, then at what every thread is in, then at what is held open.
func (files root) throughProcesses(is func(string) bool, inode uint32) string {
	numbers := files.processes()
	for _, p := range numbers {
		if path := files.path("/proc", p, "ns/net"); is(path) {
			return path
		}
	}
	link := fmt.Sprintf("net:[%d]", inode)
	for _, p := range numbers {
		for _, path := range files.held(p, link) {
			if is(path) {
				return path
			}
		}
		tasks := "/proc/" + p + "/task"
		for _, t := range files.names(tasks) {
			if path := files.path(tasks, t, "ns/net"); is(path) {
				return path
			}
		}
	}
	return ""
}

// Namespaces are all to which this process, a name, or a process leads by what it is in or holds open; with a ctx
// that is done those that were found by then.
func Namespaces(ctx context.Context) []Namespace { return machine.namespaces(ctx) }

func (files root) namespaces(ctx context.Context) (all []Namespace) {
	seen := map[uint32]bool{}
	add := func(path, name string) {
		var stat unix.Stat_t
		if unix.Stat(path, &stat) == nil && !seen[uint32(stat.Ino)] {
			seen[uint32(stat.Ino)] = true
			all = append(all, Namespace{files: files, inode: uint32(stat.Ino), name: name, path: path})
		}
	}
	add(files.path("/proc/self/ns/net"), "")
	for _, name := range files.names(netnsDir) {
		add(files.path(netnsDir, name), name)
	}
	numbers := files.processes()
	for _, p := range numbers {
		add(files.path("/proc", p, "ns/net"), "")
	}
	for _, p := range numbers {
		if ctx.Err() != nil {
			break
		}
		for _, path := range files.held(p, "net:[") {
			add(path, "")
		}
	}
	return all
}

// Inode is the namespace's number, as in /proc/PID/ns/net.
func (n Namespace) Inode() uint32 { return n.inode }

// Telling reads those counters of a namespace that are host.Telling.
func (n Namespace) Telling() (map[string]uint64, error) {
	r := reader{files: n.files, s: &host.Snapshot{}}
	err := n.on(r.counters)
	return host.OnlyTelling(r.s.Counters), err
}

// Addresses are the devices and addresses of a namespace, and nothing else of it.
func (n Namespace) Addresses(ctx context.Context) *host.Snapshot {
	s := &host.Snapshot{Netns: n.inode, Initial: n.initial(), Name: n.name, Path: n.path, Sysctls: map[string]string{}}
	some := []part{{name: host.PartLinks, read: (*reader).links}, {name: host.PartAddrs, read: (*reader).addrs}}
	if err := n.on(func() error { return read(ctx, s, n, Options{}, some) }); err != nil {
		s.Unread = append(s.Unread, host.Unread{Part: host.PartAll, Why: plain(err)})
	}
	return s
}

// initial reports whether it is the machine's first.
func (n Namespace) initial() bool {
	var stat unix.Stat_t
	return unix.Stat(n.files.path("/proc/1/ns/net"), &stat) == nil && uint32(stat.Ino) == n.inode
}

// on runs f on a thread in the namespace. The thread ends with it.
func (n Namespace) on(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: nobody else is to run in this namespace
		done <- n.enter(f)
	}()
	return <-done
}

func (n Namespace) enter(f func() error) error {
	handle, err := n.open()
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer handle.Close()
	var own unix.Stat_t // to enter it anew would need CAP_SYS_ADMIN
	if unix.Stat("/proc/thread-self/ns/net", &own) == nil && uint32(own.Ino) == n.inode {
		return f()
	}
	if err := netns.Set(handle); err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	return f()
}

// maxWays bounds the ways into a namespace that are tried.
const maxWays = 4

// open opens the namespace. The way into it may have been a process that has ended since, or the file that it held open:
// then another way is looked for, a few times.
func (n Namespace) open() (netns.NsHandle, error) {
	for range maxWays {
		handle, err := netns.GetFromPath(n.path)
		if err == nil {
			var stat unix.Stat_t
			if err = unix.Fstat(int(handle), &stat); err == nil && uint32(stat.Ino) == n.inode {
				return handle, nil
			}
			handle.Close()
		}
		other, lost := n.files.netns(n.inode)
		switch {
		case lost != nil:
			return -1, lost
		case other.path == n.path && err != nil:
			return -1, err
		}
		n.path = other.path
	}
	return -1, errNoWay
}
