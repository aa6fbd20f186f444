package vm

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// port is one end of a connection to the guest; qemu holds the other.
type port struct {
	*net.UnixConn
	qemu *os.File
}

func newPort() (port, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return port{}, fmt.Errorf("socketpair: %w", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "port")
	defer ours.Close() // FileConn makes a copy
	theirs := os.NewFile(uintptr(pair[1]), "qemu's end of a port")
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return port{}, err
	}
	return port{conn.(*net.UnixConn), theirs}, nil
}

// event is what the guest says on its status port.
type event struct {
	name           string // "ready": the command starts; "exit": it has ended
	code           int
	stdout, stderr int64 // how many bytes each stream has had
}

// events reads the status port until the guest is gone.
func events(r io.Reader) <-chan event {
	c := make(chan event)
	go func() {
		defer close(c)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			var e event
			fmt.Sscan(lines.Text(), &e.name, &e.code, &e.stdout, &e.stderr) // "ready" has no numbers
			c <- e
		}
	}()
	return c
}

// stream passes on what a port delivers and knows how much that was.
type stream struct {
	to    io.Writer
	lock  *sync.Mutex // shared by streams with the same writer
	err   error       // of the writer; the rest is discarded, as the guest must not stall
	count int64
	ended bool
	grown *sync.Cond
}

func newStream(to io.Writer, lock *sync.Mutex) *stream {
	if to == nil {
		to = io.Discard
	}
	return &stream{to: to, lock: lock, grown: sync.NewCond(new(sync.Mutex))}
}

// copy runs until the other end is closed.
func (s *stream) copy(from io.Reader) {
	io.Copy(s, from) // an error is the end: qemu is gone
	s.grown.L.Lock()
	s.ended = true
	s.grown.L.Unlock()
	s.grown.Broadcast()
}

// Write never fails, so that a broken writer can't make the guest stall.
func (s *stream) Write(p []byte) (int, error) {
	if s.err == nil {
		s.lock.Lock()
		_, s.err = s.to.Write(p)
		s.lock.Unlock()
	}
	s.grown.L.Lock()
	s.count += int64(len(p))
	s.grown.L.Unlock()
	s.grown.Broadcast()
	return len(p), nil
}

// await returns when count bytes have passed, or none can come any more.
func (s *stream) await(count int64) {
	s.grown.L.Lock()
	defer s.grown.L.Unlock()
	for s.count < count && !s.ended {
		s.grown.Wait()
	}
}
