package render

import (
	"strings"
	"unicode/utf8"

	"ipiptrace/internal/screen"
)

// sheet is a page whose sentences are broken into lines where the screen ends.
type sheet struct {
	*screen.Page
	// width is the screen's, in columns; 0: lines are as long as they are.
	width int
}

// fold writes text from a column on to the end of a line; the lines that follow begin at column hang.
func (s sheet) fold(column, hang int, text string) {
	for i, word := range strings.Split(screen.Clean(text), " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case s.width > 0 && word != "" && column+1+n > s.width:
			s.Linef("")
			s.Printf("%*s", hang, "")
			column = hang
		default:
			s.Printf(" ")
			column++
		}
		s.Printf("%s", word)
		column += n
	}
	s.Linef("")
}

// under writes a line that belongs to a heading.
func (s sheet) under(text string) {
	s.Printf("%s", underHeading)
	s.fold(len(underHeading), len(underHeading)+len(indent)/2, text)
}
