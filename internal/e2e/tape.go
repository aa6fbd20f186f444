package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// tapes records every fault, each in a run of its own, with the state of the machine that explains it, as
// <scenario>/<kernel>.jsonl.zst below the directory. Tests that need no guest replay them to the golden verdict.
func (o options) tapes(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp) error {
	kernel, err := kernelName()
	if err != nil {
		return err
	}
	for _, s := range fault.Scenarios() {
		if s.Code == "" || !only.MatchString(s.Name) {
			continue
		}
		path := filepath.Join(o.record, s.Name, kernel+".jsonl.zst")
		r.check("record/"+s.Name, errors.Join(o.tape(ctx, r, l, s, path), o.repair(ctx, l, s)))
	}
	return nil
}

// kernelName is what recordings of this kernel are called: "6.1".
func kernelName() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	if len(parts) < 3 {
		return "", fmt.Errorf("uname: release %q", u.Release)
	}
	return parts[0] + "." + parts[1], nil
}

// tape records one fault until a replay of what is there says what the golden verdict says.
func (o options) tape(ctx context.Context, r *report, l *lab.Lab, s fault.Scenario, path string) (err error) {
	if s.Pinned {
		if err := fault.Inject(ctx, l, s); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "tape")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "seen.jsonl")
	stop, err := o.recording(ctx, l, s, file)
	if err != nil {
		return err
	}
	_, err = o.play(ctx, r, l, s)
	_, said := o.awaitTape(ctx, s, file)
	if err := errors.Join(err, said, stop()); err != nil {
		return err
	}
	recorded, said := o.awaitTape(ctx, s, file) // its end, too, changes nothing
	return errors.Join(said, pack(path, recorded))
}

// recording starts a run that records, in the namespace in which the fault is, and returns what ends it.
func (o options) recording(ctx context.Context, l *lab.Lab, s fault.Scenario, file string) (stop func() error, err error) {
	netns := string(everywhere)
	if watched := s.Watch(); watched != everywhere && watched != lab.Switch {
		netns = l.Node(watched).Path()
	}
	ready := file + ".ready"
	cmd := exec.CommandContext(ctx, o.ipiptrace, "record", file, "-q", "--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port),
		"--netns", netns, "--ready-file", ready)
	cmd.Stderr = os.Stderr
	if err := l.Outside(cmd.Start); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() error {
		err := cmd.Process.Signal(syscall.SIGINT)
		<-ended // status 1: something was lost
		return err
	}
	if err := untilReady(ready, ended); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// awaitTape waits until the recording says what the golden verdict says, and returns it.
func (o options) awaitTape(ctx context.Context, s fault.Scenario, file string) (recorded []byte, err error) {
	o.update = ""
	for began := time.Now(); time.Since(began) < verdictPatience; time.Sleep(100 * time.Millisecond) {
		if recorded, err = os.ReadFile(file); err != nil {
			return nil, err
		}
		replay := exec.CommandContext(ctx, o.ipiptrace, "replay", "-", "-q", "-o", "json")
		replay.Stdin = bytes.NewReader(recorded)
		out, _ := replay.Output() // status 1: something was lost; a line may be written in part
		var journeys []line
		if journeys, err = journeysOf(out); err == nil {
			err = o.golden(s.Name, journeys)
		}
		if err == nil {
			break
		}
	}
	return recorded, err
}

// journeysOf are the journeys of a run's JSON.
func journeysOf(out []byte) (journeys []line, err error) {
	for raw := range bytes.Lines(out) {
		j := line{raw: string(raw)}
		if err := json.Unmarshal(raw, &j); err != nil {
			return nil, fmt.Errorf("%w: %s", err, raw)
		}
		if j.Type == "journey" {
			journeys = append(journeys, j)
		}
	}
	return journeys, nil
}

// pack writes a recording compressed.
func pack(path string, recorded []byte) error {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, w.EncodeAll(recorded, nil), 0o644))
}
