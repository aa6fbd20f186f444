package read

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestManySetsWithinRulesAreSaid where nft was too slow for them.
func TestManySetsWithinRulesAreSaid(t *testing.T) {
	slow := func(context.Context, []string, []string, func(io.Reader) error) error {
		return fmt.Errorf("nft %w 8s", errSlow)
	}
	const says = "nft took longer than 8s"
	for n, want := range map[int]string{manySets - 1: says, manySets: says + ": rules have 4096 sets within themselves, each of which the kernel looks for among all"} {
		sets := make([]nftSet, n)
		for i := range sets {
			sets[i] = nftSet{family: "ip", table: "t", name: fmt.Sprintf("__set%d", i), anonymous: true}
		}
		r := ruled(t, slow, append(sets, nftSet{family: "ip", table: "t", name: "s"})...)
		if r.read(rulesParts[:1]); len(r.s.Unread) != 1 || !strings.HasSuffix(r.s.Unread[0].Why, want) {
			t.Errorf("%d sets: %+v", n, r.s.Unread)
		}
	}
}
