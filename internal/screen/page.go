package screen

import (
	"fmt"
	"strings"
)

// Colour is one of the terminal's. It stands in text as a character that means nothing to anybody but a Writer.
type Colour rune

// The colours, by noncharacters of Unicode, which no text that is exchanged may have.
const (
	Red Colour = 0xfdd0 + iota
	Green
	Yellow
	plain
)

// sequences are what a terminal knows the colours by (ECMA-48, SGR).
var sequences = map[Colour]string{Red: "\x1b[31m", Green: "\x1b[32m", Yellow: "\x1b[33m", plain: "\x1b[0m"}

// Page is text being put together. What is written to it is cleaned: no text but the Page's own has colours, or ends a line.
type Page struct {
	// Colours: Paint does; else it only writes.
	Colours bool

	b strings.Builder
}

// Printf writes into the present line.
func (p *Page) Printf(format string, args ...any) {
	p.b.WriteString(Clean(fmt.Sprintf(format, args...)))
}

// Paint writes words into the present line in a colour.
func (p *Page) Paint(c Colour, words string) {
	words = Clean(words)
	if p.Colours {
		words = string(rune(c)) + words + string(rune(plain))
	}
	p.b.WriteString(words)
}

// Linef writes a line to its end.
func (p *Page) Linef(format string, args ...any) {
	p.Printf(format, args...)
	p.b.WriteByte('\n')
}

// String is the text so far, for a Writer.
func (p *Page) String() string { return p.b.String() }
