package vm

import (
	"bufio"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// wantedModules are the folders and modules below kernel/ that the guest gets;
// what they depend on comes along. All of them would double the time to boot.
var wantedModules = []string{
	"net/802/", "net/8021q/", "net/bridge/", "net/core/", "net/ipv4/", "net/ipv6/", "net/key/", "net/llc/",
	"net/netfilter/", "net/netlink/", "net/packet/", "net/psample/", "net/sched/", "net/unix/", "net/xfrm/",
	"drivers/net/bareudp", "drivers/net/bonding/", "drivers/net/dummy", "drivers/net/geneve", "drivers/net/ifb",
	"drivers/net/ipvlan/", "drivers/net/macvlan", "drivers/net/macvtap", "drivers/net/net_failover",
	"drivers/net/nlmon", "drivers/net/tap", "drivers/net/tun", "drivers/net/veth", "drivers/net/virtio_net",
	"drivers/net/vrf", "drivers/net/vxlan",
	"crypto/authenc", "crypto/cmac", "crypto/echainiv", "lib/ts_",
	"drivers/char/virtio_console", "drivers/char/hw_random/virtio-rng", "drivers/virtio/virtio",
}

// bootModules let the guest talk to us; init loads them before anything else.
var bootModules = []string{"virtio_pci", "virtio_console"}

// dependencies is modules.dep: module to the modules it needs, both as paths
// below the modules directory ("kernel/net/ipv4/ipip.ko").
type dependencies map[string][]string

// parseModulesDep reads what depmod(8) writes: "path: needed needed…".
func parseModulesDep(r io.Reader) (dependencies, error) {
	deps := dependencies{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		module, needs, ok := strings.Cut(lines.Text(), ":")
		if ok {
			deps[module] = strings.Fields(needs)
		}
	}
	return deps, lines.Err()
}

// closure returns, sorted, the modules whose path begins with one of the wanted
// after "kernel/", and every module they need.
func (d dependencies) closure(wanted []string) []string {
	found := map[string]bool{}
	var add func(string)
	add = func(module string) {
		if found[module] {
			return
		}
		found[module] = true
		for _, need := range d[module] {
			add(need)
		}
	}
	for module := range d {
		below := strings.TrimPrefix(module, "kernel/")
		if slices.ContainsFunc(wanted, func(w string) bool { return strings.HasPrefix(below, w) }) {
			add(module)
		}
	}
	modules := make([]string, 0, len(found))
	for module := range found {
		modules = append(modules, module)
	}
	slices.Sort(modules)
	return modules
}

// moduleName is the name modprobe(8) knows a file by: underscores, no suffix.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// addModules puts the wanted modules into the tree with an index of just them:
// modprobe reads the whole index each time, and under emulation that shows.
func (t tree) addModules(image Image) error {
	file, err := os.Open(filepath.Join(image.Modules, "modules.dep"))
	if err != nil {
		return err
	}
	defer file.Close()
	deps, err := parseModulesDep(file)
	if err != nil {
		return err
	}
	dir := path.Join("usr/lib/modules", image.Release)
	modules := deps.closure(wantedModules)
	names := map[string]bool{}
	var dep strings.Builder
	for _, module := range modules {
		names[moduleName(module)] = true
		dep.WriteString(module + ":")
		for _, need := range deps[module] {
			dep.WriteString(" " + need)
		}
		dep.WriteByte('\n')
		if err := t.copy(path.Join(dir, module), filepath.Join(image.Modules, module)); err != nil {
			return err
		}
	}
	t.text(path.Join(dir, "modules.dep"), dep.String())
	for _, index := range []string{"modules.alias", "modules.symbols", "modules.softdep"} {
		content, err := os.ReadFile(filepath.Join(image.Modules, index))
		if err != nil {
			return err
		}
		t.text(path.Join(dir, index), aliasesOf(string(content), names))
	}
	builtin, err := os.ReadFile(filepath.Join(image.Modules, "modules.builtin"))
	if err != nil {
		return err
	}
	t.text(path.Join(dir, "modules.builtin"), string(builtin))
	return nil
}

// aliasesOf keeps the lines "alias PATTERN MODULE" and "softdep MODULE …" that
// are about one of the modules.
func aliasesOf(index string, names map[string]bool) string {
	var kept strings.Builder
	for line := range strings.Lines(index) {
		field := strings.Fields(line)
		about := 2
		if len(field) > 0 && field[0] == "softdep" {
			about = 1
		}
		if len(field) > about && names[strings.ReplaceAll(field[about], "-", "_")] {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
