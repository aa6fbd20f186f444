package ruleset

import "slices"

// join brings matches together that nft (1.0.6) may have made one comparison of: of fields that lie side by side
// within four bytes (payload_can_merge). It does so with "!=", too, and then tcp sport != 22 tcp dport != 80 is, in the
// kernel, all but what has both, though nft lists it as it was written; other programs mean what they write.
//
// Statements are those of other rules, too: one that gets others is another one.
func join(all []*statement) []*statement {
	joined := all[:0]
	for _, s := range all {
		n := len(joined)
		if n == 0 || !s.beside(joined[n-1]) {
			joined = append(joined, s)
			continue
		}
		both := *joined[n-1]
		both.joined = append(slices.Clip(both.joined), s.compared)
		joined[n-1] = &both
	}
	return joined
}

// besides are pairs of neighbours among the fields that can be evaluated.
var besides = [][2]string{{"sport", "dport"}, {"type", "code"}, {"ttl", "protocol"}, {"dport", "length"}, {"length", "id"}, {"id", "frag-off"}, {"protocol", "checksum"}}

// beside reports whether both are a "!=" with one value, of fields that lie side by side.
func (s *statement) beside(o *statement) bool {
	single := func(s *statement) bool {
		return s.name == "match" && s.compared != nil && s.compared.op == "!=" && s.compared.left.name == "payload" && s.compared.right.shape == plain
	}
	if !single(s) || !single(o) || s.compared.left.protocol != o.compared.left.protocol {
		return false
	}
	last := o.compared.left.field
	if n := len(o.joined); n > 0 {
		last = o.joined[n-1].left.field
	}
	return slices.ContainsFunc(besides, func(two [2]string) bool {
		a, b := s.compared.left.field, last
		return a == two[0] && b == two[1] || a == two[1] && b == two[0]
	})
}
