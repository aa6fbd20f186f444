package read

import (
	"context"
	"fmt"
	"io"
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

// runTime bounds a program that renders rules. A state has not much more: what is slow but in time is better than nothing.
const runTime = 8 * time.Second

// patientTime is the same where parts have times of their own: fifty thousand rules take nft seconds, and
// a minute on a slow machine.
const patientTime = 2 * time.Minute

// attempts is how often rules are read that were changed while they were read.
const attempts = 2

// runner has take read what a program writes: of its paths the first that is there. A test has stored output.
type runner func(ctx context.Context, paths, args []string, take func(io.Reader) error) error

// output is all that a program writes.
func (r *reader) output(ctx context.Context, paths []string, args ...string) (text []byte, err error) {
	err = r.run(ctx, paths, args, func(from io.Reader) (err error) {
		text, err = io.ReadAll(from)
		return err
	})
	return text, err
}

// half is the reader's context with half of the time that is left.
func (r *reader) half() (context.Context, context.CancelFunc) {
	end, ok := r.ctx.Deadline()
	if !ok {
		return context.WithCancel(r.ctx)
	}
	return context.WithTimeout(r.ctx, time.Until(end)/2)
}

// execute runs programs of this machine, each for so long at most, with an empty environment.
func execute(limit time.Duration) runner {
	return func(ctx context.Context, paths, args []string, take func(io.Reader) error) error {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		err := executed(limited, paths, args, take)
		switch {
		case ctx.Err() != nil:
			return ctx.Err() // it was killed for that
		case limited.Err() != nil:
			return fmt.Errorf("%s %w %v", paths[0], errSlow, limit)
		}
		return err
	}
}

func executed(ctx context.Context, paths, args []string, take func(io.Reader) error) error {
	i := slices.IndexFunc(paths, func(p string) bool { _, err := os.Stat(p); return err == nil })
	if i < 0 {
		return fmt.Errorf("%s is not installed", paths[0])
	}
	cmd := exec.CommandContext(ctx, paths[i], args...)
	cmd.Env = []string{"LC_ALL=C"}
	var stderr complaint
	cmd.Stderr, cmd.WaitDelay = &stderr, time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { out.Close() })() // its child may hold the other end
	taken := take(out)
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	switch {
	case err != nil && len(stderr) > 0:
		return fmt.Errorf("%s: %w: %s", paths[i], err, stderr)
	case err != nil:
		return fmt.Errorf("%s: %w", paths[i], err)
	case taken != nil:
		return fmt.Errorf("%s: %w", paths[i], taken)
	}
	return nil
}

// complaint is the first line that a program writes to stderr, of it what fits.
type complaint []byte

// Write takes as much as there is room for.
func (c *complaint) Write(b []byte) (int, error) {
	const room = 200
	*c = append(*c, b[:min(len(b), room-len(*c))]...)
	return len(b), nil
}

// String is that line.
func (c complaint) String() string {
	first, _, _ := strings.Cut(strings.TrimSpace(string(c)), "\n")
	return first
}
