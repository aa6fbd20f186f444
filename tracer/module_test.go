package tracer

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"ipiptrace/tracer/event"
)

func TestAMessageIsOfAModuleOnlyIfItIsOfTheModuleItself(t *testing.T) {
	for message, want := range map[string][2]string{
		"add@/module/ipip\x00ACTION=add\x00DEVPATH=/module/ipip\x00": {"add", "ipip"},
		"remove@/module/ip_vs\x00":                                   {"remove", "ip_vs"},
		"add@/module/ipip/drivers/x\x00":                             {},
		"add@/devices/virtual/net/tunl0\x00":                         {},
		"libudev\x00\xfe\xed":                                        {},
		"":                                                           {},
	} {
		if action, module := parseUevent([]byte(message)); action != want[0] || module != want[1] {
			t.Errorf("%q is %s of %q, want %q", message, action, module, want)
		}
	}
}

func TestAPlaceInAModuleThatIsNotThereSaysSo(t *testing.T) {
	at := candidate{probe: probe{place: event.IPVSIn, module: "ip_vs"}}
	for err, want := range map[error]string{
		notLoaded{"ip_vs"}: "module ip_vs is not loaded",
		errors.Join(notLoaded{"ip_vs"}, os.ErrNotExist): "module ip_vs is not loaded",
		os.ErrNotExist:   "not in this kernel", // loaded, and without such a function
		os.ErrPermission: "refused by the kernel",
		errors.Join(os.ErrPermission, errors.New("checking trace event x: neither debugfs nor tracefs are mounted")): "tracefs is not mounted",
		cameLate{"ipip"}: "module ipip came after the privileges to watch it were given up",
	} {
		if row := (watching{candidate: at, err: err}).row(); row.Why != want {
			t.Errorf("%v: %q, want %q", err, row.Why, want)
		}
	}
}

func TestAModuleThatIsBuiltInIsNotMissing(t *testing.T) {
	evaluates := &btf.Func{Name: "nft_immediate_eval", Type: &btf.FuncProto{Return: &btf.Void{}}, Linkage: btf.StaticFunc}
	b, err := btf.NewBuilder([]btf.Type{evaluates}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	types, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	p := &programs{kernel: &kernel{types: types}}
	const module = "no_module_is_called_so" // no test depends on what this machine has loaded
	for what, test := range map[string]struct {
		place probe
		away  bool
	}{
		"built in":                       {probe{symbols: []string{"nft_immediate_eval"}, module: module}, false},
		"built in, under the other name": {probe{symbols: []string{"nft_old_eval", "nft_immediate_eval"}, module: module}, false},
		"not loaded":                     {probe{symbols: []string{"ip_vs_schedule"}, module: module}, true},
		"the kernel's own":               {probe{symbols: []string{"ip_rcv"}}, false},
	} {
		if away := p.isAway(test.place); away != test.away {
			t.Errorf("%s: away %v", what, away)
		}
	}
}

func TestModulesThatComeTogetherAreOneChange(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	kernel := os.NewFile(uintptr(fds[0]), "kernel")
	defer kernel.Close()
	m := modules{os.NewFile(uintptr(fds[1]), "uevents")}
	for _, message := range []string{"add@/module/dummy", "remove@/module/tunnel4", "add@/module/tunnel4", "add@/module/ip_vs", "remove@/module/ip_vs"} {
		if _, err := kernel.WriteString(message + "\x00"); err != nil {
			t.Fatal(err)
		}
	}
	c, err := m.next(map[string]bool{"tunnel4": true, "ip_vs": true, "ip_tunnel": true})
	if err != nil {
		t.Fatal(err)
	}
	if came := slices.Collect(maps.Keys(c.came)); !slices.Equal(came, []string{"tunnel4"}) {
		t.Errorf("came: %v", came)
	}
	if gone := slices.Sorted(maps.Keys(c.gone)); !slices.Equal(gone, []string{"ip_vs", "tunnel4"}) {
		t.Errorf("gone: %v: what was loaded anew has gone, too", gone)
	}
	m.close()
	if _, err := m.next(nil); err == nil {
		t.Error("there is something to wait for on a closed socket")
	}
}
