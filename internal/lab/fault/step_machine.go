package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netns"

	"ipiptrace/internal/lab"
)

// The steps of this file change the whole machine. What they found is kept in Lab.Remember until they are undone.

// load loads a module.
func load(name string) lab.Step {
	return lab.Step{What: "machine: modprobe " + name, Do: func(ctx context.Context, l *lab.Lab) error {
		if loaded(name) {
			return nil
		}
		l.Remember(name, "not loaded")
		return lab.LoadModule(ctx, name, "by this fault")
	}}
}

// unload unloads a module if it is there, and all devices that it drives with it.
func unload(name string) lab.Step {
	return lab.Step{What: "machine: rmmod " + name, Do: func(ctx context.Context, l *lab.Lab) error {
		if !loaded(name) {
			return nil
		}
		if out, err := exec.CommandContext(ctx, "rmmod", name).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil
	}}
}

// unloadAgain unloads a module if it was load that loaded it.
func unloadAgain(name string) lab.Step {
	s := unload(name)
	return lab.Step{What: s.What, Do: func(ctx context.Context, l *lab.Lab) error {
		if _, ok := l.Recall(name); !ok {
			return nil
		}
		return s.Do(ctx, l)
	}}
}

func loaded(module string) bool {
	_, err := os.Stat("/sys/module/" + module)
	return err == nil
}

// machineSysctl writes a setting that is there once, in the first process's network namespace.
func machineSysctl(name, value string) lab.Step {
	return lab.Step{What: fmt.Sprintf("machine: %s = %s", strings.ReplaceAll(name, "/", "."), value), Do: func(_ context.Context, l *lab.Lab) error {
		return inFirstNamespace(func() error {
			before, err := os.ReadFile("/proc/sys/" + name)
			if err != nil {
				return err
			}
			l.Remember(name, strings.TrimSpace(string(before)))
			return os.WriteFile("/proc/sys/"+name, []byte(value), 0)
		})
	}}
}

// restoreSysctl writes what machineSysctl found.
func restoreSysctl(name string) lab.Step {
	return lab.Step{What: fmt.Sprintf("machine: restore %s", strings.ReplaceAll(name, "/", ".")), Do: func(_ context.Context, l *lab.Lab) error {
		before, ok := l.Recall(name)
		if !ok {
			return nil
		}
		return inFirstNamespace(func() error { return os.WriteFile("/proc/sys/"+name, []byte(before), 0) })
	}}
}

func inFirstNamespace(f func() error) error {
	return lab.OnOwnThread(func() error {
		first, err := netns.GetFromPid(1)
		if err != nil {
			return fmt.Errorf("open the first process's network namespace: %w", err)
		}
		return errors.Join(netns.Set(first), first.Close(), f())
	})
}
