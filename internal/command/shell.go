package command

import "strings"

// plain are the characters, beside letters and digits, that a shell takes as they stand.
const plain = "_-+:,./@%="

func isPlain(r rune) bool { return isAlnum(r) || strings.ContainsRune(plain, r) }

func isAlnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// Quote writes words so that a shell reads them as they are: a word that it would not take as it stands is in single
// quotes. The result is text: what a person shall run is made by [Of].
func Quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		// zsh takes "=word" for the path of a program.
		if w == "" || w[0] == '=' || strings.ContainsFunc(w, func(r rune) bool { return !isPlain(r) }) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// Split reads a line as a POSIX shell does (Shell Command Language, 2.2 and 2.3), as far as Quote writes it: plain
// characters, single quotes, and a backslash before a single quote. It is not ok if there is more in the line than
// simple words: anything by which a shell would expand, redirect, or begin another command.
func Split(line string) (words []string, ok bool) {
	var word strings.Builder
	begun := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, false
			}
			word.WriteString(line[i+1 : i+1+end])
			begun, i = true, i+1+end
		case c == '\\' && i+1 < len(line) && line[i+1] == '\'':
			word.WriteByte('\'')
			begun, i = true, i+1
		case c == ' ':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		case !isPlain(rune(c)) || c == '=' && !begun:
			return nil, false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, len(words) > 0
}
