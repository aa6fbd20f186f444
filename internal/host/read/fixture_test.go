package read

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

var update = flag.Bool("update", false, "write the goldens")

// A fixture is a text archive of a machine as one namespace has it. Beside the files below its root it has, under
//
//	dir/        directories of which only the names matter: "dir/sys/module/ipip"
//	link/       what a symbolic link says: "link/proc/412/fd/5"
//	ran/        what a program wrote: "ran/nft --json list ruleset"
//	asked/      what the kernel answered: "asked/entries/filter", "asked/sets", "asked/calls/ip/input/"
//
// It covers settings, counters, sockets as /proc has them, connection tracking, IPVS as /proc has it, modules, cgroups,
// nftables and both kinds of iptables. What netlink delivers (links, addresses, routes, rules, neighbours, inet_diag, xfrm,
// tc, details of IPVS) and what bpf(2) answers is not in it.
const (
	dirs    = "dir/"
	links   = "link/"
	ran     = "ran/"
	entries = "asked/entries/"
	sets    = "asked/sets"
	calls   = "asked/calls/"
)

// stored are the parts that a fixture covers.
var stored = []part{
	{name: host.PartCounters, read: (*reader).counters},
	{name: host.PartSockets, read: (*reader).sockets},
	{name: host.PartConntrack, read: (*reader).conntrack},
	{name: host.PartSysctls, read: (*reader).sysctls},
	{name: host.PartIPVS, read: (*reader).ipvs},
	{name: host.PartNft, read: (*reader).nft},
	{name: host.PartIPTables, read: (*reader).iptables},
}

// ofLab are the options of somebody who looks at the lab's service.
var ofLab = Options{VIPs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}, Ports: []uint16{80}}

// storedReader reads stored parts; without the kernel's answers, which the caller adds.
func storedReader(ctx context.Context, files root, run runner) (*reader, error) {
	r := &reader{ctx: ctx, options: ofLab, files: files, run: run, s: &host.Snapshot{Sysctls: map[string]string{}}}
	r.kernel.settings = func() (map[string][]int32, error) { return nil, errNotAsked }
	r.kernel.sockets = func(string) ([]host.Socket, error) { return nil, errNotAsked }
	r.kernel.options = func(*host.Socket, int, int) {}
	r.kernel.services = func(*host.IPVS) error { return nil }
	var err error
	r.modules, err = files.modules()
	return r, err
}

// TestFixturesAreReadTheSame reads what each kernel has had below /proc and /sys, and what programs have said there.
func TestFixturesAreReadTheSame(t *testing.T) {
	archives, err := filepath.Glob("testdata/fixtures/*/*.txtar")
	if err != nil || len(archives) != 8 {
		t.Fatalf("%d fixtures, %v", len(archives), err)
	}
	for _, path := range archives {
		t.Run(strings.TrimPrefix(strings.TrimSuffix(path, ".txtar"), "testdata/fixtures/"), func(t *testing.T) {
			got := readStored(t, path)
			golden := strings.TrimSuffix(path, ".txtar") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("it is read as\n%s\nnot as %s has it", got, golden)
			}
		})
	}
}

// readStored is what is read of a fixture, as JSON; of modules those that matter to a packet, and the cgroups that would be
// asked for programs.
func readStored(t *testing.T, path string) []byte {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files, outputs, answers := unpacked(t, archive)
	r, err := storedReader(t.Context(), files, says(outputs))
	if err != nil {
		t.Fatal(err)
	}
	r.kernel.entries = func(table string) (n uint32, err error) {
		_, err = fmt.Sscan(answers[entries+table], &n)
		return n, err
	}
	r.kernel.sets = func(context.Context) (all []nftSet, err error) {
		for line := range strings.Lines(answers[sets]) {
			var s nftSet
			if _, err := fmt.Sscan(line, &s.family, &s.table, &s.name, &s.isMap, &s.elements); err != nil {
				return nil, err
			}
			all = append(all, s)
		}
		return all, nil
	}
	r.kernel.calls = func(h host.NfHook) (all []host.NfCallee, err error) {
		text, ok := answers[calls+h.Family+"/"+h.Hook+"/"+h.Device]
		if !ok {
			return nil, unix.EOPNOTSUPP
		}
		return all, json.Unmarshal([]byte(text), &all)
	}
	r.read(stored)
	r.s.Modules = ofInterest(t, r.modules)
	for _, path := range r.cgroupPaths() {
		r.s.Cgroups = append(r.s.Cgroups, host.CgroupBPF{Path: path})
	}
	text, err := json.MarshalIndent(r.s, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// ofInterest are modules that matter to a packet, of those that are there.
func ofInterest(t *testing.T, modules modules) (names []string) {
	for _, m := range []string{"ipip", "tunnel4", "ip_tunnel", "sit", "ip_vs", "nf_tables", "nf_conntrack", "xfrm_user", "inet_diag", "tcp_diag", "br_netfilter"} {
		if there, err := modules.has(m); err != nil {
			t.Error(err)
		} else if there {
			names = append(names, m)
		}
	}
	return names
}

// unpacked puts a fixture's files below a root.
func unpacked(t *testing.T, archive *txtar.Archive) (files root, outputs, answers map[string]string) {
	t.Helper()
	files, outputs, answers = root(t.TempDir()), map[string]string{}, map[string]string{}
	for _, f := range archive.Files {
		name := files.path(f.Name)
		var err error
		if dir, ok := strings.CutPrefix(f.Name, dirs); ok {
			err = os.MkdirAll(files.path(dir), 0o755)
		} else if link, ok := strings.CutPrefix(f.Name, links); ok {
			name = files.path(link)
			err = errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(strings.TrimSpace(string(f.Data)), name))
		} else if command, ok := strings.CutPrefix(f.Name, ran); ok {
			outputs[command] = string(f.Data)
		} else if strings.HasPrefix(f.Name, "asked/") {
			answers[f.Name] = string(f.Data)
		} else {
			err = errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, f.Data, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return files, outputs, answers
}
