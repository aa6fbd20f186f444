//go:build native

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const deferPort = 8084

// TestNativeDeferAccept connects to a listener that waits for data, and lets it wait: nothing is lost.
func TestNativeDeferAccept(t *testing.T) {
	binary := build(t)
	n := newNetwork(t)
	n.serveDeferred(t)
	tr := startTrace(t, binary, n)
	n.hesitate(t, 1500*time.Millisecond) // longer than a loss waits for what may excuse it
	ended := tr.end(t, syscall.SIGINT)
	if ended.status != statusArrived || ended.account.Lost != 0 {
		t.Errorf("status %d, account %+v", ended.status, ended.account)
	}
	// Without functions nothing shows whether the listener has noted the ACK or had no room for it.
	if got := ended.count(func(j seen) bool { return j.is("request", "tcp", "unknown") && j.Inner.Flags == "A" }); got != 1 {
		t.Errorf("%d ACKs are unknown, not 1", got)
	}
	if t.Failed() {
		ended.dump(t, func(seen) bool { return true })
	}
}

// serveDeferred answers like serve, once there is data.
func (n *network) serveDeferred(t *testing.T) {
	t.Helper()
	in(t, n.server, func() error {
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			failed := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30)
			})
			return errors.Join(failed, err)
		}}
		listener, err := config.Listen(context.Background(), "tcp4", service(deferPort))
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			if c, err := listener.Accept(); err == nil {
				io.Copy(c, c)
				c.Close()
			}
		}()
		return nil
	})
}

// hesitate connects, says nothing for a while, then exchanges a few bytes and hangs up.
func (n *network) hesitate(t *testing.T, pause time.Duration) {
	t.Helper()
	in(t, n.client, func() error {
		c, err := net.Dial("tcp4", service(deferPort))
		if err != nil {
			return err
		}
		defer c.Close()
		time.Sleep(pause)
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		c.(*net.TCPConn).CloseWrite()
		_, err = io.Copy(io.Discard, c)
		return err
	})
}
