package main

import (
	"context"
	"io"
	"os"
)

// openBeside opens a file for reading. A FIFO opens once somebody writes to it: ctx ends the wait.
func openBeside(ctx context.Context, name string) (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result, 1)
	effective(everything)
	defer effective(0)
	go func() {
		file, err := os.Open(name)
		done <- result{file, err}
	}()
	select {
	case r := <-done:
		return r.file, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readBeside is a reader whose wait for bytes ends with ctx, and with ctx's error. What is read in a goroutine of its own
// ends with the process; a regular file never waits for long, and is left as it is.
func readBeside(ctx context.Context, in io.Reader) io.Reader {
	if file, ok := in.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			return in
		}
	}
	out, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	return out
}
