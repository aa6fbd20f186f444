//go:build native

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNativeFullDisk has the output of a run written to where nothing fits.
func TestNativeFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes network namespaces and traces packets")
	}
	binary := build(t)
	n := newNetwork(t)
	for name, args := range map[string][]string{
		"standard output as text":        {},
		"standard output as JSON":        {"-o", "json"},
		"a recording":                    {"record", "/dev/full"},
		"a recording on standard output": {"record", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			ready := filepath.Join(t.TempDir(), "ready")
			run := exec.Command(binary, append(args, "--vip", vip, "--netns", n.server, "--backend", "tracepoint", "--ready-file", ready, "--duration", "30s")...)
			var stderr bytes.Buffer
			run.Stdout, run.Stderr = full, &stderr
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			watchdog := time.AfterFunc(25*time.Second, func() { run.Process.Kill() })
			defer watchdog.Stop()
			awaitFile(t, ready)
			n.throw(t, deafPort)
			run.Wait()
			if got := run.ProcessState.ExitCode(); got != statusUnable {
				t.Errorf("%s, not status %d", run.ProcessState, statusUnable)
			}
			if said := strings.Count(stderr.String(), "no space left on device"); said != 1 {
				t.Errorf("it is said %d times: %s", said, stderr.String())
			}
			if !strings.Contains(stderr.String(), "\njourneys ") {
				t.Errorf("there is no account: %s", stderr.String())
			}
		})
	}
}
