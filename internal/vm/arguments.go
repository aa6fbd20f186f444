package vm

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func (vm *guest) describe() string {
	how := "emulated"
	if vm.kvm {
		how = "trying KVM"
	}
	return fmt.Sprintf("%s, CPUs: %d, memory: %d MiB", how, vm.cpus(), vm.memory())
}

func (vm *guest) cpus() int {
	if vm.CountInstructions {
		return 1
	}
	if vm.CPUs == 0 {
		return 2
	}
	return vm.CPUs
}

func (vm *guest) memory() int {
	if vm.Memory == 0 {
		return 1024
	}
	return vm.Memory
}

// mayUseKVM tells whether there is a KVM to try.
func (g Guest) mayUseKVM() bool {
	if g.CountInstructions {
		return false
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	kvm.Close()
	return true
}

// emulation runs the CPUs in turn, in one thread. With a thread each, qemu before
// 8.1 may keep the translation of an instruction that another CPU patches at that
// moment, and Linux patches itself all the time (static keys, ftrace, kprobes):
// Linux 7.3 died of a stale int3 in one boot of ten, and each time with kprobes
// going on and off. The lab takes no longer and a third less of the host's time.
const emulation = "tcg,thread=single"

// arguments hands qemu its command line and the files in it.
func (vm *guest) arguments(cmd *exec.Cmd, arch machine, initrd *os.File) {
	pass := func(file *os.File) int {
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		return 2 + len(cmd.ExtraFiles)
	}
	add := func(args ...string) { cmd.Args = append(cmd.Args, args...) }

	add("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
	add(arch.board...)
	if vm.kvm {
		add("-accel", "kvm", "-cpu", "host")
	} else {
		add("-accel", emulation, "-cpu", arch.cpu)
	}
	if vm.CountInstructions {
		add("-icount", "shift=0,sleep=off")
	}
	add("-smp", fmt.Sprint(vm.cpus()), "-m", fmt.Sprint(vm.memory()))
	add("-kernel", vm.image.Vmlinuz, "-initrd", fmt.Sprintf("/dev/fd/%d", pass(initrd)))
	add("-append", vm.kernelCommandLine(arch))
	socket := func(name string) {
		add("-chardev", fmt.Sprintf("socket,id=%s,fd=%d", name, pass(vm.ports[name].qemu)))
	}
	socket("console")
	add("-serial", "chardev:console")
	add("-device", "virtio-serial-pci,max_ports=8")
	socket("terminal")
	add("-device", "virtconsole,chardev=terminal")
	for _, name := range portNames {
		socket(name)
		add("-device", "virtserialport,chardev="+name+",name="+name)
	}
}

func (vm *guest) kernelCommandLine(arch machine) string {
	words := []string{"console=" + arch.console, "panic=-1", "oops=panic", "mitigations=off", arch.words}
	if vm.Console == nil {
		words = append(words, "quiet")
	}
	return strings.Join(append(words, vm.Append), " ")
}
