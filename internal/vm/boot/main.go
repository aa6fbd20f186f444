// Command boot boots a Debian kernel in qemu and runs a command in it, or a
// shell: what the Makefile's targets use.
//
//	go run ./internal/vm/boot --kernel 6.1 --file bin/ipiptrace:/usr/bin/ipiptrace -- ipiptrace probes
//
// It exits with the command's exit code, 2 for wrong usage, and 125 when the
// guest could not be booted or died.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"ipiptrace/internal/vm"
)

const exitGuest = 125 // as docker(1): not the command's own

func main() { vm.Command{Name: "boot", Unable: exitGuest, Run: run}.Main() }

// options are the command line.
type options struct {
	guest       vm.Guest
	console     bool
	terminal    bool
	fetch       bool
	installOnly bool
}

func run(ctx context.Context, args []string) (int, error) {
	o, err := parse(args, os.Stderr)
	if err != nil {
		return 0, vm.Usage(err)
	}
	return o.run(ctx)
}

func parse(args []string, usage io.Writer) (options, error) {
	o := options{guest: vm.Guest{Files: map[string]string{}}}
	flags := flag.NewFlagSet("boot", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.Usage = func() {
		fmt.Fprintln(usage, "usage: boot --kernel NAME [flags] [-- COMMAND ARGUMENT…]   (no command: a shell)")
		flags.PrintDefaults()
	}
	flags.StringVar(&o.guest.Kernel, "kernel", "6.1", "`NAME` of the kernel: "+strings.Join(kernelNames(), ", "))
	flags.StringVar(&o.guest.Out, "out", "", "`DIR` that receives what the command left in the guest's /out")
	flags.Func("file", "`HOST:GUEST`: copy a file or directory into the guest, with libraries (repeatable)", func(s string) error {
		host, guest, ok := strings.Cut(s, ":")
		if !ok || host == "" || !strings.HasPrefix(guest, "/") {
			return errors.New("want HOST:/GUEST/PATH")
		}
		o.guest.Files[guest] = host
		return nil
	})
	flags.Func("env", "`NAME=VALUE` for the command's environment (repeatable)", func(s string) error {
		if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
			return errors.New("want NAME=VALUE")
		}
		o.guest.Env = append(o.guest.Env, s)
		return nil
	})
	flags.StringVar(&o.guest.Dir, "dir", "", "working `DIR` in the guest (default /root)")
	flags.IntVar(&o.guest.CPUs, "cpus", 2, "`NUMBER` of CPUs")
	flags.IntVar(&o.guest.Memory, "memory", 1024, "memory in `MiB`")
	flags.BoolVar(&o.guest.CountInstructions, "icount", false, "one CPU whose clock counts instructions: repeatable measurements")
	flags.StringVar(&o.guest.Append, "append", "", "more `WORDS` for the kernel's command line")
	flags.BoolVar(&o.console, "console", false, "show everything the kernel says, on stderr")
	flags.BoolVar(&o.terminal, "terminal", false, "give the command this terminal, if there is one; a shell gets it anyway")
	flags.BoolVar(&o.fetch, "fetch", false, "only put the kernel into the cache")
	flags.BoolVar(&o.installOnly, "install", false, "only install what this machine lacks")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	o.guest.Command = flags.Args()
	return o, nil
}

func kernelNames() []string {
	var names []string
	for _, k := range vm.Kernels() {
		names = append(names, k.Name)
	}
	return names
}

func (o options) run(ctx context.Context) (int, error) {
	if err := vm.Install(ctx, os.Stderr); err != nil || o.installOnly {
		return 0, err
	}
	if o.fetch {
		_, err := vm.Fetch(ctx, o.guest.Kernel, os.Stderr)
		return 0, err
	}
	g := o.guest
	g.Stdin, g.Stdout, g.Stderr, g.Progress = os.Stdin, os.Stdout, os.Stderr, os.Stderr
	if o.console {
		g.Console = os.Stderr
	}
	wanted := o.terminal || len(g.Command) == 0
	if wanted && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		return interactive(ctx, g)
	}
	return vm.Run(ctx, g)
}

// interactive gives the guest this terminal.
func interactive(ctx context.Context, g vm.Guest) (int, error) {
	columns, rows, err := term.GetSize(int(os.Stdin.Fd()))
	if err != nil {
		return 0, err
	}
	state, err := term.GetState(int(os.Stdin.Fd()))
	if err != nil {
		return 0, err
	}
	defer term.Restore(int(os.Stdin.Fd()), state)
	g.Terminal = &vm.Terminal{Rows: rows, Columns: columns, Type: os.Getenv("TERM"), Opened: func() {
		if len(g.Command) == 0 {
			fmt.Fprintln(os.Stderr, "boot: this is the guest's shell; `exit` or Ctrl-D ends the guest")
		}
		term.MakeRaw(int(os.Stdin.Fd())) // a terminal that stays cooked is only less comfortable
	}}
	return vm.Run(ctx, g)
}
