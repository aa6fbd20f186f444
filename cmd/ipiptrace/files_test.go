package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
	"ipiptrace/tracer/event"
)

// soon is far longer than anything here takes, on a busy machine too.
const soon = 20 * time.Second

func TestARecordingIsWrittenWhereItsNameIs(t *testing.T) {
	for what, test := range map[string]struct {
		make func(t *testing.T, path string)
		says string // empty: it is created, or replaced
	}{
		"nothing is there": {func(*testing.T, string) {}, ""},
		"an older one that everybody can read is there": {func(t *testing.T, path string) {
			check(t, os.WriteFile(path, []byte(`{"type":"recording","version":9}`), 0o644))
			check(t, os.Chmod(path, 0o666))
		}, ""},
		"an empty file": {func(t *testing.T, path string) { check(t, os.WriteFile(path, nil, 0o644)) }, ""},
		"something else": {func(t *testing.T, path string) {
			check(t, os.WriteFile(path, []byte("precious"), 0o644))
			check(t, os.Symlink(path, path+".other"))
		}, "is something else than a recording"},
		"a link to a file": {func(t *testing.T, path string) {
			check(t, os.WriteFile(path+".other", []byte("precious"), 0o644))
			check(t, os.Symlink(path+".other", path))
		}, "is a symbolic link"},
		"a link to nothing": {func(t *testing.T, path string) { check(t, os.Symlink(path+".other", path)) }, "is a symbolic link"},
		"another name of a file": {func(t *testing.T, path string) {
			check(t, os.WriteFile(path+".other", []byte("precious"), 0o644))
			check(t, os.Link(path+".other", path))
		}, "has another name"},
		"a directory": {func(t *testing.T, path string) { check(t, os.Mkdir(path, 0o755)) }, "is a directory"},
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "seen.jsonl")
			test.make(t, path)
			r, err := createRecording(t.Context(), path, io.Discard)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%v, want %q", err, test.says)
				}
				if data, err := os.ReadFile(path + ".other"); err == nil && string(data) != "precious" {
					t.Errorf("what the link leads to is %q now", data)
				}
				return
			}
			check(t, err)
			check(t, r.begin())
			_, err = io.WriteString(r, "new")
			check(t, errors.Join(err, r.file.Close()))
			info, err := os.Lstat(path)
			check(t, err)
			if data, err := os.ReadFile(path); err != nil || string(data) != "new" || info.Mode() != secret {
				t.Errorf("%q with mode %s, %v", data, info.Mode(), err)
			}
		})
	}
}

func TestADeviceMayTakeARecording(t *testing.T) {
	for _, name := range []string{"/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/2"} {
		r, err := createRecording(t.Context(), name, io.Discard)
		if errors.Is(err, unix.ENXIO) {
			continue // this test's own output is a socket, which can't be opened
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		check(t, r.discard())
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}

func TestAReadyFileIsNoLink(t *testing.T) {
	for what, leads := range map[string]string{"to a file": "empty", "to nothing": "nothing"} {
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o644))
		f := following{readyFile: filepath.Join(dir, "ready")}
		check(t, os.Symlink(filepath.Join(dir, leads), f.readyFile))
		if err := f.checkReadyFile(); err == nil {
			t.Errorf("a link %s is taken", what)
		}
		// It may come later.
		if err := f.ready(); err == nil {
			t.Errorf("a link %s is followed", what)
		}
		if _, err := os.Stat(filepath.Join(dir, "nothing")); err == nil {
			t.Error("what the link leads to was created")
		}
	}
}

// TestNoFIFOHoldsUpTheEnd waits for somebody at the other end of a FIFO, who never comes.
func TestNoFIFOHoldsUpTheEnd(t *testing.T) {
	t.Cleanup(func() { effective(everything) })
	for what, wait := range map[string]func(ctx context.Context, fifo string) error{
		"for a reader": func(ctx context.Context, fifo string) error {
			_, err := createRecording(ctx, fifo, io.Discard)
			return err
		},
		"for a writer": func(ctx context.Context, fifo string) error {
			_, err := openBeside(ctx, fifo)
			return err
		},
		"for a word": func(ctx context.Context, _ string) error {
			in, out := io.Pipe()
			defer out.Close()
			_, err := io.ReadAll(readBeside(ctx, in))
			return err
		},
	} {
		fifo := filepath.Join(t.TempDir(), "fifo")
		check(t, unix.Mkfifo(fifo, 0o600))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- wait(ctx, fifo) }()
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(soon):
			t.Errorf("%s: it waits still", what)
		}
	}
}

func TestAFIFOIsWrittenOnceItIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	check(t, unix.Mkfifo(path, 0o600))
	read := make(chan string, 1)
	go func() {
		data, err := os.ReadFile(path)
		read <- string(data) + errorText(err)
	}()
	r, err := createRecording(t.Context(), path, io.Discard)
	check(t, err)
	check(t, r.begin())
	_, err = io.WriteString(r, "seen")
	check(t, errors.Join(err, r.file.Close()))
	if got := <-read; got != "seen" {
		t.Errorf("%q was read", got)
	}
}

// TestAFIFOThatIsNotReadOnDoesNotHoldUpTheEnd fills a FIFO, and a pipe, whose reader has stopped reading.
func TestAFIFOThatIsNotReadOnDoesNotHoldUpTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	check(t, unix.Mkfifo(path, 0o600))
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	check(t, err)
	defer reader.Close()
	var ends [2]int // blocking, as a shell makes them
	check(t, unix.Pipe2(ends[:], unix.O_CLOEXEC))
	defer unix.Close(ends[0])
	stdout := os.NewFile(uintptr(ends[1]), "stdout")
	defer stdout.Close()
	for _, name := range []string{path, "-"} {
		r, err := createRecording(t.Context(), name, stdout)
		check(t, err)
		if r.file == nil {
			t.Fatalf("%s: its writes can't be given up", name)
		}
		r.hurry()
		if _, err = r.Write(make([]byte, 8<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		check(t, r.discard())
	}
}

// TestAStateThatNoReaderTakesIsNotRecorded has more links than a recording may.
func TestAStateThatNoReaderTakesIsNotRecorded(t *testing.T) {
	small := event.Event{Kind: event.State, Netns: 7, Host: []byte(`{"netns":7}`)}
	if got := recordable(small); string(got.Host) != `{"netns":7}` {
		t.Errorf("%s", got.Host)
	}
	large := small
	large.Host = []byte(`{"netns":7,"links":[` + strings.Repeat("{},", 1<<20) + "{}]}")
	s, err := host.Parse(recordable(large).Host)
	if err != nil || s.Netns != 7 || s.Knows(host.PartLinks) {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestASilentInputEndsWithASignal sends signals to a replay that waits for more, of a FIFO and of standard input.
func TestASilentInputEndsWithASignal(t *testing.T) {
	self, err := os.Executable()
	check(t, err)
	for _, from := range []string{"a FIFO", "-"} {
		for _, end := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			if signal.Ignored(end) {
				continue // these tests run under nohup
			}
			var stderr bytes.Buffer
			cmd := &exec.Cmd{Path: self, Args: []string{"ipiptrace", "replay", "-"}, Stderr: &stderr}
			var in io.WriteCloser
			if from == "-" {
				in, err = cmd.StdinPipe()
				check(t, err)
				check(t, cmd.Start())
			} else {
				path := filepath.Join(t.TempDir(), "fifo")
				check(t, unix.Mkfifo(path, 0o600))
				cmd.Args[2] = path
				check(t, cmd.Start())
				in, err = os.OpenFile(path, os.O_WRONLY, 0)
				check(t, err)
			}
			// More than a pipe holds: once it is written, somebody reads.
			_, err = in.Write(bytes.Repeat([]byte("\n"), 256<<10))
			check(t, err)
			check(t, cmd.Process.Signal(end))
			late := time.AfterFunc(soon, func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			if late.Stop(); err != nil || !strings.HasPrefix(stderr.String(), "journeys 0 ") {
				t.Errorf("%s, %s: %v, %q", from, end, err, stderr.String())
			}
			in.Close()
		}
	}
}

// TestAReplayThatNobodyReadsEndsWithASignal stops reading what replay prints: more than its queue, and a pipe, hold.
func TestAReplayThatNobodyReadsEndsWithASignal(t *testing.T) {
	self, err := os.Executable()
	check(t, err)
	var recording bytes.Buffer
	w, err := event.NewWriter(&recording, event.Run{Start: time.Unix(1_800_000_000, 0)})
	check(t, err)
	addr := netip.MustParseAddr("10.99.0.1")
	for i := range uint64(2 * queuedJourneys) {
		check(t, w.Write(event.Event{Place: event.NetifReceiveSkb, First: true, Skb: i + 1, ID: i + 1, Packet: &event.Packet{
			Inner: event.Header{Src: addr, Dst: addr, Protocol: 17}, HasPorts: true, SrcPort: uint16(i), DstPort: 53,
		}}))
	}
	var stderr bytes.Buffer
	cmd := &exec.Cmd{Path: self, Args: []string{"ipiptrace", "replay", "-"}, Stdin: &recording, Stderr: &stderr}
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, 1)) // it prints
	check(t, err)
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	late := time.AfterFunc(soon, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	if late.Stop(); err != nil || !strings.Contains(stderr.String(), "journeys were not shown") || !strings.Contains(stderr.String(), "\njourneys ") {
		t.Errorf("%v, %q", err, stderr.String())
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
