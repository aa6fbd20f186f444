// Package recording keeps what was seen of the lab's scenarios in guests, with the state of the machine that explains
// it, so that a verdict can be asked where there is no guest.
package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"ipiptrace/tracer/event"
)

// suffix is how the file of a Recording ends.
const suffix = ".jsonl.zst"

// A Recording is what was seen of a scenario on a kernel. It is the file <scenario>/<kernel>.jsonl.zst of a directory.
type Recording struct {
	Dir, Scenario string
	// Kernel is a version of two numbers: "6.1".
	Kernel string
}

// All are those of a directory, in order of their names.
func All(dir string) (all []Recording, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"+suffix))
	for _, path := range paths {
		all = append(all, Recording{dir, filepath.Base(filepath.Dir(path)), strings.TrimSuffix(filepath.Base(path), suffix)})
	}
	return all, err
}

// String is its path.
func (r Recording) String() string { return filepath.Join(r.Dir, r.Scenario, r.Kernel+suffix) }

// Bytes are what it holds, as `ipiptrace replay` reads it.
func (r Recording) Bytes() ([]byte, error) {
	packed, err := os.ReadFile(r.String())
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	data, err := d.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	return data, nil
}

// Open reads its beginning; its events can be read from what is returned.
func (r Recording) Open() (*event.Reader, error) {
	data, err := r.Bytes()
	if err != nil {
		return nil, err
	}
	return event.NewReader(bytes.NewReader(data))
}

// Write makes its file, in which a run has these events.
func (r Recording) Write(run event.Run, events []event.Event) error {
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if err := errors.Join(write(z, run, events), z.Close()); err != nil {
		return err
	}
	path := r.String()
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, packed.Bytes(), 0o644))
}

func write(out io.Writer, run event.Run, events []event.Event) error {
	w, err := event.NewWriter(out, run)
	if err != nil {
		return err
	}
	for _, e := range events {
		if err := w.Write(e); err != nil {
			return err
		}
	}
	return nil
}
