package read

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// `make fixtures` collects in a guest of each kernel, see testdata/collect.sh.
var (
	collect = flag.String("collect", "", "write what is read of a namespace's files, of programs and of the kernel into this archive")
	from    = flag.String("netns", "", "the path of that namespace")
)

// TestCollect makes a fixture of a namespace of this machine.
func TestCollect(t *testing.T) {
	if *collect == "" {
		return // -collect asks for it
	}
	var stat unix.Stat_t
	if err := unix.Stat(*from, &stat); err != nil {
		t.Fatalf("-netns %s: %v", *from, err)
	}
	ns := Namespace{files: machine, inode: uint32(stat.Ino), path: *from}
	c := &collection{archive: new(txtar.Archive)}
	if err := ns.on(func() error { return c.all(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(c.archive.Files, func(a, b txtar.File) int { return strings.Compare(a.Name, b.Name) })
	if err := os.WriteFile(*collect, txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// collection is a fixture that is being made.
type collection struct{ archive *txtar.Archive }

func (c *collection) add(name string, data []byte) {
	if !slices.ContainsFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == name }) {
		c.archive.Files = append(c.archive.Files, txtar.File{Name: name, Data: data})
	}
}

// all reads the stored parts and keeps what programs and the kernel say, then the files.
func (c *collection) all(ctx context.Context) error {
	r, err := storedReader(ctx, machine, c.keep(execute(runTime)))
	if err != nil {
		return err
	}
	r.kernel.entries = func(table string) (uint32, error) {
		n, err := legacyEntries(table)
		c.add(entries+table, fmt.Appendln(nil, n))
		return n, err
	}
	r.kernel.sets = func(ctx context.Context) ([]nftSet, error) {
		all, err := countSets(ctx)
		var text []byte
		for _, s := range all {
			text = fmt.Appendln(text, s.family, s.table, s.name, s.isMap, s.elements)
		}
		c.add(sets, text)
		return all, err
	}
	r.kernel.calls = func(h host.NfHook) ([]host.NfCallee, error) {
		all, err := callsAt(h)
		if text, _ := json.Marshal(all); err == nil {
			c.add(calls+h.Family+"/"+h.Hook+"/"+h.Device, append(text, '\n'))
		}
		return all, err
	}
	if r.read(stored); len(r.s.Unread) > 0 {
		return fmt.Errorf("unread: %v", r.s.Unread)
	}
	c.files(r)
	return nil
}

// keep runs programs and keeps what they write.
func (c *collection) keep(run runner) runner {
	return func(ctx context.Context, paths, args []string, take func(io.Reader) error) error {
		var all bytes.Buffer
		err := run(ctx, paths, args, func(from io.Reader) error { _, err := all.ReadFrom(from); return err })
		if err != nil {
			return err
		}
		c.add(ran+strings.Join(append([]string{filepath.Base(paths[0])}, args...), " "), all.Bytes())
		return take(&all)
	}
}

// files keeps the files that are read of those parts.
func (c *collection) files(r *reader) {
	names := []string{"/proc/modules", "/proc/sys/kernel/osrelease"}
	for _, name := range settings {
		names = append(names, "/proc/sys/"+name)
	}
	for _, dir := range append([]string{"net/ipv4/conf/*"}, settingDirs...) {
		found, _ := filepath.Glob("/proc/sys/" + dir + "/*")
		names = append(names, found...)
	}
	for _, name := range []string{
		"snmp", "netstat", "xfrm_stat", "softnet_stat", "stat/rt_cache", "stat/nf_conntrack", "nf_conntrack",
		"tcp", "tcp6", "udp", "udp6", "ip_vs", "ip_vs_conn", "ip_tables_names",
	} {
		names = append(names, "/proc/thread-self/net/"+name)
	}
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil {
			c.add(name[1:], text)
		}
	}
	for _, module := range machine.names("/sys/module") {
		c.add(dirs+"sys/module/"+module, nil)
	}
	c.builtIn()
	for _, s := range r.s.Sockets {
		for _, o := range s.Owners {
			c.process(o.PID)
		}
	}
}

// builtIn keeps of modules.builtin what is about networks.
func (c *collection) builtIn() {
	found, _ := filepath.Glob("/lib/modules/*/modules.builtin")
	for _, path := range found {
		text, _ := os.ReadFile(path)
		var kept []byte
		for line := range bytes.Lines(text) {
			if bytes.HasPrefix(line, []byte("kernel/net/")) {
				kept = append(kept, line...)
			}
		}
		c.add(path[1:], kept)
	}
}

// process keeps what is read of one that has a socket.
func (c *collection) process(pid int) {
	dir := fmt.Sprintf("proc/%d/", pid)
	for _, name := range []string{"comm", "cgroup"} {
		text, _ := os.ReadFile("/" + dir + name)
		c.add(dir+name, text)
	}
	for _, number := range machine.names(dir + "fd") {
		if to, _ := os.Readlink("/" + dir + "fd/" + number); strings.HasPrefix(to, "socket:") {
			c.add(links+dir+"fd/"+number, []byte(to+"\n"))
		}
	}
}
