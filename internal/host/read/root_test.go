package read

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// rootOf is a root with these files.
func rootOf(t *testing.T, files map[string]string) root {
	t.Helper()
	dir := root(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(dir.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir.path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestANamespaceIsFoundByNameOrProcess has a way into a namespace be a file of that inode number.
func TestANamespaceIsFoundByNameOrProcess(t *testing.T) {
	files := rootOf(t, map[string]string{"/run/netns/web": "", "/proc/7/ns/net": "", "/proc/8/task/9/ns/net": "", "/proc/self/ns/net": ""})
	for path, name := range map[string]string{"/run/netns/web": "web", "/proc/7/ns/net": "", "/proc/8/task/9/ns/net": "", "/proc/self/ns/net": ""} {
		var stat unix.Stat_t
		if err := unix.Stat(files.path(path), &stat); err != nil {
			t.Fatal(err)
		}
		ns, err := files.netns(uint32(stat.Ino))
		if err != nil || ns.path != files.path(path) || ns.name != name {
			t.Errorf("%s: %v, %+v", path, err, ns)
		}
	}
	if n := len(files.namespaces(t.Context())); n != 3 {
		t.Errorf("%d namespaces; a thread's own is only found when it is looked for", n)
	}
}

// TestModulesAreThoseThatAreLoadedOrBuiltIn reads kernels of which less and less can be read.
func TestModulesAreThoseThatAreLoadedOrBuiltIn(t *testing.T) {
	files := rootOf(t, map[string]string{
		"/proc/modules": "ipip 20480 0 - Live 0x0\n", "/sys/module/ipip/refcnt": "0\n", "/proc/sys/kernel/osrelease": "6.1.0-test\n",
		"/lib/modules/6.1.0-test/modules.builtin": "kernel/net/ipv4/tunnel4.ko\nkernel/net/netfilter/xt-odd.ko\n",
	})
	for _, c := range []struct{ gone, names, sit, err string }{
		{"", "ipip tunnel4 xt_odd", "absent", ""},
		{"/lib", "ipip", "unknown", ""},
		{"/sys", "ipip", "unknown", "no such file"},
		{"/proc", "", "there", "no such file"},
	} {
		if c.gone != "" {
			if err := os.RemoveAll(files.path(c.gone)); err != nil {
				t.Fatal(err)
			}
		}
		m, err := files.modules()
		there, unsure := m.has("sit")
		sit := map[bool]string{true: "there", false: "absent"}[there]
		if unsure != nil {
			sit = "unknown"
		}
		if got := strings.Join(m.names, " "); got != c.names || sit != c.sit || (err == nil) != (c.err == "") {
			t.Errorf("without %s: %s, sit is %s: %v; %v", c.gone, got, sit, unsure, err)
		}
	}
}
