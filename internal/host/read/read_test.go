package read

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

func own(t *testing.T) Namespace {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &stat); err != nil {
		t.Fatal(err)
	}
	ns, err := Netns(uint32(stat.Ino))
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// TestThisMachine reads the namespace that the test runs in, as whoever runs it: what is refused is said, and
// nothing else is missing.
func TestThisMachine(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	s := Snapshot(context.Background(), own(t), Options{VIPs: []netip.Addr{at.Addr()}, Ports: []uint16{at.Port()}})
	if !s.Knows(host.PartLinks) && os.Geteuid() != 0 {
		t.Skipf("not permitted to enter its own namespace: %v", s.Unread)
	}
	for _, u := range s.Unread {
		t.Logf("unread: %s: %s", u.Part, u.Why)
	}
	lo := s.LinkNamed("lo")
	if lo == nil || !lo.Up || lo.Type != "loopback" {
		t.Fatalf("lo is %+v of %+v", lo, s.Links)
	}
	if !s.Owns(netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("127.0.0.1 is not local: %+v", s.Route(host.Flow{Dst: netip.MustParseAddr("127.0.0.1")}))
	}
	serving, _ := s.Serves("tcp", at, lo)
	if len(serving) != 1 || len(serving[0].Owners) == 0 || serving[0].Owners[0].PID != os.Getpid() {
		t.Errorf("%s is served by %+v, of %+v", at, serving, s.Sockets)
	}
	if _, ok := s.Effective("lo", "rp_filter"); !ok {
		t.Error("no rp_filter of lo")
	}
	if s.Counters["Ip.InReceives"] == 0 || s.Counters["Softnet.Processed"] == 0 {
		t.Errorf("counters: %d", len(s.Counters))
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back host.Snapshot
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	back.Begun, back.Done = s.Begun, s.Done // without the monotonic clock
	if !reflect.DeepEqual(&back, s) {
		t.Errorf("JSON is not both ways:\n%+v\n%+v", back, *s)
	}
}

func TestANamespaceThatIsNotThereIsAnError(t *testing.T) {
	if ns, err := Netns(1); err == nil {
		t.Errorf("found %+v", ns)
	}
}

// TestAWayIntoANamespaceMayEnd: it was found through a process that has ended before the namespace was opened.
func TestAWayIntoANamespaceMayEnd(t *testing.T) {
	ns := own(t)
	for what, path := range map[string]string{"a process that has ended": "/proc/0/ns/net", "another namespace by now": "/proc/self/ns/uts"} {
		ns.path = path
		entered := false
		if err := ns.on(func() error { entered = true; return nil }); err != nil || !entered {
			t.Errorf("%s: %v", what, err)
		}
	}
	ns.inode, ns.path = 1, "/proc/0/ns/net"
	if err := ns.on(func() error { return nil }); !errors.Is(err, errNoWay) && !errors.Is(err, errNoRight) {
		t.Errorf("a namespace that has gone: %v", err)
	}
}

// TestCountersThatTellAreReadOfEveryNamespace finds our own among them.
func TestCountersThatTellAreReadOfEveryNamespace(t *testing.T) {
	ours := own(t).Inode()
	for _, ns := range Namespaces(context.Background()) {
		if ns.Inode() != ours {
			continue
		}
		counters, err := ns.Telling()
		if _, there := counters["TcpExt.ListenOverflows"]; err != nil && os.Geteuid() == 0 || !there || len(counters) != len(host.Telling) {
			t.Errorf("%v, %v", counters, err)
		}
		return
	}
	t.Error("our own namespace is not among them")
}

func TestAProgramThatEndedBadlyIsSaidInWords(t *testing.T) {
	for script, want := range map[string]string{
		"exit 3":                      "/bin/sh: exit status 3",
		"echo not today >&2; exit 3":  "/bin/sh: exit status 3: not today",
		"kill -9 $$":                  "/bin/sh: signal: killed",
		"exec sleep 60 # run is over": "the run ended before it was read",
	} {
		ctx, end := context.WithCancel(t.Context())
		if strings.Contains(script, "over") {
			time.AfterFunc(10*time.Millisecond, end)
		}
		_, err := (&reader{ctx: ctx, run: execute(runTime)}).output(ctx, []string{"/bin/sh"}, "-c", script)
		if err == nil || plain(err) != want {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
		end()
	}
}
