package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// replay records a fault, repairs it, and has the recording say what was the matter, as if the machine were far away.
func (o options) replay(ctx context.Context, l *lab.Lab) (err error) {
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, _ := fault.Named("firewall-input")
	if err := fault.Inject(ctx, l, s); err != nil {
		return err
	}
	file, ready := filepath.Join(dir, "seen.jsonl"), filepath.Join(dir, "ready")
	record := exec.CommandContext(ctx, o.ipiptrace, "record", file, "--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port), "--ready-file", ready)
	record.Stderr = os.Stderr
	if err := l.Outside(record.Start); err != nil {
		return errors.Join(err, fault.Undo(ctx, l, s))
	}
	ended := make(chan error, 1)
	go func() { ended <- record.Wait() }()
	if err := untilReady(ready, ended); err != nil {
		return errors.Join(err, fault.Undo(ctx, l, s))
	}
	_, err = l.Traffics(ctx, s.Traffic)
	o.update = ""
	// At its end a run waits for no state for long: what the recording says by now is awaited before.
	for began := time.Now(); time.Since(began) < verdictPatience; {
		time.Sleep(2 * late)
		if lost, wrong := o.lostOf(ctx, file); wrong == nil && o.golden(s.Name, lost) == nil {
			break
		}
	}
	err = errors.Join(err, record.Process.Signal(syscall.SIGINT))
	<-ended // status 1: something was lost
	if err := errors.Join(err, fault.Undo(ctx, l, s)); err != nil {
		return err
	}
	lost, err := o.lostOf(ctx, file)
	if err != nil {
		return err
	}
	return o.golden(s.Name, lost)
}

// lostOf are the lost journeys of a recording, also of one that is being written.
func (o options) lostOf(ctx context.Context, file string) ([]line, error) {
	out, _ := exec.CommandContext(ctx, o.ipiptrace, "replay", file, "--only", "lost", "-o", "json").Output()
	return journeysOf(out)
}
