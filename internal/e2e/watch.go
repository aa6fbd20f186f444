package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"ipiptrace/internal/lab"
)

// watch is one run of ipiptrace: its output up to now.
type watch struct {
	cmd   *exec.Cmd
	ready time.Duration
	ended chan error
	// text: its output is not JSON.
	text bool

	mu    sync.Mutex
	lines []line
	bad   []string
	// last is when a line came last.
	last time.Time
}

// readyPatience is what an emulated guest may need to load and attach every probe.
const readyPatience = 3 * time.Minute

// errCannot says that ipiptrace said that it can't run so here, with exit status 3.
var errCannot = errors.New("ipiptrace can't run so here (exit status 3)")

// start attaches as the round says and waits for the ready file.
func start(ctx context.Context, l *lab.Lab, binary string, rd round) (*watch, error) {
	w := &watch{text: rd.show != ""}
	began := time.Now()
	var err error
	w.cmd, w.ended, err = launch(ctx, l, binary, flagsOf(rd, rd.netns(l)), func(out io.Reader) { w.read(bufio.NewScanner(out)) })
	switch {
	case errors.Is(err, errEnded) && w.cmd.ProcessState.ExitCode() == 3:
		return nil, errCannot
	case err != nil:
		return nil, err
	}
	w.ready = time.Since(began)
	return w, nil
}

// launch starts ipiptrace outside of the lab's namespaces, has what it prints taken meanwhile, and waits until it is
// ready. What Wait returns is in ended. A run that is not ready in time is killed.
func launch(ctx context.Context, l *lab.Lab, binary string, args []string, take func(io.Reader)) (cmd *exec.Cmd, ended chan error, err error) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	ready := filepath.Join(dir, "ready")
	cmd, ended = exec.CommandContext(ctx, binary, append(args, "--ready-file", ready)...), make(chan error, 1)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := l.Outside(cmd.Start); err != nil {
		return nil, nil, err
	}
	go func() {
		take(out)
		ended <- cmd.Wait()
	}()
	err = untilReady(ready, ended)
	if err != nil && !errors.Is(err, errEnded) {
		err = errors.Join(err, kill(cmd, ended))
	}
	return cmd, ended, err
}

// kill ends a run of which nothing more is wanted.
func kill(cmd *exec.Cmd, ended <-chan error) error {
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	<-ended
	return nil
}

// flagsOf are ipiptrace's in a round. What a person need not type is left out of text's.
func flagsOf(rd round, netns string) []string {
	flags := []string{"--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port)}
	if rd.show == "" {
		return append(flags, "--backend", rd.tier, "-o", "json", "--netns", netns)
	}
	if rd.show == "lost" {
		flags = append(flags, "--only", rd.show)
	}
	if rd.watched != everywhere {
		flags = append(flags, "--netns", netns)
	}
	return flags
}

// errEnded says that ipiptrace ended before it was ready.
var errEnded = errors.New("ended before it was ready")

// untilReady waits for a run's ready file.
func untilReady(path string, ended <-chan error) error {
	for began := time.Now(); time.Since(began) < readyPatience; {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("%w: %v", errEnded, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("was never ready")
}

func (w *watch) read(s *bufio.Scanner) {
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		l := line{raw: s.Text()}
		var err error
		if !w.text {
			err = json.Unmarshal(s.Bytes(), &l)
		}
		w.mu.Lock()
		l.came = time.Now()
		if err != nil {
			w.bad = append(w.bad, fmt.Sprintf("%v: %s", err, s.Text()))
		} else {
			w.lines = append(w.lines, l)
		}
		w.last = l.came
		w.mu.Unlock()
	}
}

// during are the journeys that began in the window and have been printed.
func (w *watch) during(in window) (journeys []line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first, _ := slices.BinarySearchFunc(w.lines, in.from, func(l line, from time.Time) int { return l.came.Compare(from) })
	for i := range w.lines[first:] {
		l := &w.lines[first+i]
		if l.Type == "journey" && l.Start.After(in.from) && (in.to.IsZero() || l.Start.Before(in.to)) {
			journeys = append(journeys, *l)
		}
	}
	return journeys
}

// settle waits until nothing was printed for a while, and ipiptrace had little to do meanwhile: while it still reads the
// kernel's symbols on a slow machine it prints nothing either, and events wait.
func (w *watch) settle(quiet time.Duration) {
	began := time.Now()
	idle, ticks := began, w.ticks()
	for time.Since(began) < 30*time.Second {
		if now := w.ticks(); now-ticks > busyTicks {
			idle, ticks = time.Now(), now
		}
		w.mu.Lock()
		since := min(time.Since(w.last), time.Since(idle))
		w.mu.Unlock()
		if since > quiet {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// busyTicks is more than an idle run takes of a CPU while settle looks at it, in ticks of 10 ms.
const busyTicks = 10

// ticks is the CPU time that the process has used, in ticks of 10 ms (proc(5), stat: utime and stime).
func (w *watch) ticks() (n int) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.cmd.Process.Pid))
	_, fields, _ := strings.Cut(string(stat), ") ")
	const utime, stime = 11, 12 // counted from the state
	for i, f := range strings.Fields(fields) {
		if i == utime || i == stime {
			c, _ := strconv.Atoi(f)
			n += c
		}
	}
	return n
}

// verdictPatience is for the slowest verdict: one that is known after ipiptrace's own patience of 5 s, and then
// explained on a machine that has little time.
const verdictPatience = 30 * time.Second

// await waits until journeys of enough flows of the window satisfy want: a slow client sends some packets twice. While the
// guest does not run ipiptrace it waits on, four times as long.
func (w *watch) await(in window, enough int, want func(line) bool) (found []line) {
	began, before := time.Now(), w.turns()
	for waited := time.Duration(0); waited < 4*verdictPatience; waited = time.Since(began) {
		found = slices.DeleteFunc(w.during(in), func(l line) bool { return !want(l) })
		if countFlows(found) >= enough || waited > verdictPatience && !stalled(w.turns()-before, waited) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return found
}

// stalled reports whether ipiptrace, which looks at the clock ten times in a second, was hardly run: an emulated guest
// may lose a timer.
func stalled(turns int, in time.Duration) bool { return float64(turns) < in.Seconds() }

// turns is how often the process's threads have been given a CPU.
func (w *watch) turns() (n int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", w.cmd.Process.Pid))
	for _, task := range tasks {
		status, _ := os.ReadFile(task)
		for line := range strings.Lines(string(status)) {
			if _, count, ok := strings.Cut(line, "voluntary_ctxt_switches:"); ok { // of both kinds
				c, _ := strconv.Atoi(strings.TrimSpace(count))
				n += c
			}
		}
	}
	return n
}

// peakRSS is the process's greatest resident memory so far.
func (w *watch) peakRSS() string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		return err.Error()
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	value, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(value)
}

// stop ends the run as a person would and returns the account, its last line.
func (w *watch) stop() (line, error) {
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return line{}, err
	}
	select {
	case <-w.ended:
	case <-time.After(time.Minute):
		w.cmd.Process.Kill()
		return line{}, errors.New("did not end within a minute of SIGINT")
	}
	if code := w.cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		return line{}, fmt.Errorf("exit status %d", code)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.bad) > 0 {
		return line{}, fmt.Errorf("%d lines are not JSON, the first: %s", len(w.bad), w.bad[0])
	}
	if len(w.lines) == 0 || w.lines[len(w.lines)-1].Type != "account" {
		return line{}, errors.New("the last line is not the account")
	}
	return w.lines[len(w.lines)-1], nil
}
