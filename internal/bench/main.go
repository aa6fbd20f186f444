// Command bench measures what ipiptrace costs a packet, in instructions.
//
//	go run ./internal/bench --kernel 6.1
//	go run ./internal/bench --kernel 6.1 --against HEAD^
//
// It boots a guest with one CPU whose clock advances with the instructions it
// executes (qemu's -icount): a noisy machine measures the same figures as a quiet one,
// to the digit. In the guest, crafted IPIP packets go from a packet socket through
// eth0 and tunl0 of a real server to a UDP socket and are taken out of it; a packet's
// cost is the instructions from its sending to its arrival, over those without a tracer.
//
// It exits with 1 if a case became dearer than tolerated or two runs differ, with 2
// for wrong usage and with 3 if there are no figures.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ipiptrace/internal/vm"
)

const (
	exitWorse  = 1
	exitUnable = 3
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "measure" {
		os.Exit(inGuest(os.Args[2]))
	}
	vm.Command{Name: "bench", Unable: exitUnable, Run: run}.Main()
}

// inGuest is the half that runs in the guest.
func inGuest(asked string) int {
	var o order
	err := json.Unmarshal([]byte(asked), &o)
	if err == nil {
		err = measure(o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitUnable
	}
	return 0
}

// options are the command line.
type options struct {
	order
	kernel  string
	against string
	binary  string
	json    bool
	repeat  int
}

func parse(args []string, usage io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&o.kernel, "kernel", "6.1", "`NAME` of the kernel, as internal/vm/boot knows it")
	backends := flags.String("backends", "fentry,kprobe-multi,kprobe,tracepoint", "which back-ends, `LIST`")
	flags.IntVar(&o.Packets, "packets", 2000, "`NUMBER` of packets that are measured in each case")
	flags.IntVar(&o.WarmUp, "warm-up", 500, "`NUMBER` of packets before them")
	flags.BoolVar(&o.Places, "places", false, "say also what each place costs; bpftool is needed for that")
	flags.StringVar(&o.against, "against", "", "compare with ipiptrace as of a `COMMIT`; fail if it became dearer")
	flags.StringVar(&o.binary, "binary", "", "measure this `FILE` instead of building the working tree")
	flags.IntVar(&o.repeat, "repeat", 1, "boot `N` guests, one after the other; fail if the figures differ")
	format := flags.String("o", "text", "text or json: a cost a line")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.Backends, o.json = strings.Split(*backends, ","), *format == "json"
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q: no arguments are taken", flags.Args())
	case *format != "text" && *format != "json":
		return o, fmt.Errorf("-o %q: text or json", *format)
	case o.Packets < 1 || o.WarmUp < 0 || o.repeat < 1:
		return o, errors.New("numbers of packets and guests start at 1")
	}
	return o, nil
}

func run(ctx context.Context, args []string) (int, error) {
	o, err := parse(args, os.Stderr)
	if err != nil {
		return 0, vm.Usage(err)
	}
	if good, err := o.run(ctx, os.Stdout, os.Stderr); err != nil || good {
		return 0, err
	}
	return exitWorse, nil
}

// run measures and says the figures; good is false if they are not what they should be.
func (o *options) run(ctx context.Context, out, progress io.Writer) (good bool, err error) {
	if err := vm.Install(ctx, progress); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "ipiptrace-bench-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	builds, err := o.build(ctx, dir)
	if err != nil {
		return false, err
	}
	first, err := boot(ctx, o.kernel, o.order, builds, progress)
	if err != nil {
		return false, err
	}
	good, err = o.say(out, first)
	for n := 1; n < o.repeat && err == nil; n++ {
		var again []cost
		if again, err = boot(ctx, o.kernel, o.order, builds, progress); err == nil {
			good = writeRepeat(progress, first, again) && good
		}
	}
	return good, err
}

// build makes the binaries that are to be measured, and names them in the order.
func (o *options) build(ctx context.Context, dir string) (map[string]string, error) {
	now := o.binary
	if now == "" {
		now = filepath.Join(dir, buildNow)
		if err := buildHere(ctx, now); err != nil {
			return nil, err
		}
	}
	if o.against == "" {
		o.Builds = []string{onlyBuild}
		return map[string]string{onlyBuild: now}, nil
	}
	before := filepath.Join(dir, buildBefore)
	if err := buildAt(ctx, o.against, before); err != nil {
		return nil, err
	}
	o.Builds = []string{buildBefore, buildNow}
	return map[string]string{buildBefore: before, buildNow: now}, nil
}

// say writes the figures as they were asked for.
func (o *options) say(out io.Writer, costs []cost) (good bool, err error) {
	pairs := compare(of(buildBefore, costs), of(buildNow, costs))
	if o.against != "" && len(pairs) == 0 {
		return false, errors.New("nothing to compare: no back-end can be used by both")
	}
	if o.json {
		lines := json.NewEncoder(out)
		for _, c := range costs {
			if err := lines.Encode(c); err != nil {
				return false, err
			}
		}
		return !slices.ContainsFunc(pairs, comparison.worse), nil
	}
	if o.against == "" {
		return true, writeTable(out, costs)
	}
	worse, err := writeComparison(out, pairs)
	return !worse, err
}
