package vm

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestMirrorIsTheOneThisMachineUses(t *testing.T) {
	const (
		updated = `https://vendor.example/apt tools Vendor
http://proxy.example/repo-1/ bookworm Debian
http://proxy.example/repo-1/ bookworm-updates Debian
http://proxy.example/repo-2/ bookworm-security Debian-Security
`
		fresh = `https://vendor.example/apt tools $(LABEL)
http://mirror.example/debian bookworm $(LABEL)
http://mirror.example/debian-security bookworm-security $(LABEL)
`
		mainOnly = "http://mirror.example/debian bookworm Debian\n"
	)
	for _, test := range []struct {
		name, targets string
		security      bool
		want          string
	}{
		{"the label tells, whatever the address", updated, false, "http://proxy.example/repo-1"},
		{"security updates are another archive", updated, true, "http://proxy.example/repo-2"},
		{"before the first update the folder tells", fresh, false, "http://mirror.example/debian"},
		{"before the first update, security", fresh, true, "http://mirror.example/debian-security"},
		{"security beside main where it isn't set up", mainOnly, true, "http://mirror.example/debian-security"},
		{"no Debian", "https://vendor.example/apt tools Vendor\n", false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := chooseMirror(test.targets, test.security); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestKernelIsAllItsPackages(t *testing.T) {
	const depends = `linux-image-7.3.4-cloud-amd64
  PreDepends: linux-base
 |Depends: dracut
  Depends: initramfs-tools
  Depends: linux-base-7.3.4-cloud-amd64
  Depends: linux-binary-7.3.4-cloud-amd64
  Depends: linux-modules-7.3.4-cloud-amd64
`
	want := []string{"linux-base-7.3.4-cloud-amd64", "linux-binary-7.3.4-cloud-amd64", "linux-modules-7.3.4-cloud-amd64"}
	if got := kernelDepends([]byte(depends)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKernelIsFoundWhereEachReleasePutsIt(t *testing.T) {
	for name, place := range map[string]string{
		"beside its modules' parent, up to 6.x": "boot/vmlinuz-6.1.0-1",
		"among its modules, from 7.x on":        "lib/modules/6.1.0-1/vmlinuz",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{place, "lib/modules/6.1.0-1/modules.dep"} {
				os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755)
				os.WriteFile(filepath.Join(dir, file), nil, 0o644)
			}
			want := Image{"6.1.0-1", filepath.Join(dir, place), filepath.Join(dir, "lib/modules/6.1.0-1")}
			if got, err := unpacked(dir); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

func TestHalfAKernelIsNone(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "lib/modules/6.1.0-1"), 0o755)
	if image, err := unpacked(dir); err == nil {
		t.Errorf("got %+v", image)
	}
}

func TestOneProcessFetchesAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path, progress{})
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() {
		unlock, err := lock(path, progress{})
		if err == nil {
			unlock()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatal("the second had the lock while the first held it:", err)
	case <-time.After(20 * time.Millisecond):
	}
	unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
}
