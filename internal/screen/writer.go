package screen

import (
	"io"
	"sync"
	"unicode/utf8"
)

// Writer is the last guard of a stream that may be a terminal. It shows as escapes what Clean does, but for the ends
// of lines and tabulators, which are layout here. Several goroutines may write.
type Writer struct {
	w       io.Writer
	colours bool

	mu sync.Mutex
	// rest is the beginning of a character whose end has not been written yet.
	rest []byte
	out  []byte
	err  error
}

// NewWriter guards w. With colours, those of a Page are shown.
func NewWriter(w io.Writer, colours bool) *Writer { return &Writer{w: w, colours: colours} }

// Under is the stream that a Writer guards, for what is no text, and for a process that writes to it by itself. Any
// other writer is returned as it is.
func Under(w io.Writer) io.Writer {
	if guard, ok := w.(*Writer); ok {
		return guard.w
	}
	return w
}

// Write writes text, with at most one Write to the stream. The error is the stream's.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := p
	if len(w.rest) > 0 {
		text = append(w.rest, p...)
	}
	w.out = w.out[:0]
	for len(text) > 0 {
		n := harmless(text)
		w.out = append(w.out, text[:n]...)
		if text = text[n:]; !utf8.FullRune(text) {
			break
		}
		r, size := utf8.DecodeRune(text)
		w.out = w.appendRune(w.out, r, text[:size])
		text = text[size:]
	}
	w.rest = append([]byte(nil), text...)
	if err := w.put(w.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// harmless is how many bytes at the beginning of a text need no second look, which are nearly all of most texts.
func harmless(text []byte) int {
	for i, c := range text {
		if (c < ' ' || c >= 0x7f) && c != '\n' {
			return i
		}
	}
	return len(text)
}

func (w *Writer) appendRune(b []byte, r rune, encoded []byte) []byte {
	if r == '\n' || r == '\t' {
		return append(b, byte(r))
	}
	if w.colours && Red <= Colour(r) && Colour(r) <= plain {
		return append(b, sequences[Colour(r)]...)
	}
	return appendClean(b, r, encoded)
}

func (w *Writer) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.w.Write(b)
	if w.err == nil {
		w.err = err
	}
	return err
}

// Close shows what has no end, and returns the first error that the stream had, if any. The stream stays open. It does
// not wait for a Write that is stuck, of which others know.
func (w *Writer) Close() error {
	if !w.mu.TryLock() {
		return nil
	}
	defer w.mu.Unlock()
	var b []byte
	for _, c := range w.rest {
		b = appendClean(b, utf8.RuneError, []byte{c})
	}
	w.rest = nil
	_ = w.put(b) // remembered
	return w.err
}
