package read

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// The programs that render rules: the kernel's form of a rule has no text. They only read.
var (
	nftPrograms    = []string{"/usr/sbin/nft", "/sbin/nft"}
	legacyPrograms = []string{"/usr/sbin/iptables-legacy-save", "/sbin/iptables-legacy-save"}
	nftSaves       = []string{"/usr/sbin/iptables-nft-save", "/sbin/iptables-nft-save"}
)

// runTime bounds a program that renders rules.
const runTime = 5 * time.Second

// output is what a program that only reads says: a fixed path, no environment.
func (r *reader) output(programs []string, args ...string) ([]byte, error) {
	i := slices.IndexFunc(programs, func(p string) bool { _, err := os.Stat(p); return err == nil })
	if i < 0 {
		return nil, fmt.Errorf("%s is not installed", programs[0])
	}
	ctx, cancel := context.WithTimeout(r.ctx, runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, programs[i], args...)
	cmd.Env = []string{"LC_ALL=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	said := strings.TrimSpace(stderr.String())
	switch {
	case err == nil:
		return out, nil
	case r.ctx.Err() != nil:
		return nil, r.ctx.Err() // it was killed for that
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s took longer than %v", programs[i], runTime)
	case said == "":
		return nil, fmt.Errorf("%s: %w", programs[i], err)
	}
	return nil, fmt.Errorf("%s: %w: %s", programs[i], err, said)
}

// attempts is how often rules are read that were changed while they were read.
const attempts = 2
