package render

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text from devices, processes and recordings harmless: what a terminal might obey, or what
// reorders text, is shown as an escape sequence.
func clean(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, isObeyed) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case isObeyed(r):
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteRune(r)
		}
		s = s[size:]
	}
	return b.String()
}

// isObeyed is true of control characters, and format characters such as the bidirectional ones.
func isObeyed(r rune) bool { return !unicode.IsPrint(r) }
