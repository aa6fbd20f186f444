package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// portNames are the guest's virtio-serial ports; init finds them by these names.
var portNames = []string{"stdin", "stdout", "stderr", "out", "status"}

// guest is a running qemu.
type guest struct {
	Guest
	image   Image
	say     progress
	ports   map[string]port // portNames, "console" and "terminal"
	words   *lastWords
	drained sync.WaitGroup // what qemu sends has been read to its end

	kvm bool // the CPU runs the guest itself
	up  bool // the guest's command has started
}

// bootTime is several times what a guest needs under KVM.
const bootTime = 30 * time.Second

// boot runs qemu until the command has ended and everything it wrote is here.
//
// That /dev/kvm can be opened does not say that it works: where the machine is a guest itself qemu may not
// start, or the kernel never come up. Nothing of stdin is used by then.
func boot(ctx context.Context, g Guest, image Image, initrd *os.File, say progress) (int, error) {
	vm := &guest{Guest: g, image: image, say: say, kvm: g.mayUseKVM()}
	code, err := vm.boot(ctx, initrd)
	var died *DiedError
	if !errors.As(err, &died) || !vm.kvm || vm.up {
		return code, err
	}
	say.linef("KVM does not work on this machine: emulating")
	return (&guest{Guest: g, image: image, say: say}).boot(ctx, initrd)
}

func (vm *guest) boot(ctx context.Context, initrd *os.File) (int, error) {
	vm.ports, vm.words = map[string]port{}, &lastWords{to: vm.Console}
	defer vm.close()
	for _, name := range append([]string{"console", "terminal"}, portNames...) {
		p, err := newPort()
		if err != nil {
			return 0, err
		}
		vm.ports[name] = p
	}
	arch, err := thisMachine()
	if err != nil {
		return 0, err
	}
	return vm.run(ctx, arch, initrd)
}

func (vm *guest) close() {
	for _, p := range vm.ports {
		p.Close()
		p.qemu.Close()
	}
}

func (vm *guest) run(ctx context.Context, arch machine, initrd *os.File) (int, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, arch.qemu)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	vm.arguments(cmd, arch, initrd)
	died, err := startBound(cmd)
	if err != nil {
		return 0, err
	}
	for _, p := range vm.ports {
		p.qemu.Close() // so that qemu's end is our end of file
	}
	stdout, stderr := vm.connect()
	received := make(chan error, 1)
	go vm.receiveOut(received)

	exit, ok := vm.awaitExit(ctx)
	if ok {
		stdout.await(exit.stdout)
		stderr.await(exit.stderr)
		err = <-received
	}
	cause := context.Cause(ctx)
	stop()
	<-died
	vm.drained.Wait()
	switch {
	case ok:
		return exit.code, errors.Join(err, stdout.err, stderr.err)
	case cause != nil:
		return 0, fmt.Errorf("guest stopped: %w; its kernel's last words:\n%s", cause, vm.words)
	}
	return 0, &DiedError{Release: vm.image.Release, Console: vm.words.String(), Stderr: complaint.String()}
}

// connect starts passing on what comes from the ports.
func (vm *guest) connect() (stdout, stderr *stream) {
	var lock, other sync.Mutex
	stdout, stderr = newStream(vm.Stdout, &lock), newStream(vm.Stderr, &other)
	if vm.Stdout != nil && vm.Stdout == vm.Stderr {
		stderr.lock = stdout.lock
	}
	screen := "stdout"
	if vm.Terminal != nil {
		screen = "terminal"
	}
	vm.drain(func() { stdout.copy(vm.ports[screen]) })
	vm.drain(func() { stderr.copy(vm.ports["stderr"]) })
	vm.drain(func() { io.Copy(vm.words, vm.ports["console"]) })
	return stdout, stderr
}

// feed starts passing on what goes in.
func (vm *guest) feed() {
	input := vm.ports["stdin"]
	if vm.Terminal != nil {
		input = vm.ports["terminal"]
	}
	go func() {
		if vm.Stdin != nil {
			io.Copy(input, vm.Stdin)
		}
		if vm.Terminal == nil {
			input.CloseWrite()
		}
	}()
}

// drain runs a reader that ends with qemu.
func (vm *guest) drain(read func()) {
	vm.drained.Add(1)
	go func() {
		defer vm.drained.Done()
		read()
	}()
}

// receiveOut reports once, and keeps reading: a full disk here must not make the
// guest stall there.
func (vm *guest) receiveOut(done chan<- error) {
	if vm.Out == "" {
		done <- nil
		return
	}
	done <- receive(vm.ports["out"], vm.Out)
	io.Copy(io.Discard, vm.ports["out"])
}

// awaitExit tells of the boot and returns the event that ends it; false when
// the guest is gone without one, does not come up under KVM, or the context is done.
func (vm *guest) awaitExit(ctx context.Context) (event, bool) {
	start := time.Now()
	still := time.NewTicker(5 * time.Second)
	defer still.Stop()
	vm.say.linef("booting Linux %s (%s)", vm.image.Release, vm.describe())
	happened := events(vm.ports["status"])
	for {
		select {
		case <-ctx.Done():
			return event{}, false
		case <-still.C:
			if vm.kvm && time.Since(start) > bootTime {
				return event{}, false
			}
			vm.say.linef("still booting, %.0f s", time.Since(start).Seconds())
		case e, ok := <-happened:
			if !ok || e.name == "exit" {
				return e, ok
			}
			still.Stop()
			vm.up = true
			vm.feed()
			vm.say.linef("up after %.1f s", time.Since(start).Seconds())
			if vm.Terminal != nil && vm.Terminal.Opened != nil {
				vm.Terminal.Opened()
			}
		}
	}
}

// startBound starts a command that ends with this process, however that ends.
// The kernel binds it to the thread that started it, so the thread has to stay.
func startBound(cmd *exec.Cmd) (ended <-chan error, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	return done, <-started
}
