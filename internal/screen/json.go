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

// escape is a line of JSON without what is obeyed, which is in its strings only.
func escape(line []byte) []byte {
	end := len(line) - 1
	if bytes.IndexFunc(line[:end], IsObeyed) < 0 {
		return line
	}
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
