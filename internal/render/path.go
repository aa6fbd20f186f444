package render

import (
	"fmt"
	"net/netip"
	"unicode/utf8"

	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// path is the journey step by step: the device where it changes, the outer header where it was read.
func (t *Text) path(j journey.Journey) []string {
	words := make([]string, 0, len(j.Steps)+1)
	tunnel := outerAt(j)
	dev, netns, many := "", uint32(0), several(j.Steps)
	for i, s := range j.Steps {
		word := s.Place.String()
		for _, said := range []string{s.NfHook, s.Verdict, s.Method} {
			if said != "" {
				word += " " + said
			}
		}
		if s.Dev != dev {
			dev = s.Dev
			word = dev + " " + word
		}
		if s.Netns != netns {
			if many {
				word = t.netns(s.Netns) + ": " + word
			}
			netns = s.Netns
		}
		if i == tunnel {
			word += fmt.Sprintf(" (%s → %s)", j.Outer.Src, tunnelEnd(j.Outer))
		}
		words = append(words, word)
	}
	if j.More > 0 {
		words = append(words, fmt.Sprintf("… %d more", j.More))
	}
	if j.Drop != nil {
		words = append(words, "drop")
	}
	return words
}

// tunnelEnd is the end of the tunnel, with its port if it is one of UDP.
func tunnelEnd(outer *event.Header) string {
	if outer.DstPort == 0 {
		return outer.Dst.String()
	}
	return netip.AddrPortFrom(outer.Dst, outer.DstPort).String()
}

// outerAt is the step at which the outer header is shown: the tunnel's, else the first one that has it; -1 for none.
func outerAt(j journey.Journey) int {
	if j.Outer == nil {
		return -1
	}
	first := -1
	for i, s := range j.Steps {
		if s.Place == event.Tunnel4Rcv {
			return i
		}
		if s.Tunnelled && first < 0 {
			first = i
		}
	}
	return first
}

func several(steps []journey.Step) bool {
	for _, s := range steps {
		if s.Netns != steps[0].Netns {
			return true
		}
	}
	return false
}

func (t *Text) netns(inode uint32) string {
	if t.opts.Netns != nil {
		if name := t.opts.Netns(inode); name != "" {
			return name
		}
	}
	return fmt.Sprintf("netns %d", inode)
}

// wrap puts a path on as many lines as the width asks for.
func (t *Text) wrap(p *screen.Page, words []string) {
	const arrow, arrowWidth = " → ", 3
	column := 0
	for i, word := range words {
		width := utf8.RuneCountInString(screen.Clean(word))
		switch {
		case i == 0:
			p.Printf("%s", indent)
			column = len(indent)
		case t.opts.Width > 0 && column+arrowWidth+width+2 > t.opts.Width: // room for the arrow that ends the line
			p.Linef(" →")
			p.Printf("%s  ", indent)
			column = len(indent) + 2
		default:
			p.Printf("%s", arrow)
			column += arrowWidth
		}
		p.Printf("%s", word)
		column += width
	}
	if len(words) > 0 {
		p.Linef("")
	}
}
