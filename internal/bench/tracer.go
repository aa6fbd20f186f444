package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tracer is a running ipiptrace.
type tracer struct {
	cmd        *exec.Cmd
	stderr     bytes.Buffer
	attached   map[string]int
	programIDs []string
}

// unusableError says why a back-end can't be measured on this kernel.
type unusableError struct{ why string }

func (e *unusableError) Error() string { return e.why }

// readyFile is made by ipiptrace once everything is attached.
const readyFile = "/run/ipiptrace-ready"

// startTracer runs ipiptrace for one VIP; it returns when everything is attached and
// nothing is left to do. Its results go to /dev/null.
func startTracer(binary, backend, vip string) (*tracer, error) {
	os.Remove(readyFile)
	t := &tracer{cmd: exec.Command(binary, "trace", "--vip", vip, "--backend", backend,
		"--no-diagnose", "--output", "json", "--ready-file", readyFile)}
	t.cmd.Stderr, t.cmd.Env = &t.stderr, usualEnv(os.Environ())
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	for !t.ready() {
		if t.ended() {
			t.cmd.Wait()
			return nil, &unusableError{strings.TrimSpace(t.stderr.String())}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.settle()
	if err := t.look(); err != nil {
		return nil, err
	}
	if need := kindOf[backend]; need != "" && t.attached[need] == 0 {
		t.kill()
		return nil, &unusableError{"ipiptrace attached nothing by " + backend}
	}
	return t, nil
}

// usualEnv is the environment without what keeps Go's runtime out of our measuring
// thread: the tracer is measured as it is.
func usualEnv(env []string) []string {
	return slices.DeleteFunc(env, func(variable string) bool {
		return slices.Contains(measuringEnv, variable)
	})
}

func (t *tracer) ready() bool {
	_, err := os.Stat(readyFile)
	return err == nil
}

// ended tells whether the process has ended and only waits to be asked how.
func (t *tracer) ended() bool {
	stat, err := os.ReadFile(t.proc("stat"))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

func (t *tracer) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(t.cmd.Process.Pid), name)
}

// kindOf is what a back-end can't be without: a kind of link, or an event of perf.
var kindOf = map[string]string{"fentry": "tracing", "kprobe-multi": "kprobe_multi", "kprobe": "perf_event"}

// look counts what the tracer is attached by: its links by the kernel's names, in
// which "tracing" is fentry and fexit, and its perf events, which are kprobes.
func (t *tracer) look() error {
	t.attached, t.programIDs = map[string]int{}, nil
	fds, err := os.ReadDir(t.proc("fd"))
	if err != nil {
		return err
	}
	for _, fd := range fds {
		what, _ := os.Readlink(t.proc("fd/" + fd.Name()))
		info, _ := os.ReadFile(t.proc("fdinfo/" + fd.Name()))
		for line := range strings.Lines(string(info)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			switch {
			case name == "link_type" && value != "perf":
				t.attached[value]++
			case name == "prog_id" && what == "anon_inode:bpf-prog":
				t.programIDs = append(t.programIDs, value)
			}
		}
		if what == "anon_inode:[perf_event]" {
			t.attached["perf_event"]++
		}
	}
	return nil
}

// cpu is the processor time that the process has had. The clock's number is made as
// in the kernel's include/linux/posix-timers.h, CPUCLOCK_SCHED.
func (t *tracer) cpu() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(int32(^t.cmd.Process.Pid<<3|2), &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// The tracer looks up ten times a second when there is nothing to do.
const (
	window = 300 * time.Millisecond
	quiet  = 3 * time.Millisecond // what it may use in a window
)

// settle waits until the tracer waits, and returns the processor time it needed to
// get there, without what it uses when there is nothing to do.
func (t *tracer) settle() time.Duration {
	begin := t.cpu()
	for windows, before := time.Duration(1), begin; ; windows++ {
		time.Sleep(window)
		now := t.cpu()
		if idle := now - before; idle < quiet {
			return now - begin - windows*idle
		}
		before = now
	}
}

// pause stops the reader; packets still pass the probes. resume ends that.
func (t *tracer) pause() error {
	defer time.Sleep(10 * time.Millisecond)
	return t.cmd.Process.Signal(unix.SIGSTOP)
}

func (t *tracer) resume() error { return t.cmd.Process.Signal(unix.SIGCONT) }

// account is what the tracer says of its run at its end.
type account struct{ events, lost int64 }

var accountLine = regexp.MustCompile(`events (\d+) · lost events (\d+)`)

func parseAccount(stderr string) (account, error) {
	m := accountLine.FindStringSubmatch(stderr)
	if m == nil {
		return account{}, fmt.Errorf("no account of ipiptrace: %q", stderr)
	}
	events, _ := strconv.ParseInt(m[1], 10, 64)
	lost, _ := strconv.ParseInt(m[2], 10, 64)
	return account{events, lost}, nil
}

// stop ends the tracer; its status tells of the packets, 0 or 1.
func (t *tracer) stop() (account, error) {
	if err := t.cmd.Process.Signal(unix.SIGINT); err != nil {
		return account{}, err
	}
	if err := t.cmd.Wait(); err != nil && t.cmd.ProcessState.ExitCode() != 1 {
		return account{}, fmt.Errorf("ipiptrace: %w: %s", err, t.stderr.String())
	}
	return parseAccount(t.stderr.String())
}

// kill ends a tracer whose run is worth nothing.
func (t *tracer) kill() error {
	err := t.cmd.Process.Kill()
	t.cmd.Wait()
	return err
}
