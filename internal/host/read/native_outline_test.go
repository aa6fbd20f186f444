//go:build native

package read

import (
	"errors"
	"os/exec"
	"reflect"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// TestNativeRulesAreOutlined: the kernel lists the rules of a chain one after the other, in the order of evaluation. It
// needs root and the command nft.
func TestNativeRulesAreOutlined(t *testing.T) {
	const rules = `
		table ip a { chain c { type filter hook input priority 0; counter; }; chain d { counter; counter; }; }
		table inet b { chain c { ip saddr { 10.0.0.1, 10.0.0.2 } drop; counter; }; }
		insert rule inet b c accept`
	want := []host.NftOutline{
		{Family: "ip", Table: "a", Chain: "c", Handles: []uint64{3}}, {Family: "ip", Table: "a", Chain: "d", Handles: []uint64{4, 5}},
		{Family: "inet", Table: "b", Chain: "c", Handles: []uint64{5, 3, 4}},
	}
	done := make(chan error)
	var got []host.NftOutline
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			var text []byte
			if text, err = exec.CommandContext(t.Context(), "nft", rules).CombinedOutput(); err != nil {
				err = errors.Join(err, errors.New(string(text)))
			}
		}
		if err == nil {
			got, err = outlineRules()
		}
		done <- err
	}()
	if err := <-done; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}
