package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin puts this process, and with it the whole lab, on one CPU. veth leaves a packet on the CPU that sent
// it: on several, and on a busy machine, a FIN overtakes the ACK before it, and the kernel drops the late
// one for good reason (PAWS). Whoever watches the lab has the other CPUs: see Lab.Outside.
func (l *Lab) pin() error {
	if err := unix.SchedGetaffinity(0, &l.cpus); err != nil {
		return fmt.Errorf("read CPU affinity: %w", err)
	}
	var one unix.CPUSet
	for cpu := range 64 * len(l.cpus) {
		if l.cpus.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	// The second round is for threads that were born during the first; all later ones inherit.
	return errors.Join(setAffinity(one), setAffinity(one))
}

func (l *Lab) unpin() error {
	if l.cpus.Count() == 0 {
		return nil
	}
	return setAffinity(l.cpus)
}

// Outside runs f on a thread that may use all CPUs; so may the processes that f starts.
func (l *Lab) Outside(f func() error) error {
	return OnOwnThread(func() error {
		if err := unix.SchedSetaffinity(0, &l.cpus); err != nil {
			return fmt.Errorf("set CPU affinity: %w", err)
		}
		return f()
	})
}

// setAffinity is for every thread of this process.
func setAffinity(cpus unix.CPUSet) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &cpus); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("set CPU affinity: %w", err)
		}
	}
	return nil
}
