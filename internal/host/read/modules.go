package read

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// modules are those of the running kernel. One that is not there is not asked for: the kernel would load it.
type modules struct {
	// names are those that are loaded, those that are built in and have settings, and what modules.builtin lists besides.
	names []string
	// any: this kernel loads no modules, and may be asked for anything.
	any bool
	// unsure is why a module may be there that is not among the names, nil if none may.
	unsure error
}

// lsms are the active security modules, as securityfs lists them if it is mounted.
func (files root) lsms() []string {
	text, err := os.ReadFile(files.path("/sys/kernel/security/lsm"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(text)), ",")
}

// modules reads what /sys/module and the running kernel's modules.builtin list.
func (files root) modules() (m modules, err error) {
	loaded, err := os.ReadFile(files.path("/proc/modules"))
	m.any = errors.Is(err, os.ErrNotExist)
	entries, err := os.ReadDir(files.path("/sys/module"))
	for _, e := range entries {
		m.names = append(m.names, e.Name())
	}
	if err != nil { // in a container it may be missing
		for line := range strings.Lines(string(loaded)) {
			name, _, _ := strings.Cut(line, " ")
			m.names = append(m.names, name)
		}
	}
	builtIn, unsure := files.builtIn()
	m.names = append(m.names, builtIn...)
	if unsure != nil {
		m.unsure = fmt.Errorf("which modules are built in: %w", unsure)
	}
	switch {
	case err != nil && len(loaded) == 0:
		m.unsure = fmt.Errorf("which modules are loaded: %w", err)
	case m.unsure == nil:
		err = nil
	}
	return m, err
}

func (files root) builtIn() (names []string, err error) {
	release, err := os.ReadFile(files.path("/proc/sys/kernel/osrelease"))
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(files.path("/lib/modules", strings.TrimSpace(string(release)), "modules.builtin"))
	for path := range strings.Lines(string(list)) {
		name := strings.TrimSuffix(filepath.Base(strings.TrimSpace(path)), ".ko")
		names = append(names, strings.ReplaceAll(name, "-", "_"))
	}
	return names, err
}

// wanted are the modules that commands load. Each has settings, so that /sys/module lists it where it is built in.
var wanted = []string{"ipip", "ip_vs"}

// absent are the wanted modules that this kernel can't get: it loads none, or the running release has none of that name on disk.
// Where that can't be read, as in a container, nothing is said.
func (files root) absent(m modules) map[string]string {
	if m.unsure != nil && !m.any {
		return nil
	}
	absent := map[string]string{}
	var onDisk string
	if !m.any {
		release, err := os.ReadFile(files.path("/proc/sys/kernel/osrelease"))
		list, err2 := os.ReadFile(files.path("/lib/modules", strings.TrimSpace(string(release)), "modules.dep"))
		if err != nil || err2 != nil || len(list) == 0 {
			return nil
		}
		onDisk = "\n" + string(list)
	} else if _, err := os.Stat(files.path("/sys/module")); err != nil {
		return nil
	}
	for _, name := range wanted {
		switch {
		case slices.Contains(m.names, name):
		case m.any:
			absent[name] = "it loads no modules, and none of that name is built in"
		case !strings.Contains(onDisk, "/"+name+".ko"):
			absent[name] = "no module of that name is in its modules.dep"
		}
	}
	return absent
}

// has reports whether a module is there; the error says why that is not known.
func (m modules) has(module string) (bool, error) {
	switch {
	case m.any, slices.Contains(m.names, module):
		return true, nil
	case m.unsure != nil:
		return false, fmt.Errorf("it is not known whether %s is there: %w", module, m.unsure)
	}
	return false, nil
}
