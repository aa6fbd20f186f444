// Package screen is the way by which everything reaches standard output and standard error.
//
// What devices, processes, rules, recordings and arguments are called is somebody else's text. A terminal would obey
// the control characters in it, and show it in another order, or not at all, for the format characters. Text is
// cleaned where it becomes part of a line (Page, Clean), and a Writer guards the stream behind all that. JSON has the
// same characters as escapes, so that a string stays what it is.
package screen

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean is somebody's text as a part of a line: what a terminal might obey, what reorders text or has no width, and
// what ends a line is shown as an escape sequence, as Go writes it. Clean text stays as it is.
func Clean(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, IsObeyed) {
		return s
	}
	b := make([]byte, 0, 2*len(s))
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		b = appendClean(b, r, s[:size])
		s = s[size:]
	}
	return string(b)
}

// IsObeyed is true of what must not reach a terminal as it is: control characters, those that format text
// (bidirectional, of no width, separators of lines and paragraphs), those that nobody sees, and those that mean nothing.
func IsObeyed(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return r < ' ' || r == 0x7f
	case r == '→' || r == 'µ' || r == '·': // our own, and so frequent that the tables would take most of the time
		return false
	}
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// appendClean adds a rune, which was written as encoded; a byte that is no UTF-8 is shown as its number.
func appendClean[text string | []byte](b []byte, r rune, encoded text) []byte {
	switch {
	case r == utf8.RuneError && len(encoded) == 1:
		const digits = "0123456789abcdef"
		return append(b, '\\', 'x', digits[encoded[0]>>4], digits[encoded[0]&0xf])
	case IsObeyed(r):
		quoted := strconv.QuoteRuneToASCII(r)
		return append(b, quoted[1:len(quoted)-1]...)
	}
	return append(b, encoded...)
}

// readable is how many characters of an argument one still reads at a glance.
const readable = 64

// Short is an argument as it is repeated to the one who gave it: clean, and at most 64 characters, the last one a … if
// there is more of it.
func Short(s string) string { return short(s, readable, "") }

// Quote is Short in quotes, which count.
func Quote(s string) string { return `"` + short(s, readable-2, `"\`) + `"` }

// word is what a sentence has between two spaces, or between two quotes.
var word = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?|[^\s"]*[^\s":,;]`)

// Brief is a sentence that repeats what somebody gave, as errors of libraries do: clean, and each word or text in quotes
// in it as Short has it.
func Brief(s string) string {
	return word.ReplaceAllStringFunc(Clean(s), func(w string) string {
		if inner, quoted := strings.CutPrefix(w, `"`); quoted && utf8.RuneCountInString(w) > readable {
			return `"` + short(strings.TrimSuffix(inner, `"`), readable-2, "") + `"`
		}
		return Short(w)
	})
}

func short(s string, columns int, escaped string) string {
	var b strings.Builder
	for width := 0; len(s) > 0; {
		r, size := utf8.DecodeRuneInString(s)
		part := string(appendClean(nil, r, s[:size]))
		if strings.ContainsRune(escaped, r) {
			part = `\` + part
		}
		width += utf8.RuneCountInString(part)
		if width > columns || width == columns && len(s) > size {
			b.WriteString("…")
			break
		}
		b.WriteString(part)
		s = s[size:]
	}
	return b.String()
}
