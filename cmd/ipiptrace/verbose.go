package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"

	"ipiptrace/internal/screen"
)

// verbose is what -v has logged: a line for each message with its values, and one for each line of an error.
type verbose struct {
	mu *sync.Mutex
	w  io.Writer
}

func (v verbose) Enabled(context.Context, slog.Level) bool { return true }

// Handle writes a message whole.
func (v verbose) Handle(_ context.Context, r slog.Record) error {
	said, why := r.Message, ""
	r.Attrs(func(a slog.Attr) bool {
		switch value := a.Value.Any().(type) {
		case nil:
		case error:
			for line := range strings.Lines(value.Error()) {
				why += "\n    " + screen.Clean(shorter(strings.TrimSuffix(line, "\n")))
			}
		default:
			if text := fmt.Sprint(value); text != "" {
				said += ", " + a.Key + " " + screen.Clean(text)
			}
		}
		return true
	})
	if why != "" {
		said += ":" + why
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	_, err := fmt.Fprintln(v.w, said)
	return err
}

// WithAttrs and WithGroup are not used by what is logged here.
func (v verbose) WithAttrs([]slog.Attr) slog.Handler { return v }
func (v verbose) WithGroup(string) slog.Handler      { return v }

// inner are the steps of the library that say nothing to who can't change it, with the names that it makes up.
var inner = regexp.MustCompile(`creating tracefs event \(arch-specific fallback for "[^"]*"\): |creating probe entry on tracefs: |` +
	`checking trace event [^:]*: |program \w+: |load program: `)

// shorter is an error without them.
func shorter(line string) string {
	return inner.ReplaceAllString(strings.ReplaceAll(line, memlock, ""), "")
}
