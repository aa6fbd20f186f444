package screen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON writes a value as one line, with one Write. What a terminal might obey is escaped in it: a reader of JSON finds
// the same strings. A byte that is no UTF-8, which JSON can't have, is the replacement character U+FFFD.
func JSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode json: %w", err)
	}
	_, err := w.Write(escape(b.Bytes()))
	return err
}

// JSONLines is a writer for what makes its own JSON, with one Write a line: it escapes what JSON does.
func JSONLines(w io.Writer) io.Writer { return jsonLines{w} }

type jsonLines struct{ w io.Writer }

func (l jsonLines) Write(line []byte) (int, error) {
	if _, err := l.w.Write(escape(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// escape is a line of JSON without what is obeyed, which is in its strings only.
func escape(line []byte) []byte {
	if harmless(line) == len(line) {
		return line
	}
	end := len(line) - 1
	b := make([]byte, 0, 2*len(line))
	for rest := line[:end]; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case !IsObeyed(r):
			b = append(b, rest[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		rest = rest[size:]
	}
	return append(b, '\n')
}
