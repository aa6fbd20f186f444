//go:build native

package read

import (
	"context"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// TestNativeChainsHaveTheirDevices, which nft 1.0.6 leaves out of its JSON. It needs root and the command nft.
func TestNativeChainsHaveTheirDevices(t *testing.T) {
	const rules = `
		table netdev a { chain one { type filter hook ingress device lo priority 0; }; }
		table netdev b { chain two { type filter hook ingress devices = { lo, t0 } priority 0; }; chain none { counter; }; }
		table inet c { chain in { type filter hook input priority 0; }; }`
	want := map[string][]string{"one": {"lo"}, "two": {"lo", "t0"}}
	done := make(chan error)
	var s host.Snapshot
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = exec.CommandContext(t.Context(), "ip", "tuntap", "add", "t0", "mode", "tun").Run()
		}
		if err == nil {
			cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
			cmd.Stdin = strings.NewReader(rules)
			err = cmd.Run()
		}
		if err == nil {
			r := &reader{ctx: context.Background(), files: machine, run: execute(runTime), kernel: running(), s: &s, modules: modules{names: []string{"nf_tables"}}}
			err = r.nft()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, table := range s.Nft {
		for _, c := range table.Chains {
			if len(c.Devices) > 0 {
				got[c.Name] = c.Devices
			}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}
