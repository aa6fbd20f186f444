//go:build native

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// endTime is when a run must be over that was told to end: several times what it takes, the machine may be busy.
const endTime = 3 * time.Second

// TestNativeEnd tells runs to end when they have most to do.
func TestNativeEnd(t *testing.T) {
	binary := build(t)
	n := newNetwork(t)
	n.on(t, n.server, "nft", "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i udp dport "+strconv.Itoa(dropPort)+" drop")

	for _, c := range []struct {
		name   string
		args   []string
		signal os.Signal
	}{
		{"SIGTERM", nil, syscall.SIGTERM},
		{"SIGINT, and nothing is explained", []string{"--no-diagnose"}, syscall.SIGINT},
		{"--duration", []string{"--duration", "1s"}, nil},
		{"--count", []string{"--count", "10"}, nil},
	} {
		t.Run("a run ends in a flood: "+c.name, func(t *testing.T) {
			tr := startTrace(t, binary, n, c.args...)
			stop := n.pour(t, dropPort)
			defer stop()
			tr.awaitJourneys(t, 10)
			told := time.Now()
			if c.signal != nil {
				tr.cmd.Process.Signal(c.signal)
			}
			ended := tr.wait(t)
			took := time.Since(told)
			sent := stop()
			if ended.account.Type != "account" || ended.account.Lost == 0 || took > endTime {
				t.Errorf("it took %v; stderr: %s", took, ended.stderr)
			}
			t.Logf("%v after it was told, %d packets/s; %s", took, sent, ended.lastStderr())
		})
	}

	t.Run("a run ends while it is attached", func(t *testing.T) {
		cmd := exec.Command(binary, "--vip", vip, "--netns", n.server)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
		for deadline := time.Now().Add(20 * time.Second); !hasMap(t, cmd.Process.Pid); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("it never began")
			}
		}
		told := time.Now()
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		took := time.Since(told)
		if code := cmd.ProcessState.ExitCode(); code != statusArrived || took > endTime || !strings.HasPrefix(lastAccount(stderr.String()), "journeys 0 ") {
			t.Errorf("status %d after %v; stderr: %s", code, took, stderr.String())
		}
		t.Logf("%v after it was told; %s", took, stderr.String())
	})

	t.Run("10,000 journeys that are open in the end are all in the file", func(t *testing.T) {
		const packets = 10_000
		tr := startFile(t, binary, n, "--netns", "all")
		n.queue(t, "1kbit")
		n.flood(t, dropPort, packets)
		awaitIdle(t, tr.cmd.Process.Pid)
		tr.cmd.Process.Signal(syscall.SIGINT)
		tr.cmd.Wait()
		out, err := os.ReadFile(tr.file)
		if err != nil {
			t.Fatal(err)
		}
		journeys := bytes.Count(out, []byte(`"type":"journey"`))
		open := bytes.Count(out, []byte(`"fate":"open"`))
		if journeys != packets || open < packets/2 || strings.Contains(tr.stderr.String(), "not shown") {
			t.Errorf("%d journeys, %d open; stderr: %s", journeys, open, tr.stderr.String())
		}
	})

	t.Run("a reader that takes nothing is not waited for", func(t *testing.T) {
		const packets = 3000
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		tr := start(t, binary, n, writer, "--no-diagnose")
		writer.Close()
		n.flood(t, dropPort, packets)
		awaitIdle(t, tr.cmd.Process.Pid)
		told := time.Now()
		tr.cmd.Process.Signal(syscall.SIGTERM)
		tr.cmd.Wait()
		took := time.Since(told)
		var unseen int
		stderr := tr.stderr.String()
		for line := range strings.Lines(stderr) {
			fmt.Sscanf(line, "ipiptrace: %d journeys were not shown: the reader of standard output was too slow", &unseen)
		}
		if unseen == 0 || unseen >= packets || took > endTime || !strings.Contains(stderr, fmt.Sprintf("journeys %d ", packets)) {
			t.Errorf("it took %v; stderr: %s", took, stderr)
		}
		t.Logf("%v after it was told; %s", took, stderr)
	})

	t.Run("a reader that takes little is waited for, until a second signal", func(t *testing.T) {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		tr := start(t, binary, n, writer, "--no-diagnose")
		writer.Close()
		go func() {
			for b := make([]byte, 1); ; time.Sleep(20 * time.Millisecond) {
				if _, err := reader.Read(b); err != nil {
					return
				}
			}
		}()
		n.flood(t, dropPort, 3000)
		awaitIdle(t, tr.cmd.Process.Pid)
		ended := make(chan struct{})
		go func() {
			tr.cmd.Wait()
			close(ended)
		}()
		tr.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			t.Fatalf("it ended, and most is not shown: %s", tr.stderr.String())
		case <-time.After(2 * time.Second):
		}
		tr.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(endTime):
			t.Error("it goes on after a second signal")
		}
	})

	t.Run("a state that takes long to read is not waited for", func(t *testing.T) {
		rules := filepath.Join(t.TempDir(), "rules")
		text := "add table ip many\nadd chain ip many c\n" + strings.Repeat("add rule ip many c ip saddr 10.0.0.1 tcp dport 1-1000 counter accept\n", 30_000)
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n.on(t, n.server, "nft", "-f", rules)
		defer n.on(t, n.server, "nft", "delete table ip many")
		tr := startTrace(t, binary, n)
		n.throwFrom(t, clientAddr, dropPort)
		time.Sleep(settled) // it is reading now
		told := time.Now()
		tr.cmd.Process.Signal(syscall.SIGTERM)
		ended := tr.wait(t)
		took := time.Since(told)
		if ended.account.Lost != 1 || len(ended.journeys) != 1 || took > endTime {
			t.Errorf("it took %v; stderr: %s", took, ended.stderr)
		}
		t.Logf("%v after it was told; %s", took, ended.journeys[0].line)
	})
}

