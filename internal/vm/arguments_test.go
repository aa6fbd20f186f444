package vm

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func qemuArguments(t *testing.T, g Guest) []string {
	t.Helper()
	vm := &guest{Guest: g, image: Image{Vmlinuz: "/boot/vmlinuz"}, ports: map[string]port{}}
	for _, name := range append([]string{"console", "terminal"}, portNames...) {
		vm.ports[name] = port{qemu: os.Stdin}
	}
	cmd := exec.Command("qemu")
	vm.arguments(cmd, machines[0], os.Stdin)
	if fds := len(cmd.ExtraFiles); fds != len(vm.ports)+1 {
		t.Errorf("qemu gets %d files, want the root and %d ports", fds, len(vm.ports))
	}
	return cmd.Args
}

func after(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 {
		return args[i+1]
	}
	return ""
}

func TestGuestDefaultsToTwoCPUsAndAGigabyte(t *testing.T) {
	args := qemuArguments(t, Guest{})
	if cpus, memory := after(args, "-smp"), after(args, "-m"); cpus != "2" || memory != "1024" {
		t.Errorf("-smp %s -m %s", cpus, memory)
	}
}

func TestEmulatedCPUHasNoCmpxchg16b(t *testing.T) {
	args := qemuArguments(t, Guest{CountInstructions: true})
	if cpu := after(args, "-cpu"); !strings.Contains(cpu, "cx16=off") {
		t.Errorf("-cpu %s", cpu)
	}
}

func TestEmulatedCPUsRunInTurn(t *testing.T) {
	args := qemuArguments(t, Guest{CountInstructions: true})
	if accel := after(args, "-accel"); accel != "tcg,thread=single" {
		t.Errorf("-accel %s", accel)
	}
}

func TestInstructionClockMeansOneEmulatedCPU(t *testing.T) {
	args := qemuArguments(t, Guest{CPUs: 4, CountInstructions: true})
	if cpus, accel, icount := after(args, "-smp"), after(args, "-accel"), after(args, "-icount"); cpus != "1" || accel != "tcg,thread=single" || icount == "" {
		t.Errorf("-smp %s -accel %s -icount %s", cpus, accel, icount)
	}
}

func TestKernelCommandLine(t *testing.T) {
	line := after(qemuArguments(t, Guest{Append: "nokaslr"}), "-append")
	for _, word := range []string{"console=ttyS0", "panic=-1", "quiet", "nokaslr"} {
		if !slices.Contains(strings.Fields(line), word) {
			t.Errorf("%q lacks %s", line, word)
		}
	}
	loud := after(qemuArguments(t, Guest{Console: os.Stderr}), "-append")
	if slices.Contains(strings.Fields(loud), "quiet") {
		t.Errorf("%q is quiet although someone listens", loud)
	}
}

func TestLastWordsAreTheLast(t *testing.T) {
	var l lastWords
	l.Write([]byte("early"))
	l.Write([]byte(strings.Repeat("x", keptWords)))
	l.Write([]byte("panic"))
	if s := l.String(); len(s) != keptWords || !strings.HasSuffix(s, "xpanic") || strings.Contains(s, "early") {
		t.Errorf("kept %d bytes: …%s", len(s), s[len(s)-10:])
	}
}
