#!/usr/bin/env bash
# cilium/ebpf v0.22.0, out of file descriptors, says that the kernel lacks a feature: a map that a program may only read
# is "not supported (requires >= v5.2)" on a kernel that has had it for years, errors.Is finds ErrNotSupported and no
# EMFILE. The answer is kept: with files to spare again it is the same for the rest of the process. Whoever falls
# back on ErrNotSupported falls back for good, and whoever reads the message updates the wrong thing.
#
# ipiptrace looks at RLIMIT_NOFILE before it loads anything. Needs root, Go and the module proxy. It fails if the
# behaviour has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'E2'
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func try(when string) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1, Flags: unix.BPF_F_RDONLY_PROG})
	fmt.Printf("%s: %v; ErrNotSupported %v, EMFILE %v\n", when, err, errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EMFILE))
	if err == nil {
		m.Close()
	}
}

func main() {
	if len(os.Args) > 1 {
		try("with files to spare")
		return
	}
	var all []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		all = append(all, f)
	}
	try("without any")
	for _, f := range all {
		f.Close()
	}
	try("with files again")
}
E2
go mod init try >/dev/null 2>&1
go get github.com/cilium/ebpf@v0.22.0 golang.org/x/sys@v0.43.0 >/dev/null 2>&1
CGO_ENABLED=0 go build -o try .
{ ./try free; bash -c 'ulimit -n 32; ./try'; } | tee seen
diff seen - <<'E2'
with files to spare: <nil>; ErrNotSupported false, EMFILE false
without any: creating map: map create: read- and write-only maps not supported (requires >= v5.2); ErrNotSupported true, EMFILE false
with files again: creating map: map create: read- and write-only maps not supported (requires >= v5.2); ErrNotSupported true, EMFILE false
E2
echo "as before: no files is said to be no feature, for good"
