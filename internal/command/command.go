// Package command makes the commands that ipiptrace prints for a person to run, and nothing else makes any. It is pure.
//
// What stands in a command is either constant text of this program, or a [Part], whose constructor knows the grammar
// of what it is: an address, a device, a chain. A name that cannot be said safely gives no command, and the reason why.
// The whole is checked again before it is handed out: a shell, and behind it nft, must read exactly the intended words.
package command

import (
	"slices"
	"strings"

	"ipiptrace/internal/screen"
)

// constant is text that stands in the source of this program: no string that is made at run time turns into it, since
// nobody outside can name the type.
type constant string

// Command is one line for a root shell. Only this package makes one that is not empty.
type Command struct{ text string }

// String is the command as a shell takes it.
func (c Command) String() string { return c.text }

// MarshalText is String, for JSON. There is no way back.
func (c Command) MarshalText() ([]byte, error) { return []byte(c.text), nil }

// Fix is the commands of one repair. They belong together: if one of them cannot be said, there is none of them. The
// zero Fix has none, and nothing in the way.
type Fix struct {
	commands []Command
	refused  string
}

// Of is the command that the template says. Its words are separated as a shell separates them; each % in it stands for
// the next part. A % that is a whole word takes a part of any number of words, one within a word a part of one word.
func Of(template constant, parts ...Part) Fix {
	words, refused := fill(string(template), parts)
	if refused == "" {
		refused = misread(words)
	}
	if refused != "" {
		return Fix{refused: refused}
	}
	return Fix{commands: []Command{{Quote(words)}}}
}

// None is no command; why ends a sentence.
func None(why constant) Fix { return Fix{refused: string(why)} }

// Then adds a command; see [Of].
func (f Fix) Then(template constant, parts ...Part) Fix { return f.And(Of(template, parts...)) }

// And adds the commands of another Fix.
func (f Fix) And(more Fix) Fix {
	switch {
	case f.refused != "":
		return f
	case more.refused != "":
		return more
	}
	return Fix{commands: slices.Concat(f.commands, more.commands)}
}

// Commands are the commands in the order in which they are to be run.
func (f Fix) Commands() []Command { return slices.Clone(f.commands) }

// Refused says why there is no command, in words that end a sentence; it is empty if there is nothing in the way.
func (f Fix) Refused() string { return f.refused }

// fill puts the parts into the template.
func fill(template string, parts []Part) (words []string, refused string) {
	for _, p := range parts {
		if !p.ok {
			return nil, p.why()
		}
	}
	split, ok := Split(template)
	if !ok || strings.Count(template, "%") != len(parts) {
		return nil, "its words do not fit"
	}
	for _, w := range split {
		if w == "%" {
			words, parts = append(words, parts[0].words...), parts[1:]
			continue
		}
		text := strings.Split(w, "%")
		word := text[0]
		for _, after := range text[1:] {
			if len(parts[0].words) != 1 {
				return nil, "its words do not fit"
			}
			word, parts = word+parts[0].words[0]+after, parts[1:]
		}
		words = append(words, word)
	}
	return words, ""
}

// maxLength is what a terminal takes as one line, with room for the newline (N_TTY_BUF_SIZE): it cuts a longer one.
const maxLength = 4094

// misread says why the words would not be read as they are meant; it is empty if they would.
func misread(words []string) string {
	text := Quote(words)
	read, ok := Split(text)
	switch {
	case len(text) > maxLength:
		return "it would be longer than a terminal's line"
	case screen.Clean(text) != text: // what is shown would be another command
		return "a name in it has characters that cannot be printed"
	case !ok || !slices.Equal(read, words):
		return "a shell would misread it"
	case words[0] == "nft" && !joins(words[1:]):
		return "nft would misread it"
	}
	return ""
}
