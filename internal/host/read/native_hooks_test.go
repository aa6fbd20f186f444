//go:build native

package read

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// TestGuestHooksAreListedInTheOrderInWhichTheyRun makes two chains of one priority, each of which counts a packet and
// drops it: the one that has counted is the kernel's first, and it must be the first of the kernel's list
// (nfnl_hook_dump). It needs root, the commands ip and nft, and a kernel that lists hooks: `make test-hooks` boots two.
func TestGuestHooksAreListedInTheOrderInWhichTheyRun(t *testing.T) {
	for _, test := range []struct {
		at       host.NfHook
		families []string
	}{
		{host.NfHook{Family: "ip", Hook: "input"}, []string{"ip", "ip"}},
		{host.NfHook{Family: "ip", Hook: "output"}, []string{"ip", "inet"}},
		{host.NfHook{Family: "ip", Hook: "output"}, []string{"inet", "ip"}},
		{host.NfHook{Family: "netdev", Hook: "ingress", Device: "lo"}, []string{"netdev", "netdev"}},
		{host.NfHook{Family: "netdev", Hook: "egress", Device: "lo"}, []string{"netdev", "netdev"}},
	} {
		t.Run(test.at.Hook+" "+strings.Join(test.families, " "), func(t *testing.T) {
			o := orderOf(t.Context(), test.at, test.families)
			switch {
			case o.err != nil:
				t.Fatal(o.err)
			case !slices.Equal(o.listed, []string{"t1", "t0"}), o.first != "t1":
				t.Errorf("the kernel lists %v, and runs %s first", o.listed, o.first)
			}
			t.Logf("the kernel lists %v, and runs %s first", o.listed, o.first)
		})
	}
}

// order is that of the tables t0 and t1, which was made later.
type order struct {
	listed []string
	first  string
	err    error
}

// orderOf makes the chains in a network namespace of its own and sends a packet through them.
func orderOf(ctx context.Context, at host.NfHook, families []string) (o order) {
	done := make(chan bool)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its namespace
		defer close(done)
		if o.err = unix.Unshare(unix.CLONE_NEWNET); o.err == nil {
			o.lookInto(ctx, at, families)
		}
	}()
	<-done
	return o
}

func (o *order) lookInto(ctx context.Context, at host.NfHook, families []string) {
	run := func(argv ...string) string {
		text, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
		if err != nil && o.err == nil {
			o.err = fmt.Errorf("%v: %w: %s", argv, err, text)
		}
		return string(text)
	}
	run("ip", "link", "set", "lo", "up")
	for i, family := range families {
		device := ""
		if at.Device != "" {
			device = "device " + at.Device
		}
		run("nft", fmt.Sprintf("table %s t%d { chain c { type filter hook %s %s priority 0; udp dport 9 counter drop; }; }", family, i, at.Hook, device))
	}
	calls, err := callsAt(at)
	if err != nil {
		o.err = fmt.Errorf("the kernel lists no hooks: %w", err)
		return
	}
	for _, c := range calls {
		if c.Priority == 0 && strings.HasPrefix(c.Table, "t") {
			o.listed = append(o.listed, c.Table)
		}
	}
	if c, err := net.Dial("udp4", "127.0.0.1:9"); err == nil {
		_, _ = c.Write([]byte("x")) // a hook at the sender's side says that it is not permitted
		c.Close()
	}
	for i, family := range families {
		if table := fmt.Sprintf("t%d", i); strings.Contains(run("nft", "list", "table", family, table), "counter packets 1 ") {
			o.first += table
		}
	}
}
