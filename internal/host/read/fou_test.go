package read

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// TestFOUPortsAreRead takes messages as fou_fill_info writes them (little-endian machines).
func TestFOUPortsAreRead(t *testing.T) {
	const (
		head = "03010000"
		gue  = head + "05000200" + "02000000" + "06000100" + "17c00000" + "06000a00" + "00000000" + "05000300" + "00000000" + "05000400" + "02000000" + "08000b00" + "00000000" + "08000600" + "00000000" + "08000800" + "00000000"
		fou  = head + "05000200" + "02000000" + "06000100" + "15b30000" + "06000a00" + "17c10000" + "05000300" + "04000000" + "05000400" + "01000000" + "08000b00" + "02000000" + "08000600" + "0a00000b" + "08000800" + "0a000002"
	)
	want := []host.FOUPort{
		{Port: 6080, Kind: "gue"},
		{Port: 5555, Kind: "fou", Proto: 4, Local: netip.MustParseAddr("10.0.0.11"), Peer: netip.MustParseAddr("10.0.0.2"), PeerPort: 6081, Link: 2},
	}
	var messages [][]byte
	for _, text := range []string{gue, fou, head, "03"} {
		m, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	r := &reader{s: &host.Snapshot{}, modules: modules{names: []string{"fou"}}, kernel: kernel{fou: func() ([][]byte, error) { return messages, nil }}}
	if err := r.fou(); err != nil || !reflect.DeepEqual(r.s.FOU, want) {
		t.Errorf("got %+v, %v, want %+v", r.s.FOU, err, want)
	}
}

// TestFOUIsAskedOnlyIfItIsThere: asking for the family loads the module.
func TestFOUIsAskedOnlyIfItIsThere(t *testing.T) {
	asked := false
	r := &reader{ctx: t.Context(), s: &host.Snapshot{}, kernel: kernel{fou: func() ([][]byte, error) { asked = true; return nil, unix.EPERM }}}
	part := []part{{name: host.PartFOU, read: (*reader).fou}}
	if r.read(part); asked || !r.s.Knows(host.PartFOU) {
		t.Errorf("without the module: asked %v, unread %v", asked, r.s.Unread)
	}
	r.modules.names = []string{"fou"}
	if r.read(part); !asked || r.s.Knows(host.PartFOU) {
		t.Errorf("with it, not permitted: asked %v, unread %v", asked, r.s.Unread)
	}
	r.s.Unread, r.modules = nil, modules{any: true}
	r.kernel.fou = func() ([][]byte, error) { return nil, unix.ENOENT }
	if r.read(part); !r.s.Knows(host.PartFOU) {
		t.Errorf("a kernel without it: unread %v", r.s.Unread)
	}
	r.modules = modules{unsure: errors.New("not permitted")}
	if r.read(part); !slices.ContainsFunc(r.s.Unread, func(u host.Unread) bool { return strings.Contains(u.Why, "fou") }) {
		t.Errorf("not known whether it is there: unread %v", r.s.Unread)
	}
}
