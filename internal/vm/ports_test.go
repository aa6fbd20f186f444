package vm

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestEventsCarryExitCodeAndByteCounts(t *testing.T) {
	var got []event
	for e := range events(strings.NewReader("ready\nexit 137 5000000 12\n")) {
		got = append(got, e)
	}
	if want := []event{{name: "ready"}, {"exit", 137, 5000000, 12}}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStreamIsCompleteWhenAwaitReturns(t *testing.T) {
	r, w := io.Pipe()
	var got bytes.Buffer
	s := newStream(&got, new(sync.Mutex))
	go s.copy(r)
	want := bytes.Repeat([]byte("\x00\xff\r\n"), 1000)
	go func() {
		for part := range slices.Chunk(want, 7) {
			w.Write(part)
		}
	}()
	s.await(int64(len(want))) // the other end stays open
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got %d bytes, want %d", got.Len(), len(want))
	}
}

func TestAwaitEndsWithTheGuest(t *testing.T) {
	s := newStream(nil, new(sync.Mutex))
	s.copy(strings.NewReader("cut off"))
	s.await(1 << 20)
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestBrokenWriterDoesNotStallTheGuest(t *testing.T) {
	s := newStream(broken{}, new(sync.Mutex))
	s.copy(strings.NewReader(strings.Repeat("x", 1<<20)))
	s.await(1 << 20)
	if s.count != 1<<20 || !errors.Is(s.err, io.ErrClosedPipe) {
		t.Errorf("read %d bytes, error %v", s.count, s.err)
	}
}

func TestOutReceivesFilesAndNothingOutsideIt(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(h tar.Header, content string) {
		h.Size = int64(len(content))
		w.WriteHeader(&h)
		io.WriteString(w, content)
	}
	add(tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	add(tar.Header{Name: "./sub/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	add(tar.Header{Name: "./sub/file", Typeflag: tar.TypeReg, Mode: 0o755}, "content")
	add(tar.Header{Name: "./link", Typeflag: tar.TypeSymlink, Linkname: "sub/file"}, "")
	add(tar.Header{Name: "./fifo", Typeflag: tar.TypeFifo, Mode: 0o600}, "")
	w.Close()
	dir := t.TempDir()
	for range 2 { // a second run overwrites the first
		if err := receive(bytes.NewReader(archive.Bytes()), dir); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, "link"))
	if err != nil || string(content) != "content" {
		t.Errorf("got %q, %v", content, err)
	}

	archive.Reset()
	w = tar.NewWriter(&archive)
	add(tar.Header{Name: "../escaped", Typeflag: tar.TypeReg, Mode: 0o644}, "x")
	w.Close()
	if err := receive(&archive, dir); err == nil {
		t.Error("a path outside the directory was accepted")
	}
}
