package command

import (
	"slices"
	"strings"

	"ipiptrace/internal/screen"
)

// grep compares whole lines with a text that is no pattern, and says by its status alone whether one is it.
const grep = "grep -qxFe"

// Guarded is the command of then, which runs only while the command of list still shows the line:
//
//	iptables-legacy -t filter -S INPUT 3 | grep -qxFe '-A INPUT -j DROP' && iptables-legacy -t filter -D INPUT 3
//
// It is for what has only a position by which it can be named: between reading the line and running the command others
// may move it. Each of the three is checked as [Of] checks one command. what names the line in the reason why not.
func Guarded(what constant, list Fix, line string, then Fix) Fix {
	switch {
	case list.refused != "":
		return list
	case then.refused != "":
		return then
	case len(list.commands) != 1 || len(then.commands) != 1:
		return Fix{refused: "its words do not fit"}
	case strings.TrimSpace(line) == "" || screen.Clean(line) != line:
		return Fix{refused: string(what) + " has characters that cannot be printed"}
	}
	text := list.commands[0].text + " | " + grep + " " + Quote([]string{line}) + " && " + then.commands[0].text
	read, ok := Read(text)
	switch {
	case len(text) > maxLength:
		return Fix{refused: "it would be longer than a terminal's line"}
	case !ok || len(read) != 3 || read[1][len(read[1])-1] != line:
		return Fix{refused: "a shell would misread it"}
	}
	return Fix{commands: []Command{{text}}}
}

// Read reads a line that this package makes: the words of one command, or those of the three that [Guarded] joins.
func Read(line string) (commands [][]string, ok bool) {
	if words, ok := Split(line); ok {
		return [][]string{words}, true
	}
	list, rest, ok1 := cutUnquoted(line, " | ")
	match, then, ok2 := cutUnquoted(rest, " && ")
	if !ok1 || !ok2 {
		return nil, false
	}
	for _, part := range []string{list, match, then} {
		words, ok := Split(part)
		if !ok {
			return nil, false
		}
		commands = append(commands, words)
	}
	compared := commands[1]
	return commands, len(compared) == 3 && slices.Equal(compared[:2], strings.Fields(grep))
}

// cutUnquoted cuts a line at the first sign that stands outside of quotes.
func cutUnquoted(line, sign string) (before, after string, ok bool) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\'':
			quoted = !quoted
		case line[i] == '\\' && !quoted:
			i++
		case !quoted && strings.HasPrefix(line[i:], sign):
			return line[:i], line[i+len(sign):], true
		}
	}
	return line, "", false
}
