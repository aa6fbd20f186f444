package vm

import (
	"io"
	"sync"
)

// DiedError says that the guest ended before its command did.
type DiedError struct {
	Release string // the kernel, as uname -r says it
	Console string // what it said last
	Stderr  string // what qemu said
}

func (e *DiedError) Error() string {
	s := "the guest died before its command ended (Linux " + e.Release + ")"
	if e.Stderr != "" {
		s += "\nqemu says:\n" + e.Stderr
	}
	return s + "\nthe kernel's last words:\n" + e.Console
}

// lastWords keeps the end of what the kernel says.
type lastWords struct {
	to   io.Writer
	lock sync.Mutex
	tail []byte
}

const keptWords = 8 << 10 // bytes: a panic with its call trace

func (l *lastWords) Write(p []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.tail = append(l.tail, p...)
	if extra := len(l.tail) - keptWords; extra > 0 {
		l.tail = l.tail[extra:]
	}
	if l.to != nil {
		l.to.Write(p) // a console that can't be shown is no reason to stop
	}
	return len(p), nil
}

func (l *lastWords) String() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return string(l.tail)
}
