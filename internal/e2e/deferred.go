package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ipiptrace/internal/lab"
)

// deferred has the service wait for data (TCP_DEFER_ACCEPT): the kernel frees the ACK that ends each handshake
// like a drop, and all is well, however long the client says nothing.
func (o options) deferred(ctx context.Context, r *report, l *lab.Lab, w *watch, rd round) afterwards {
	during, err := o.waitForData(ctx, r, l, rd)
	return afterwards{rd.String() + "/deferred", func(line) error {
		if err != nil {
			return err
		}
		lost := slices.DeleteFunc(w.during(during), func(j line) bool { return !j.lost() })
		if len(lost) > 0 {
			return fmt.Errorf("called lost where nothing is:%s", list(lost))
		}
		return nil
	}}
}

// waitForData sends the traffic, and checks that the kernel freed the ACKs.
func (o options) waitForData(ctx context.Context, r *report, l *lab.Lab, rd round) (during window, err error) {
	const waits = 30 * time.Second
	if err := l.DeferAccept(waits); err != nil {
		return during, err
	}
	defer func() { err = errors.Join(err, l.DeferAccept(0)) }()
	before, err := l.Counter(lab.RealServer, "TcpExt:", "TCPDeferAcceptDrop")
	if err != nil {
		return during, err
	}
	during.from = time.Now()
	// Silent for longer than a loss waits for what may excuse it.
	t := lab.Traffic{Proto: lab.TCP, Count: 3, Idle: 1500 * time.Millisecond, Request: 3000, Answer: 9000, Deadline: 20 * time.Second}
	got, err := l.Traffic(ctx, t)
	if err != nil {
		return during, err
	}
	time.Sleep(late)
	during.to = time.Now()
	after, err := l.Counter(lab.RealServer, "TcpExt:", "TCPDeferAcceptDrop")
	r.note("%s: deferred: %s; %d ACKs freed on purpose", rd, got, after-before)
	if after-before < t.Count {
		err = errors.Join(err, fmt.Errorf("the kernel freed %d ACKs of %d connections", after-before, t.Count))
	}
	return during, errors.Join(err, got.Saw(lab.Answered))
}
