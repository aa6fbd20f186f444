//go:build native

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNativeChurn lets namespaces and devices come and go under a run: every packet's journey ends.
func TestNativeChurn(t *testing.T) {
	binary := build(t)
	n := newNetwork(t)
	tr := startTrace(t, binary, n, "--netns", "all", "--patience", "1s")
	const rounds, packets = 9, 10
	for i := range rounds {
		ns := fmt.Sprintf("ipiptrace-%d-churn%d", os.Getpid(), i)
		command(t, "ip", "netns", "add", ns)
		defer exec.Command("ip", "netns", "del", ns).Run()
		n.on(t, ns, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
		command(t, "ip", "link", "add", "far", "netns", ns, "type", "veth", "peer", "name", fmt.Sprintf("near%d", i), "netns", n.client)
		n.on(t, ns, "ip", "addr", "add", vip+"/32", "dev", "far")
		n.on(t, ns, "ip", "link", "set", "far", "up")
		n.on(t, ns, "ip", "route", "add", "default", "dev", "far")
		n.on(t, n.client, "ip", "link", "set", fmt.Sprintf("near%d", i), "up")
		n.on(t, n.client, "ip", "route", "replace", vip, "dev", fmt.Sprintf("near%d", i))
		if i%3 == 1 { // they are still waiting for a neighbour when the device goes
			n.on(t, n.client, "ip", "route", "replace", vip, "via", "198.51.100.200", "dev", fmt.Sprintf("near%d", i), "onlink")
		}
		if i%3 == 2 { // they are still waiting when the device goes
			n.on(t, n.client, "tc", "qdisc", "add", "dev", fmt.Sprintf("near%d", i), "root", "tbf", "rate", "8kbit", "burst", "2000", "limit", "20000000")
		}
		n.flood(t, deafPort, packets)
		command(t, "ip", "netns", "del", ns)
		// The kernel takes a namespace down in its own time.
		for deadline := time.Now().Add(5 * time.Second); n.has(t, fmt.Sprintf("near%d", i)) && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	n.on(t, n.client, "ip", "route", "replace", vip, "via", serverAddr)
	n.knock(t, deafPort)
	time.Sleep(time.Second)
	ended := tr.end(t, syscall.SIGINT)
	a := ended.account
	requests := ended.count(func(j seen) bool { return j.Direction == "request" && j.Inner.Proto == "udp" })
	if requests != rounds*packets || a.vanished() != 0 || a.Open != 0 || a.LostEvents != 0 {
		t.Errorf("%d requests of %d, account %+v", requests, rounds*packets, a)
	}
	if ended.count(func(j seen) bool { return j.is("request", "tcp", "rejected") }) != 1 {
		t.Error("the packet after the churn was not seen")
	}
	if t.Failed() {
		ended.dump(t, func(j seen) bool { return j.Fate != "rejected" })
	}
}

// has reports whether the client has a device.
func (n *network) has(t *testing.T, device string) (found bool) {
	t.Helper()
	in(t, n.client, func() error {
		_, err := net.InterfaceByName(device)
		found = err == nil
		return nil
	})
	return found
}

// TestNativePrivileges looks at what a run may do once it is attached, on every thread of it, and has it explain a loss
// with that.
func TestNativePrivileges(t *testing.T) {
	binary := build(t)
	n := newNetwork(t)
	const rule = "udp dport 7 drop"
	n.on(t, n.server, "nft", "add table ip test; add chain ip test input { type filter hook input priority 0; }; add rule ip test input "+rule)
	needed := uint64(reading) | 1<<unix.CAP_BPF
	for _, run := range []struct {
		name      string
		args      []string
		permitted uint64
		because   string
	}{
		{"what explaining takes is kept", nil, needed | uint64(inspecting), rule},
		{"with --no-diagnose no more than what is needed", []string{"--no-diagnose"}, needed, "NETFILTER_DROP"},
	} {
		t.Run(run.name, func(t *testing.T) {
			tr := startTrace(t, binary, n, run.args...)
			checkPrivileges(t, tr.cmd.Process.Pid, needed, run.permitted)
			n.flood(t, 7, 1)
			n.knock(t, deafPort)
			ended := tr.end(t, syscall.SIGINT)
			if ended.status != statusLost || ended.account.Lost != 2 || strings.Contains(ended.stderr, "missed: unknown") {
				t.Errorf("status %d: %s", ended.status, ended.stderr)
			}
			if ended.count(func(j seen) bool { return strings.Contains(j.line, run.because) }) != 1 {
				t.Errorf("no journey has %q", run.because)
			}
			if ended.count(func(j seen) bool { return j.Drop != nil && j.Drop.Function == "tcp_v4_rcv" }) != 1 {
				t.Error("the symbols were not read")
			}
			if t.Failed() {
				ended.dump(t, func(seen) bool { return true })
			}
		})
	}
	t.Run("so it is with record", func(t *testing.T) {
		dir := t.TempDir()
		cmd := exec.Command(binary, "record", "--vip", vip, "--netns", n.server, "--backend", "tracepoint", "--ready-file", filepath.Join(dir, "ready"), filepath.Join(dir, "seen.jsonl"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Signal(syscall.SIGINT)
		awaitFile(t, filepath.Join(dir, "ready"))
		checkPrivileges(t, cmd.Process.Pid, needed, needed|uint64(inspecting))
	})
}

// checkPrivileges waits for a run to lower its privileges, which it does once it is ready.
func checkPrivileges(t *testing.T, pid int, effective, permitted uint64) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(threads(t, pid)[0], "NoNewPrivs:\t1"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what it runs may have more privileges than it has")
		}
	}
	for _, status := range threads(t, pid) {
		for set, allowed := range map[string]uint64{"CapEff": permitted, "CapPrm": permitted, "CapInh": 0, "CapAmb": 0} {
			if left := capability(t, status, set) &^ allowed; left != 0 {
				t.Errorf("%s has %#x", set, left)
			}
		}
	}
	// A reading of the state raises the effective ones for a moment.
	for deadline := time.Now().Add(20 * time.Second); slices.ContainsFunc(threads(t, pid), func(status string) bool {
		return capability(t, status, "CapEff")&^effective != 0
	}); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("more is effective than is needed")
		}
	}
}

