package read

import (
	"strconv"
	"strings"

	"ipiptrace/internal/host"
)

// addTexts gives rules the text under which nft lists them, and reports whether the listing is of these very tables.
//
// nft prints names and comments as they are, and those may hold newlines, quotes and " # handle 9": the listing is
// matched against what JSON says is there, and never understood by itself. Whatever the kernel has is in it, on a line
// that ends in its handle. So a listing with one such line more or less, or in another order, is forged or of another
// moment, and gives that table's rules no text. A rule that may have begun on an earlier line has none either: one with
// a newline in its comment, and the first of a chain with a comment that is no base chain.
func addTexts(tables []host.NftTable, listing string) (fits bool) {
	var listed [][]string // the lines of each table
	for line := range strings.Lines(listing) {
		line = strings.TrimSuffix(line, "\n")
		if _, _, ok := cutHandle(line); ok && strings.HasPrefix(line, "table ") {
			listed = append(listed, nil)
		}
		if n := len(listed) - 1; n >= 0 {
			listed[n] = append(listed[n], line)
		}
	}
	if len(listed) != len(tables) {
		return false
	}
	for i, t := range tables {
		if head, handle, _ := cutHandle(listed[i][0]); handle != t.Handle || !strings.HasPrefix(head, "table "+t.Family+" ") {
			return false
		}
	}
	fits = true
	for i := range tables {
		fits = addTableTexts(&tables[i], listed[i][1:]) && fits
	}
	return fits
}

// cutHandle cuts " # handle 9" off the end of a line.
func cutHandle(line string) (before string, handle uint64, ok bool) {
	const mark = " # handle "
	at := strings.LastIndex(line, mark)
	if at < 0 {
		return line, 0, false
	}
	handle, err := strconv.ParseUint(line[at+len(mark):], 10, 64)
	return line[:at], handle, err == nil
}

// nftListed is a chain, or a rule of it, in the order in which nft lists them.
type nftListed struct {
	chain *host.NftChain
	// rule is nil for the chain itself, first if it is the chain's first.
	rule  *host.NftRule
	first bool
}

func (l nftListed) is(line string, handle uint64) bool {
	if l.rule == nil {
		return handle == l.chain.Handle && strings.HasPrefix(line, "\tchain ")
	}
	return handle == l.rule.Handle && strings.HasPrefix(line, "\t\t")
}

// whole reports whether a rule begins on the line that has its handle; before are the lines since the last handle.
// A base chain's first rule comes after "type filter hook …", before which there may be the chain's comment.
func (l nftListed) whole(before []string) bool {
	if !l.first || l.chain.Hook == "" {
		return len(before) == 0
	}
	typed := func(line string) bool { return strings.HasPrefix(line, "\t\ttype ") }
	return len(before) == 1 && typed(before[0]) || len(before) == 2 && !typed(before[0]) && typed(before[1])
}

// addTableTexts does that for a table. Its sets, maps and the like are listed before its chains.
func addTableTexts(t *host.NftTable, lines []string) (fits bool) {
	var want []nftListed
	for i := range t.Chains {
		c := &t.Chains[i]
		want = append(want, nftListed{chain: c})
		for j := range c.Rules {
			want = append(want, nftListed{chain: c, rule: &c.Rules[j], first: j == 0})
		}
	}
	var texts, before []string
	for _, line := range lines {
		body, handle, ok := cutHandle(line)
		n := len(texts)
		switch {
		case !ok:
			before = append(before, line)
			continue
		case n < len(want) && want[n].is(body, handle):
			text := ""
			if want[n].rule != nil && want[n].whole(before) {
				text = strings.TrimSpace(body)
			}
			texts = append(texts, text)
		case n > 0 || strings.HasPrefix(line, "\tchain ") || strings.HasPrefix(line, "\t\t"):
			return false
		}
		before = nil
	}
	if len(texts) != len(want) {
		return false
	}
	for i, w := range want {
		if w.rule != nil {
			w.rule.Text = texts[i]
		}
	}
	return true
}
