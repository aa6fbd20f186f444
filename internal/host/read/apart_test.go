package read

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// TestAPartThatDoesNotAnswerIsUnread: the others are read all the same, and what it writes later goes nowhere.
func TestAPartThatDoesNotAnswerIsUnread(t *testing.T) {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &stat); err != nil {
		t.Fatal(err)
	}
	wake := make(chan struct{})
	written := make(chan struct{})
	s := &host.Snapshot{Sysctls: map[string]string{}}
	r := &reader{ns: Namespace{inode: uint32(stat.Ino), path: "/proc/self/ns/net"}, ctx: context.Background(), options: Options{PartTime: 10 * time.Millisecond}, s: s}
	r.read([]part{
		{name: host.PartLinks, read: func(r *reader) error { r.s.Links = []host.Link{{Name: "eth0"}}; return nil }},
		{name: host.PartSysctls, read: func(r *reader) error {
			<-wake
			r.s.Sysctls["net/ipv4/ip_forward"], r.s.Links = "1", nil
			close(written)
			return nil
		}},
		{name: host.PartRoutes, read: func(r *reader) error { return errors.New("not permitted here") }},
		{name: host.PartRules, read: func(r *reader) error { r.s.Rules = []host.Rule{{Priority: uint32(len(r.s.Links))}}; return nil }},
	})
	close(wake)
	<-written
	want := []host.Unread{{Part: host.PartSysctls, Why: "nothing came in 10ms"}, {Part: host.PartRoutes, Why: "not permitted here"}}
	if !slices.Equal(s.Unread, want) {
		t.Errorf("got %v, want %v", s.Unread, want)
	}
	if len(s.Links) != 1 || len(s.Sysctls) != 0 || len(s.Rules) != 1 || s.Rules[0].Priority != 1 {
		t.Errorf("%+v", s)
	}
}

// TestWhatIsOfVIPsIsReadAnew: the rest stays as it was read, and what could not be read of it.
func TestWhatIsOfVIPsIsReadAnew(t *testing.T) {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &stat); err != nil {
		t.Fatal(err)
	}
	s := &host.Snapshot{
		Links: []host.Link{{Name: "kept"}}, Sockets: []host.Socket{{Proto: "gone"}}, Sysctls: map[string]string{"kept": "1"},
		Unread: []host.Unread{{Part: host.PartNft, Why: "kept"}, {Part: host.PartSockets, Why: "gone"}},
	}
	Narrow(context.Background(), s, Namespace{inode: uint32(stat.Ino), path: "/proc/self/ns/net"}, Options{PartTime: time.Minute})
	isGone := func(x host.Socket) bool { return x.Proto == "gone" }
	if len(s.Links) != 1 || s.Sysctls["kept"] != "1" || slices.ContainsFunc(s.Sockets, isGone) || s.Unread[0].Why != "kept" {
		t.Errorf("%+v", s)
	}
	if slices.ContainsFunc(s.Unread, func(u host.Unread) bool { return u.Why == "gone" }) {
		t.Errorf("unread %v", s.Unread)
	}
}
