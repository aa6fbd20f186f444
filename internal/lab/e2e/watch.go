package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"ipiptrace/internal/lab"
)

// line is what this test reads of a line of ipiptrace's JSON.
type line struct {
	Type      string `json:"type"`
	Direction string `json:"direction"`
	Fate      string `json:"fate"`
	Inner     struct {
		Proto string `json:"proto"`
		Sport int    `json:"sport"`
		Dst   string `json:"dst"`
		Dport int    `json:"dport"`
		Flags string `json:"flags"`
	} `json:"inner"`
	Steps []struct {
		Hook string `json:"hook"`
		Dev  string `json:"dev"`
	} `json:"steps"`
	Drop *struct {
		Function string `json:"function"`
		Reason   string `json:"reason"`
		Dev      string `json:"dev"`
		NfHook   string `json:"nf_hook"`
	} `json:"drop"`
	Reject *struct {
		By   string `json:"by"`
		Type int    `json:"type"`
		Code int    `json:"code"`
		Sent bool   `json:"sent"`
	} `json:"reject"`
	Cause *struct {
		Code string `json:"code"`
	} `json:"cause"`
	Reply string `json:"reply"`
	Gaps  int    `json:"gaps"`

	// The account.
	Journeys   int             `json:"journeys"`
	Lost       int             `json:"lost"`
	LostEvents int             `json:"lost_events"`
	Missed     json.RawMessage `json:"missed"`

	raw string
}

// lost is the contract's sense of it.
func (l line) lost() bool {
	switch l.Fate {
	case "dropped", "rejected", "vanished":
		return true
	}
	return l.Reply == "lost"
}

// arrived is the contract's sense of it.
func (l line) arrived() bool {
	return (l.Fate == "delivered" || l.Fate == "forwarded" || l.Fate == "consumed") && l.Reply != "lost"
}

func (l line) String() string {
	s := fmt.Sprintf("%s %s %s %s :%d", l.Direction, l.Inner.Proto, l.Inner.Flags, l.Fate, l.Inner.Sport)
	if d := l.Drop; d != nil {
		s += fmt.Sprintf(" in %s %s dev %s hook %q", d.Function, d.Reason, d.Dev, d.NfHook)
	}
	if r := l.Reject; r != nil {
		s += fmt.Sprintf(" by %s %d/%d sent %v", r.By, r.Type, r.Code, r.Sent)
	}
	return s
}

// watch is one run of ipiptrace: its output up to now.
type watch struct {
	cmd   *exec.Cmd
	ready time.Duration
	ended chan error

	mu    sync.Mutex
	lines []line
	bad   []string
	last  time.Time
}

// readyPatience is what an emulated guest may need to load and attach every probe.
const readyPatience = 3 * time.Minute

// start attaches with one back-end and waits for the ready file.
func start(ctx context.Context, l *lab.Lab, binary, tier string) (*watch, error) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ready := filepath.Join(dir, "ready")
	w := &watch{ended: make(chan error, 1)}
	w.cmd = exec.CommandContext(ctx, binary, "--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port),
		"--backend", tier, "-o", "json", "--ready-file", ready, "--netns", l.Node(lab.RealServer).Path())
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := l.Outside(w.cmd.Start); err != nil {
		return nil, err
	}
	go func() {
		w.read(bufio.NewScanner(out))
		w.ended <- w.cmd.Wait()
	}()
	for {
		if _, err := os.Stat(ready); err == nil {
			w.ready = time.Since(began)
			return w, nil
		}
		select {
		case err := <-w.ended:
			return nil, fmt.Errorf("ended before it was ready: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(began) > readyPatience {
			w.cmd.Process.Kill()
			return nil, errors.New("was never ready")
		}
	}
}

func (w *watch) read(s *bufio.Scanner) {
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		l := line{raw: s.Text()}
		err := json.Unmarshal(s.Bytes(), &l)
		w.mu.Lock()
		if err != nil {
			w.bad = append(w.bad, fmt.Sprintf("%v: %s", err, s.Text()))
		} else {
			w.lines = append(w.lines, l)
		}
		w.last = time.Now()
		w.mu.Unlock()
	}
}

// mark is the position in the output; since returns the journeys printed after one.
func (w *watch) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.lines)
}

func (w *watch) since(mark int) []line {
	w.mu.Lock()
	defer w.mu.Unlock()
	var journeys []line
	for _, l := range w.lines[mark:] {
		if l.Type == "journey" {
			journeys = append(journeys, l)
		}
	}
	return journeys
}

// settle waits until nothing was printed for a while.
func (w *watch) settle(quiet time.Duration) {
	began := time.Now()
	for time.Since(began) < 30*time.Second {
		w.mu.Lock()
		since := time.Since(w.last)
		w.mu.Unlock()
		if min(since, time.Since(began)) > quiet {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// await waits until enough journeys after mark satisfy want.
func (w *watch) await(mark, enough int, want func(line) bool) (found []line) {
	for began := time.Now(); time.Since(began) < 12*time.Second; time.Sleep(20 * time.Millisecond) {
		found = nil
		for _, l := range w.since(mark) {
			if want(l) {
				found = append(found, l)
			}
		}
		if len(found) >= enough {
			break
		}
	}
	return found
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
