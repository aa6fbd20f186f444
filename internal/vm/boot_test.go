//go:build vm

package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var kernel = flag.String("kernel", "6.1", "the kernel to boot")

// run boots a guest for one shell script.
func run(t *testing.T, g Guest, script string) (code int, stdout, stderr string, err error) {
	t.Helper()
	if err := Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	var out, errors bytes.Buffer
	g.Kernel, g.Command, g.Progress = *kernel, []string{"sh", "-c", script}, os.Stderr
	g.Stdout, g.Stderr = &out, &errors
	code, err = Run(t.Context(), g)
	return code, out.String(), errors.String(), err
}

func TestGuestHandsOverExactlyWhatTheCommandDid(t *testing.T) {
	random := make([]byte, 3<<20)
	rand.New(rand.NewSource(1)).Read(random)
	in := t.TempDir()
	if err := os.WriteFile(filepath.Join(in, "file"), []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	g := Guest{Stdin: bytes.NewReader(random), Files: map[string]string{"/in": in}, Out: out, Env: []string{"WORD=two words"}}
	code, stdout, stderr, err := run(t, g, `cat; echo "$WORD" >&2; sleep 1000 & mkdir /out/sub; cp /in/file /out/sub; exit 42`)
	if err != nil {
		t.Fatal(err)
	}
	if code != 42 {
		t.Errorf("exit code %d, want 42", code)
	}
	if sha256.Sum256([]byte(stdout)) != sha256.Sum256(random) {
		t.Errorf("stdout is %d bytes and not what stdin was, %d bytes", len(stdout), len(random))
	}
	if stderr != "two words\n" {
		t.Errorf("stderr %q", stderr)
	}
	if content, err := os.ReadFile(filepath.Join(out, "sub/file")); err != nil || string(content) != "from the host" {
		t.Errorf("/out/sub/file: %q, %v", content, err)
	}
}

func TestGuestHasWhatTheLabNeeds(t *testing.T) {
	code, stdout, stderr, err := run(t, Guest{}, `set -e
		modprobe ipip; modprobe sit; modprobe ip_vs
		ip link show tunl0
		ipvsadm -A -t 10.99.0.1:80 -s rr
		ip netns add a; ip link add va type veth peer name vb netns a
		nft add table ip t; nft 'add chain ip t c { type filter hook input priority 0; }'
		nft add rule ip t c tcp dport 81 ct state new counter reject
		iptables-legacy -A INPUT -p tcp --dport 99 -m conntrack --ctstate NEW -j REJECT
		iptables-nft -A INPUT -m limit --limit 1/s -j DROP
		iptables-legacy -t mangle -A PREROUTING -p tcp -j NFQUEUE --queue-num 3
		ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir in action block
		tc qdisc add dev va root netem loss 10%
		tc qdisc add dev va clsact; tc filter add dev va ingress matchall action drop
		ip link add br0 type bridge; ip link add mv0 link br0 type macvlan; ip link add vrf0 type vrf table 10
		sysctl -w net.ipv4.conf.tunl0.rp_filter=2
		ss -tln; test -e /sys/kernel/tracing/events; test -e /sys/kernel/btf/vmlinux; test -d /sys/fs/bpf; test -e /sys/fs/cgroup/cgroup.procs`)
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v\n%s\n%s", code, err, stdout, stderr)
	}
}

func TestGuestThatHangsEndsWithTheContext(t *testing.T) {
	if err := Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(t.Context(), *kernel, os.Stderr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	start := time.Now()
	_, err := Run(ctx, Guest{Kernel: *kernel, Command: []string{"sleep", "1000"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestGuestThatPanicsLeavesItsLastWords(t *testing.T) {
	_, stdout, _, err := run(t, Guest{}, "echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 1000")
	var died *DiedError
	if !errors.As(err, &died) || !strings.Contains(died.Console, "sysrq triggered crash") {
		t.Errorf("got %v", err)
	}
	if stdout != "before\n" {
		t.Errorf("stdout %q", stdout)
	}
}

func TestGuestSpeaksPromptly(t *testing.T) {
	if err := Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	heard := errors.New("heard")
	_, err := Run(ctx, Guest{Kernel: *kernel, Command: []string{"sh", "-c", "echo here; sleep 1000"},
		Stdout: writerFunc(func(p []byte) { cancel(fmt.Errorf("%w %q", heard, p)) })})
	if !errors.Is(err, heard) || !strings.Contains(err.Error(), `"here\n"`) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestTerminalIsOne(t *testing.T) {
	if err := Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	keyboard, typed := io.Pipe()
	var screen bytes.Buffer
	g := Guest{Kernel: *kernel, Command: []string{"sh", "-c", "tty; stty size; echo $TERM; read word; echo got $word; exit 5"},
		Stdin: keyboard, Stdout: &screen,
		Terminal: &Terminal{Rows: 33, Columns: 111, Type: "xterm", Opened: func() { go io.WriteString(typed, "hello\r") }}}
	code, err := Run(t.Context(), g)
	if err != nil || code != 5 {
		t.Errorf("exit code %d, %v", code, err)
	}
	for _, want := range []string{"/dev/hvc0\r\n", "33 111\r\n", "xterm\r\n", "got hello\r\n"} {
		if !strings.Contains(screen.String(), want) {
			t.Errorf("%q lacks %q", screen.String(), want)
		}
	}
}