// hasMap reports whether a process holds a BPF map: it is about to attach its programs then.
func hasMap(t *testing.T, pid int) bool {
	t.Helper()
	descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(descriptors, func(path string) bool {
		to, _ := os.Readlink(path)
		return to == "anon_inode:bpf-map"
	})
}

// started is a running binary whose output nobody reads meanwhile.
type started struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	file   string
}

func start(t *testing.T, binary string, n *network, stdout *os.File, args ...string) *started {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	s := &started{cmd: exec.Command(binary, append([]string{
		"--vip", vip, "--netns", n.server, "--backend", "tracepoint", "-o", "json", "--ready-file", ready}, args...)...)}
	s.cmd.Stdout, s.cmd.Stderr = stdout, &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	awaitFile(t, ready)
	return s
}

func startFile(t *testing.T, binary string, n *network, args ...string) *started {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "seen.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := start(t, binary, n, file, args...)
	s.file = file.Name()
	return s
}

// pour sends datagrams to the service, up to 40,000 a second, until stop is called, or for a minute. stop says how many
// they were a second.
func (n *network) pour(t *testing.T, port int) (stop func() int) {
	t.Helper()
	const at, every = 400, 10 * time.Millisecond
	end, done := make(chan struct{}), make(chan int, 1)
	in(t, n.client, func() error {
		c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(vip), Port: port})
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			began, sent := time.Now(), 0
			tick := time.NewTicker(every)
			defer tick.Stop()
			for time.Since(began) < time.Minute {
				select {
				case <-end:
					done <- int(float64(sent) / time.Since(began).Seconds())
					return
				case <-tick.C:
				}
				for range at {
					if _, err := c.Write([]byte("hello")); err == nil {
						sent++
					}
				}
			}
			done <- 0
		}()
		return nil
	})
	rate, stopped := 0, false
	return func() int {
		if !stopped {
			stopped = true
			close(end)
			rate = <-done
		}
		return rate
	}
}

// queue has 10,000 packets wait in the client's device, which sends them at a rate of tc's.
func (n *network) queue(t *testing.T, rate string) {
	t.Helper()
	n.on(t, n.client, "tc", "qdisc", "add", "dev", "wire", "root", "tbf", "rate", rate, "burst", "2000", "limit", "20000000")
	t.Cleanup(func() { n.on(t, n.client, "tc", "qdisc", "del", "dev", "wire", "root") })
}
