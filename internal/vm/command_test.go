package vm

import (
	"errors"
	"flag"
	"fmt"
	"testing"
)

func TestAnErrorDecidesTheExitStatus(t *testing.T) {
	c := Command{Unable: 125}
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"asked for help":        {Usage(flag.ErrHelp), 0},
		"wrong usage":           {Usage(errors.New("no such flag")), 2},
		"a kernel nobody knows": {fmt.Errorf("fetch: %w", ErrUnknownKernel), 2},
		"anything else":         {errors.New("the guest died"), 125},
	} {
		if got := c.status(test.err); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
