package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How large the machine is on which doctor is measured, and what it may take: its time against what the programs themselves
// take that list rules, routes and sockets, and its memory in KiB.
const (
	manyRules, manyRoutes, manyDevices = 50_000, 50_000, 5_000
	manyDestinations, manySockets      = 10_000, 20_000
	mostTimes, mostMemory              = 3, 256 << 10
	largeVIP, largeDirected            = "10.99.0.1", "10.99.0.2"
	largeDoctor                        = 10 * time.Minute
)

// large makes this machine a large one, and measures doctor on it. It undoes nothing: a guest ends with it. What the programs take is
// measured in the same guest, right before: an emulated one is ten times as slow as others, and more where it is not alone.
func (o options) large(ctx context.Context, r *report) error {
	var held []net.Listener // one that nobody holds is closed
	defer func() { runtime.KeepAlive(held) }()
	sockets := func(ctx context.Context) (err error) {
		held, err = sockets(ctx)
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"a real server and a director in one", simple}, {"devices", devices}, {"routes", routes}, {"rules", rules}, {"real servers", destinations}, {"sockets", sockets},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		r.note("%s made in %v", step.what, time.Since(began).Round(time.Second))
	}
	var listing time.Duration
	for _, argv := range [][]string{{"nft", "-j", "list", "ruleset"}, {"ip", "-j", "route", "show", "table", "all"}, {"ss", "-Hant"}} {
		took, memory, _, err := measured(ctx, argv)
		if err != nil {
			return err
		}
		listing += took
		r.note("%s took %v and %d MiB", strings.Join(argv, " "), took.Round(time.Millisecond), memory>>10)
	}
	took, memory, out, err := measured(ctx, []string{
		o.ipiptrace, "doctor", "-v", "--vip", largeVIP + "," + largeDirected, "--port", "80", "--client", "203.0.113.0/24", "--director", "10.0.0.2",
	})
	lines := strings.Split(strings.TrimSpace(out), "\n")
	r.note("doctor took %v and %d MiB: %s", took.Round(time.Millisecond), memory>>10, lines[len(lines)-1])
	for _, line := range lines {
		if strings.HasPrefix(line, "the state was read") || strings.HasPrefix(line, "it was asked") || strings.HasPrefix(line, "fault") || strings.Contains(line, "  ? ") {
			r.note("%s", line)
		}
	}
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return fmt.Errorf("doctor: %w: %s", err, out)
	}
	var slow, big, late error
	if times := took.Seconds() / listing.Seconds(); times > mostTimes {
		slow = fmt.Errorf("%.1f times what the programs take, more than %d", times, mostTimes)
	}
	if memory > mostMemory {
		big = fmt.Errorf("%d MiB, more than %d", memory>>10, mostMemory>>10)
	}
	if i := slices.IndexFunc(lines, ranOut); i >= 0 {
		late = errors.New(lines[i])
	}
	r.check("doctor/large/time", slow)
	r.check("doctor/large/memory", big)
	r.check("doctor/large/whole", late)
	return nil
}

// ranOut reports whether a line says that something was not read, or not asked, because its time was over.
func ranOut(line string) bool {
	return strings.Contains(line, "there was no time left") || strings.Contains(line, "took longer than") || strings.Contains(line, "nothing came in")
}

// measured runs a program and returns how long it took, and the most memory that it itself had, in KiB.
func measured(ctx context.Context, argv []string) (took time.Duration, memory int64, out string, err error) {
	ctx, cancel := context.WithTimeout(ctx, largeDoctor)
	defer cancel()
	var text bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &text, &text
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, "", err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return time.Since(began), memory, text.String(), err
		case <-tick.C:
			memory = max(memory, peak(cmd.Process.Pid))
		}
	}
}

// peak is the most memory that a process has had, in KiB: of it alone, without those that it has started.
func peak(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n
}

// fed runs a program with lines on its standard input.
func fed(ctx context.Context, lines string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.300s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// batch is a line for each number below n, with an address counted up from the first.
func batch(n int, first, format string) string {
	var b strings.Builder
	a := netip.MustParseAddr(first)
	for range n {
		fmt.Fprintf(&b, format+"\n", a)
		a = a.Next()
	}
	return b.String()
}

func simple(ctx context.Context) error {
	if err := fed(ctx, "", "modprobe", "-a", "ipip", "ip_vs", "ip_vs_rr", "dummy", "veth", "nf_tables", "inet_diag", "tcp_diag", "udp_diag"); err != nil {
		return err
	}
	return fed(ctx, strings.Join([]string{
		"link add w0 type veth peer name w1", "link set w0 up", "link set w1 up", "link set lo up", "link set tunl0 up", "addr add 10.0.0.11/24 dev w0",
		"route add default via 10.0.0.1 dev w0", "addr add " + largeVIP + "/32 dev tunl0", "addr add " + largeDirected + "/32 dev lo",
	}, "\n")+"\n", "ip", "-batch", "-")
}

func devices(ctx context.Context) error {
	var b strings.Builder
	for i := range manyDevices {
		fmt.Fprintf(&b, "link add d%d type dummy\n", i)
	}
	return fed(ctx, b.String(), "ip", "-batch", "-")
}

func routes(ctx context.Context) error {
	return fed(ctx, batch(manyRoutes, "11.0.0.1", "route add %s via 10.0.0.1 dev w0"), "ip", "-batch", "-")
}

func rules(ctx context.Context) error {
	return fed(ctx, "table inet large {\n chain in {\n type filter hook input priority filter; policy accept;\n"+
		batch(manyRules, "12.0.0.1", "ip saddr %s tcp dport 80 drop")+"}\n}\n", "nft", "-f", "-")
}

func destinations(ctx context.Context) error {
	service := largeDirected + ":80"
	return fed(ctx, "-A -t "+service+" -s rr\n"+batch(manyDestinations, "13.0.0.1", "-a -t "+service+" -r %s:80 -i -w 1"), "ipvsadm", "-R")
}

// sockets listen, the service's among them.
func sockets(ctx context.Context) (held []net.Listener, err error) {
	const files = manySockets + 1024
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}); err != nil {
		return nil, err
	}
	a := netip.MustParseAddr("127.1.0.1")
	listen := func(at string) error {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", at)
		held = append(held, l)
		return err
	}
	for range manySockets {
		if err := listen(netip.AddrPortFrom(a, 81).String()); err != nil {
			return held, err
		}
		a = a.Next()
	}
	return held, listen("0.0.0.0:80")
}
