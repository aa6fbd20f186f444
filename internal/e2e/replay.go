package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// replay records a fault, repairs it, and has the recording say what was the matter, as if the machine were far away.
func (o options) replay(ctx context.Context, l *lab.Lab) error {
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "seen.jsonl")
	s, _ := fault.Named("firewall-input")
	o.update = ""
	err = fault.Inject(ctx, l, s)
	if err == nil {
		err = o.recorded(ctx, l, s, file)
	}
	if err := errors.Join(err, fault.Undo(ctx, l, s)); err != nil {
		return err
	}
	lost, err := o.lostOf(ctx, file)
	if err != nil {
		return err
	}
	return o.golden(s.Name, lost)
}

// recorded records a scenario's traffic in a file. A run that ends waits for no state for long: what the recording says by
// then is awaited before.
func (o options) recorded(ctx context.Context, l *lab.Lab, s fault.Scenario, file string) error {
	args := []string{"record", file, "--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port)}
	record, ended, err := launch(ctx, l, o.ipiptrace, args, func(out io.Reader) { io.Copy(io.Discard, out) })
	if err != nil {
		return err
	}
	_, err = l.Traffics(ctx, s.Traffic)
	for began := time.Now(); err == nil && time.Since(began) < verdictPatience; {
		time.Sleep(late)
		if lost, wrong := o.lostOf(ctx, file); wrong == nil && o.golden(s.Name, lost) == nil {
			break
		}
	}
	err = errors.Join(err, record.Process.Signal(syscall.SIGINT))
	<-ended // status 1: something was lost
	return err
}

// lostOf are the lost journeys of a recording, also of one that is being written.
func (o options) lostOf(ctx context.Context, file string) ([]line, error) {
	out, _ := exec.CommandContext(ctx, o.ipiptrace, "replay", file, "--only", "lost", "-o", "json").Output()
	return journeysOf(out)
}
