package vm

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// Kernel is a kernel that can be booted, and where Debian keeps it.
type Kernel struct {
	Name  string // what people call it: "6.1", "newest"
	Suite string // Debian suite; one that ends in "-security" is in the security archive
}

var kernels = []Kernel{
	{Name: "5.10", Suite: "bullseye-security"},
	{Name: "6.1", Suite: "bookworm"},
	{Name: "6.12", Suite: "trixie"},
	{Name: "newest", Suite: "trixie-backports"},
}

// Kernels returns the kernels that can be booted, oldest first.
func Kernels() []Kernel { return append([]Kernel(nil), kernels...) }

// ErrUnknownKernel is returned for a kernel that is not one of [Kernels].
var ErrUnknownKernel = errors.New("no such kernel")

func lookup(name string) (Kernel, error) {
	var names []string
	for _, k := range kernels {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return Kernel{}, fmt.Errorf("%w: %q; there are %s", ErrUnknownKernel, name, strings.Join(names, ", "))
}

// machine is what differs between processors. The guest runs this machine's
// tools, so it always has this machine's processor.
type machine struct {
	goarch  string
	debian  string   // Debian's name of the architecture, also in "linux-image-cloud-…"
	qemu    string   // the emulator
	pack    string   // the package that has it
	board   []string // qemu's arguments for the board
	cpu     string   // qemu's processor under emulation
	console string   // the first serial port
	words   string   // for the kernel's command line
}

var machines = []machine{
	{
		goarch: "amd64", debian: "amd64",
		qemu: "qemu-system-x86_64", pack: "qemu-system-x86",
		board: []string{"-machine", "pc"},
		// qemu 7.2's cmpxchg16b corrupts the flags now and then when several CPUs
		// are emulated; kernels from 6.12 on allocate memory with it and one boot in
		// six dies in a double fault. Page tables of four levels instead of five make
		// everything a tenth faster.
		cpu:     "max,cx16=off,la57=off",
		console: "ttyS0",
		// A busy host may be late with the timer's interrupt while the kernel looks
		// whether there is one, and no interrupt is a panic. The emulated CPUs share
		// one time stamp counter, which the kernel doubts: the HPET is slow to read.
		words: "no_timer_check tsc=reliable",
	},
}

func thisMachine() (machine, error) {
	for _, m := range machines {
		if m.goarch == runtime.GOARCH {
			return m, nil
		}
	}
	return machine{}, fmt.Errorf("guests run on amd64, not on %s", runtime.GOARCH)
}
