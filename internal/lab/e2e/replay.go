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
)

// replay records a fault, repairs it, and has the recording say what was the matter, as if the machine were far away.
func (o options) replay(ctx context.Context, l *lab.Lab) (err error) {
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, _ := lab.Named("firewall-input")
	if err := l.Inject(ctx, s); err != nil {
		return err
	}
	file, ready := filepath.Join(dir, "seen.jsonl"), filepath.Join(dir, "ready")
	record := exec.CommandContext(ctx, o.ipiptrace, "record", file, "--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port), "--ready-file", ready)
	record.Stderr = os.Stderr
	if err := l.Outside(record.Start); err != nil {
		return errors.Join(err, l.Undo(ctx, s))
	}
	ended := make(chan error, 1)
	go func() { ended <- record.Wait() }()
	if err := untilReady(ready, ended); err != nil {
		return errors.Join(err, l.Undo(ctx, s))
	}
	_, err = l.Traffics(ctx, s.Traffic)
	time.Sleep(2 * late)
	err = errors.Join(err, record.Process.Signal(syscall.SIGINT))
	<-ended // status 1: something was lost
	if err := errors.Join(err, l.Undo(ctx, s)); err != nil {
		return err
	}
	out, _ := exec.CommandContext(ctx, o.ipiptrace, "replay", file, "--only", "lost", "-o", "json").Output()
	lost, err := journeysOf(out)
	if err != nil {
		return err
	}
	o.update = ""
	return o.golden(s.Name, lost)
}