// threads are the status files of a process's threads.
func threads(t *testing.T, pid int) (all []string) {
	t.Helper()
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil {
			all = append(all, string(text))
		}
	}
	if len(all) == 0 {
		t.Fatal("the process has no threads")
	}
	return all
}

func capability(t *testing.T, status, set string) (value uint64) {
	t.Helper()
	for line := range strings.Lines(status) {
		if n, _ := fmt.Sscanf(line, set+": %x", &value); n == 1 {
			return value
		}
	}
	t.Fatalf("no %s", set)
	return 0
}

// TestNativeProbes asks this kernel what can be watched, place by place.
func TestNativeProbes(t *testing.T) {
	binary := build(t)
	var out, stderr bytes.Buffer
	cmd := exec.Command(binary, "probes", "--backend", "tracepoint", "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	mechanisms := map[string]string{}
	for line := range strings.Lines(out.String()) {
		var p struct{ Type, Place, Mechanism, Symbol, Why string }
		if err := json.Unmarshal([]byte(line), &p); err != nil || p.Type != "probe" || p.Place == "" {
			t.Errorf("%v: %s", err, line)
		}
		if (p.Mechanism == "") != (p.Symbol == "") || (p.Mechanism == "") != (p.Why != "") {
			t.Errorf("a place is watched somehow at a symbol, or there is a reason: %s", line)
		}
		mechanisms[p.Place] = p.Mechanism
	}
	for place, want := range map[string]string{"kfree_skb": "tracepoint", "netif_receive_skb": "tracepoint", "net_dev_queue": "tracepoint", "ip_rcv": ""} {
		if got, listed := mechanisms[place]; !listed || got != want {
			t.Errorf("%s is watched by %q", place, got)
		}
	}
	full := exec.Command("sh", "-c", "exec "+binary+" probes --backend tracepoint >/dev/full")
	if text, err := full.CombinedOutput(); full.ProcessState.ExitCode() != statusUnable || !strings.Contains(string(text), "no space left") {
		t.Errorf("on a full disk: %v: %s", err, text)
	}
}
