package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ipiptrace/internal/lab"
)

// deferred has the service wait for data (TCP_DEFER_ACCEPT): the kernel frees the ACK that ends each handshake
// like a drop, and all is well, however long the client says nothing.
func (o options) deferred(ctx context.Context, r *report, l *lab.Lab, tier string) (err error) {
	const waits = 30 * time.Second
	if err := l.DeferAccept(waits); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.DeferAccept(0)) }()
	w, err := start(ctx, l, o.ipiptrace, round{tier: tier, watched: everywhere})
	if err != nil {
		return err
	}
	before, err := l.Counter(lab.RealServer, "TcpExt:", "TCPDeferAcceptDrop")
	if err != nil {
		return errors.Join(err, kill(w.cmd, w.ended))
	}
	// Silent for longer than a loss waits for what may excuse it.
	t := lab.Traffic{Proto: lab.TCP, Count: 3, Idle: 1500 * time.Millisecond, Request: 3000, Answer: 9000, Deadline: 20 * time.Second}
	got, err := l.Traffic(ctx, t)
	if err != nil {
		return errors.Join(err, kill(w.cmd, w.ended))
	}
	w.settle(late)
	account, err := w.stop()
	after, failed := l.Counter(lab.RealServer, "TcpExt:", "TCPDeferAcceptDrop")
	if err = errors.Join(err, failed, got.Saw(lab.Answered)); err != nil {
		return err
	}
	r.note("deferred, %s: %s; %d ACKs freed on purpose; %s", tier, got, after-before, account.raw)
	if after-before < t.Count {
		return fmt.Errorf("the kernel freed %d ACKs of %d connections", after-before, t.Count)
	}
	if account.Lost != 0 {
		return fmt.Errorf("called lost where nothing is: %s", account.raw)
	}
	return nil
}
