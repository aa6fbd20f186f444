package vm

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

//go:embed init.sh
var initScript string

// tool is a program of this machine that the guest gets.
type tool struct {
	name string // found through PATH and the sbin directories
	pack string // the Debian package to install when it is missing; "" is optional
}

var tools = []tool{
	{"busybox", "busybox-static"},
	{"sh", "dash"}, // busybox's own shell runs its own ip and tc whatever PATH says
	{"ip", "iproute2"}, {"tc", "iproute2"}, {"ss", "iproute2"}, {"bridge", "iproute2"}, {"nstat", "iproute2"},
	{"nft", "nftables"},
	{"xtables-legacy-multi", "iptables"}, {"xtables-nft-multi", "iptables"},
	{"ipvsadm", "ipvsadm"},
	{"bash", ""}, {"sysctl", ""}, {"nsenter", ""}, {"unshare", ""},
	{"tcpdump", ""}, {"conntrack", ""}, {"ethtool", ""}, {"ping", ""}, {"arping", ""},
	{"bpftool", ""},
}

// multiCall programs are several tools in one; the guest gets every name that
// this machine has for them.
var multiCall = []string{"xtables-legacy-multi", "xtables-nft-multi"}

// settings are files and folders the tools read; those that are missing here are
// missing there.
var settings = []string{
	"/etc/protocols", "/etc/services", "/etc/ethertypes",
	"/etc/iproute2", "/usr/share/iproute2", "/usr/lib/tc", "/usr/share/tcpdump",
}

// texts are files the guest has of its own.
var texts = map[string]string{
	"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"etc/group":         "root:x:0:\nnogroup:x:65534:\n",
	"etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
	"etc/os-release":    "ID=ipiptrace-guest\nPRETTY_NAME=\"ipiptrace guest\"\n",
}

// root assembles what the guest sees.
func root(g Guest, image Image) (tree, error) {
	t := tree{}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "run", "root", "out", "mnt", "var/lib", "var/log"} {
		t.dir(dir)
	}
	for _, dir := range merged {
		t.link(dir, "usr/"+dir)
		t.dir("usr/" + dir)
	}
	t.link("var/run", "../run")
	t.link("var/tmp", "../tmp")
	t.link("etc/mtab", "../proc/self/mounts")
	for name, content := range texts {
		t.text(name, content)
	}
	for _, name := range settings {
		if err := t.copy(name, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	steps := []func() error{t.addTools, t.addXtables, func() error { return t.addModules(image) },
		func() error { return t.addFiles(g.Files) }, t.addLibraries}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	t.script("init", initScript)
	t.script("etc/vm/command", commandScript(g))
	t.text("etc/vm/settings", settingsScript(g))
	return t, nil
}

// addTools copies the tools, and names busybox after everything that isn't there
// for real.
func (t tree) addTools() error {
	real := map[string]bool{}
	for _, tool := range tools {
		host, err := find(tool.name)
		if err != nil {
			if tool.pack != "" {
				return err
			}
			continue
		}
		real[tool.name] = true
		if err := t.copy(host, host); err != nil {
			return err
		}
	}
	busybox, err := find("busybox")
	if err != nil {
		return err
	}
	applets, err := output(context.Background(), "", busybox, "--list-full")
	if err != nil {
		return err
	}
	for name := range strings.Lines(string(applets)) {
		name = strings.TrimSpace(name)
		if !real[path.Base(name)] {
			t.link(name, busybox)
		}
	}
	return nil
}

// addXtables adds iptables' many names and the extensions it loads.
func (t tree) addXtables() error {
	for _, multi := range multiCall {
		host, err := find(multi)
		if err != nil {
			return err
		}
		entries, err := os.ReadDir(filepath.Dir(host))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			name := filepath.Join(filepath.Dir(host), entry.Name())
			if entry.Type()&fs.ModeSymlink == 0 {
				continue
			}
			if target, err := filepath.EvalSymlinks(name); err == nil && filepath.Base(target) == multi {
				t.link(name, host)
			}
		}
	}
	extensions, err := filepath.Glob("/usr/lib/*/xtables")
	if err != nil {
		return err
	}
	for _, dir := range extensions {
		if err := t.copy(dir, dir); err != nil {
			return err
		}
	}
	return nil
}

func (t tree) addFiles(files map[string]string) error {
	for guest, host := range files {
		if err := t.copy(guest, host); err != nil {
			return err
		}
	}
	return nil
}

// addLibraries adds what the programs copied so far need, all to /usr/lib, where
// the loader looks without being told.
func (t tree) addLibraries() error {
	ld := libraries{libraryDirs()}
	found := map[string]string{}
	for _, n := range t {
		if n.host == "" || !mayBeELF(n) {
			continue
		}
		if err := ld.add(found, n.host); err != nil {
			return err
		}
	}
	for soname, host := range found {
		name := soname
		if !path.IsAbs(name) {
			name = path.Join("usr/lib", soname)
		}
		if err := t.copy(name, host); err != nil {
			return err
		}
	}
	return nil
}

// mayBeELF spares opening the settings and the kernel's modules.
func mayBeELF(n node) bool {
	return n.mode&0o111 != 0 || strings.Contains(filepath.Base(n.host), ".so")
}

// commandScript is what init runs: the environment, the directory, the command.
func commandScript(g Guest) string {
	var s strings.Builder
	for _, variable := range g.Env {
		fmt.Fprintf(&s, "export %s\n", quote(variable))
	}
	dir := g.Dir
	if dir == "" {
		dir = "/root"
	}
	fmt.Fprintf(&s, "cd %s || exit 127\nexec", quote(dir))
	command := g.Command
	if len(command) == 0 {
		command = []string{"sh", "-c", "command -v bash >/dev/null && exec bash -l; exec sh -l"}
	}
	for _, word := range command {
		s.WriteString(" " + quote(word))
	}
	return s.String() + "\n"
}

// settingsScript is what init reads first.
func settingsScript(g Guest) string {
	var s strings.Builder
	fmt.Fprintf(&s, "modules=%s\n", quote(strings.Join(bootModules, " ")))
	if g.Out != "" {
		s.WriteString("out_wanted=yes\n")
	}
	if g.Terminal != nil {
		fmt.Fprintf(&s, "terminal='sane rows %d cols %d'\nexport TERM=%s\n", g.Terminal.Rows, g.Terminal.Columns, quote(g.Terminal.Type))
	}
	return s.String()
}

// quote makes one word of s for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// find looks for a program where administrators' programs are, too.
func find(name string) (string, error) {
	if host, err := exec.LookPath(name); err == nil {
		return filepath.Abs(host)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if host, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return host, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}
