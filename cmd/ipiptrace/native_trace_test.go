//go:build native

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// build makes the binary as `make build` does.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "ipiptrace")
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// seen is what these tests read of a line of JSON.
type seen struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	Direction string `json:"direction"`
	Fate      string `json:"fate"`
	Inner     struct {
		Proto string `json:"proto"`
		Flags string `json:"flags"`
	} `json:"inner"`
	Outer  *struct{} `json:"outer"`
	Drop   *drop     `json:"drop"`
	Reject *reject   `json:"reject"`

	Journeys   int `json:"journeys"`
	Arrived    int `json:"arrived"`
	Lost       int `json:"lost"`
	Open       int `json:"open"`
	Unknown    int `json:"unknown"`
	Events     int `json:"events"`
	LostEvents int `json:"lost_events"`
	Untracked  int `json:"untracked"`
	Losses     []struct {
		Fate     string `json:"fate"`
		Function string `json:"function"`
		Reason   string `json:"reason"`
		Count    int    `json:"count"`
	} `json:"losses"`

	line string
}

type drop struct {
	Function string `json:"function"`
	Reason   string `json:"reason"`
	NfHook   string `json:"nf_hook"`
}

type reject struct {
	By   string `json:"by"`
	Type int    `json:"type"`
	Code int    `json:"code"`
	Sent bool   `json:"sent"`
}

func (s seen) is(direction, proto, fate string) bool {
	return s.Direction == direction && s.Inner.Proto == proto && s.Fate == fate
}

// matches compares what want says of the end.
func (s seen) matches(want seen) bool {
	same := s.Fate == want.Fate && (s.Drop == nil) == (want.Drop == nil) && (s.Reject == nil) == (want.Reject == nil)
	return same && (s.Drop == nil || *s.Drop == *want.Drop) && (s.Reject == nil || *s.Reject == *want.Reject)
}

// vanished is how many journeys of an account fell silent.
func (s seen) vanished() (n int) {
	for _, l := range s.Losses {
		if l.Fate == "vanished" {
			n += l.Count
		}
	}
	return n
}

// trace is a running binary.
type trace struct {
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr bytes.Buffer
	read   sync.WaitGroup

	mu    sync.Mutex
	lines []seen
}

// settled is longer than a packet needs through both namespaces, and shorter than anybody's patience.
const settled = 700 * time.Millisecond

func startTrace(t *testing.T, binary string, n *network, args ...string) *trace {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	tr := &trace{cmd: exec.Command(binary, append([]string{
		"--vip", vip, "--netns", n.server, "--backend", "tracepoint", "-o", "json", "--ready-file", ready}, args...)...)}
	tr.cmd.Stderr = &tr.stderr
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tr.stdout, tr.cmd.Stdout = out, w
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { tr.cmd.Process.Kill() })
	tr.read.Go(tr.scan)
	awaitFile(t, ready)
	return tr
}

func (tr *trace) scan() {
	for s := bufio.NewScanner(tr.stdout); s.Scan(); {
		line := seen{line: s.Text()}
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			line.Type = "not JSON: " + err.Error()
		}
		tr.mu.Lock()
		tr.lines = append(tr.lines, line)
		tr.mu.Unlock()
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it was never ready")
		}
	}
}

func (tr *trace) awaitJourneys(t *testing.T, enough int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		tr.mu.Lock()
		n := len(tr.lines)
		tr.mu.Unlock()
		if n >= enough {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d journeys were printed, not %d", n, enough)
		}
	}
}

// ended is a run that is over.
type ended struct {
	status   int
	journeys []seen
	account  seen
	stderr   string
}

// end asks the run to end once everything has settled, and what was seen is read: on a busy machine it would be counted
// as lost.
func (tr *trace) end(t *testing.T, sig os.Signal) ended {
	t.Helper()
	awaitIdle(t, tr.cmd.Process.Pid)
	tr.cmd.Process.Signal(sig)
	e := tr.wait(t)
	if e.account.Type != "account" {
		t.Errorf("the last line is not the account; stderr: %s", e.stderr)
	}
	return e
}

// awaitIdle waits until a process has no more to do than to wait.
func awaitIdle(t *testing.T, pid int) {
	t.Helper()
	const few = 5 // hundredths of a second
	for deadline, spent := time.Now().Add(20*time.Second), cpuTime(t, pid); time.Now().Before(deadline); {
		before := spent
		time.Sleep(settled)
		if spent = cpuTime(t, pid); spent-before < few {
			return
		}
	}
}

// cpuTime is how long a process was on a CPU, in hundredths of a second (proc_pid_stat(5), utime and stime).
func cpuTime(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	if err != nil || len(fields) < 13 {
		t.Fatalf("/proc/%d/stat: %v: %q", pid, err, stat)
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return user + system
}

// wait reads all that a run has to say.
func (tr *trace) wait(t *testing.T) ended {
	t.Helper()
	watchdog := time.AfterFunc(20*time.Second, func() { tr.cmd.Process.Kill() })
	defer watchdog.Stop()
	tr.cmd.Wait()
	tr.read.Wait()
	e := ended{status: tr.cmd.ProcessState.ExitCode(), stderr: tr.stderr.String()}
	for _, l := range tr.lines {
		switch l.Type {
		case "journey":
			e.journeys = append(e.journeys, l)
		case "account":
			e.account = l
		default:
			t.Errorf("%s: %s", l.Type, l.line)
		}
	}
	return e
}

func (e ended) lastStderr() string {
	lines := strings.Split(strings.TrimSpace(e.stderr), "\n")
	return lines[len(lines)-1]
}

func (e ended) count(want func(seen) bool) (n int) {
	for _, j := range e.journeys {
		if want(j) {
			n++
		}
	}
	return n
}

func (e ended) dump(t *testing.T, which func(seen) bool) {
	t.Helper()
	for _, j := range e.journeys {
		if which(j) {
			t.Log(j.line)
		}
	}
}

// bpfLink is what bpftool says of an attached program.
type bpfLink struct {
	ID   int `json:"id"`
	Pids []struct {
		Pid int `json:"pid"`
	} `json:"pids"`
}

func allLinks(t *testing.T) (links []bpfLink) {
	t.Helper()
	out, err := exec.Command("bpftool", "-j", "link", "show").Output()
	if err != nil {
		t.Fatalf("bpftool: %v", err)
	}
	if err := json.Unmarshal(out, &links); err != nil {
		t.Fatalf("bpftool: %v: %s", err, out)
	}
	return links
}

// linksOf are the links that a process holds.
func linksOf(t *testing.T, pid int) (ids []int) {
	t.Helper()
	descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range descriptors {
		info, _ := os.ReadFile(path)
		for line := range strings.Lines(string(info)) {
			var id int
			if n, _ := fmt.Sscanf(line, "link_id: %d", &id); n == 1 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
