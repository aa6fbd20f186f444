// Package vm boots a Debian kernel in qemu and runs one command inside.
//
// The guest is made in virtme's manner: a distribution kernel with this
// machine's own tools. The kernel comes from Debian's archive through apt
// (archive.go), the root is a small initramfs written anew for each boot
// (root.go), and everything that goes in or comes out passes through
// virtio-serial ports (ports.go), so that stdout and stderr arrive apart,
// unaltered and at once, and the exit code is the command's own.
//
// It needs no root; KVM is used where it works, emulation where it doesn't.
package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// Guest says what to boot and what to run in it.
type Guest struct {
	Kernel  string   // a row of Kernels, as "6.1"
	Command []string // run as root, found through PATH; none is a shell
	Env     []string // "NAME=value", added to the guest's own
	Dir     string   // working directory of Command; "" is /root

	// Files are copied into the guest: guest path to host path. A directory is
	// copied with its content, a dynamic executable with the libraries it needs.
	Files map[string]string

	// Out is a directory of this machine that receives what the command left in
	// the guest's /out, which starts empty. It is created when absent. Nothing
	// comes back from a guest that died or was stopped by the context.
	Out string

	Stdin  io.Reader // nil reads as empty; a read may still be waiting when Run returns
	Stdout io.Writer // nil discards
	Stderr io.Writer // nil discards

	// Terminal gives the command a terminal instead of three streams: Stdin is
	// what the person types, Stdout is the screen, Stderr stays silent.
	Terminal *Terminal

	CPUs   int // 0 is two
	Memory int // MiB, 0 is 1024

	// CountInstructions makes the guest's clock advance with the instructions it
	// executes and not with time: one CPU, emulated, the same number each run.
	CountInstructions bool

	Append   string    // more words for the kernel's command line
	Console  io.Writer // everything the kernel says, from its first line; nil keeps it quiet
	Progress io.Writer // what is being waited for, one line each; nil is silent
}

// Terminal is the size of the terminal that a command in the guest gets.
type Terminal struct {
	Rows, Columns int
	Type          string // TERM

	// Opened is called when the command has the terminal: the moment to make one's
	// own raw, as from now on the guest echoes and acts upon Ctrl-C. May be nil.
	Opened func()
}

// Run fetches the kernel if it isn't cached, boots it, runs the guest's command
// and returns its exit code: 128 plus the signal's number if a signal ended it.
//
// An error means that the command did not come to an end: [ErrUnknownKernel],
// a missing tool (see [Install]), the archive out of reach, the context's error,
// or a [*DiedError] with the kernel's last words.
func Run(ctx context.Context, g Guest) (exitCode int, err error) {
	kernel, err := lookup(g.Kernel)
	if err != nil {
		return 0, err
	}
	if err := installed(); err != nil {
		return 0, err
	}
	say := progress{g.Progress}
	image, err := fetch(ctx, kernel, say)
	if err != nil {
		return 0, fmt.Errorf("fetch kernel %s: %w", g.Kernel, err)
	}
	initrd, err := buildRoot(g, image, say)
	if err != nil {
		return 0, fmt.Errorf("build the guest's root: %w", err)
	}
	defer initrd.Close()
	if g.Out != "" {
		if err := os.MkdirAll(g.Out, 0o755); err != nil {
			return 0, err
		}
	}
	return boot(ctx, g, image, initrd, say)
}

// buildRoot writes the initramfs into a file that has no name any more.
func buildRoot(g Guest, image Image, say progress) (*os.File, error) {
	start := time.Now()
	tree, err := root(g, image)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "ipiptrace-root-*.cpio")
	if err != nil {
		return nil, err
	}
	os.Remove(file.Name())
	size, err := tree.write(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	say.linef("built the root: %d files, %d MiB, %.1f s", len(tree), size>>20, time.Since(start).Seconds())
	return file, nil
}

// progress tells a waiting person what is being waited for.
type progress struct{ w io.Writer }

func (p progress) linef(format string, args ...any) {
	if p.w != nil {
		fmt.Fprintf(p.w, "vm: "+format+"\n", args...)
	}
}
