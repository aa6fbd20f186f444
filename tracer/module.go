package tracer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// modules hears from the kernel which modules come and go (kobject_uevent in kernel/module).
type modules struct{ socket *os.File }

const (
	// fromKernel is the multicast group of the kernel's own messages; udev has another.
	fromKernel = 1
	// together is how long one module may take to follow another: modprobe loads what a module needs before it.
	together = 50 * time.Millisecond
)

func openModules() (modules, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel})
	}
	if err != nil {
		return modules{}, fmt.Errorf("listen for modules: %w", err)
	}
	return modules{os.NewFile(uintptr(fd), "uevents")}, nil
}

// change is what has become of modules, by name. One that was loaded anew has gone and come.
type change struct{ gone, came map[string]bool }

func (c change) add(action, module string) {
	switch action {
	case "add":
		c.came[module] = true
	case "remove":
		c.gone[module] = true
		delete(c.came, module)
	}
}

// next waits for modules of that names to come or go, and a moment for those that come with them.
// It returns an error once the socket is closed.
func (m modules) next(names map[string]bool) (change, error) {
	c := change{gone: map[string]bool{}, came: map[string]bool{}}
	_ = m.socket.SetReadDeadline(time.Time{})
	message := make([]byte, 8<<10)
	for {
		n, err := m.socket.Read(message)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return c, nil
		case errors.Is(err, unix.ENOBUFS): // messages were lost: each may have gone and come
			for name := range names {
				c.add("remove", name)
				c.add("add", name)
			}
		case err != nil:
			return c, err
		}
		if action, module := parseUevent(message[:n]); names[module] {
			c.add(action, module)
		}
		if len(c.gone)+len(c.came) > 0 {
			_ = m.socket.SetReadDeadline(time.Now().Add(together))
		}
	}
}

func (m modules) close() {
	if m.socket != nil {
		m.socket.Close()
	}
}

// parseUevent reads "add@/module/ipip", NUL, and what is not needed. Without a module it is about something else.
func parseUevent(message []byte) (action, module string) {
	head, _, _ := bytes.Cut(message, []byte{0})
	action, path, _ := strings.Cut(string(head), "@")
	name, ok := strings.CutPrefix(path, "/module/")
	if !ok || strings.Contains(name, "/") {
		return "", ""
	}
	return action, name
}

// notLoaded is why a place in a module is not watched. A module that goes is told of while sysfs still has it.
type notLoaded struct{ module string }

func (e notLoaded) Error() string { return "module " + e.module + " is not loaded" }

// cameLate is why a place is not watched in a module that came when the process could watch nothing more.
type cameLate struct{ module string }

func (e cameLate) Error() string {
	return "module " + e.module + " came after the privileges to watch it were given up"
}

// isLoaded reports whether a module is there, or built in with parameters.
func isLoaded(module string) bool {
	_, err := os.Stat("/sys/module/" + module)
	return err == nil
}

// attend does what the start did not wait for, then follows modules until the socket is closed.
func (t *Tracer) attend() {
	t.settle()
	names := map[string]bool{}
	for _, w := range t.watching {
		if len(w.candidate.ways) == 0 {
			continue
		}
		names[w.candidate.probe.module] = true
		for _, o := range w.candidate.probe.also {
			names[o.module] = true
		}
	}
	delete(names, "")
	if len(names) == 0 {
		return
	}
	for {
		c, err := t.modules.next(names)
		if err != nil {
			return
		}
		t.privileged(func() { t.adapt(c) })
	}
}

// adapt lets go of the places that went with their modules, and watches those that came with one.
func (t *Tracer) adapt(c change) {
	t.adapting.Lock()
	defer t.adapting.Unlock()
	if t.closed {
		return
	}
	t.letGo(c.gone)
	var (
		missing []int
		again   []candidate
		more    = map[int]way{}
	)
	for i, w := range t.watching {
		switch {
		case len(w.attached) > 0:
			if also := w.lacks(c.came); len(also) > 0 {
				more[i] = also
			}
		case c.came[w.candidate.probe.module]:
			missing, again = append(missing, i), append(again, w.candidate)
		}
	}
	if len(again)+len(more) == 0 {
		return
	}
	spec, kernel, err := read()
	if err != nil {
		t.log.Debug("modules came, and their places are skipped", "err", err)
		return
	}
	t.programs.know(spec, kernel)
	defer t.programs.forget()
	found := make([]watching, len(again))
	t.try(context.Background(), again, found, allWays, func(int) bool { return true })
	for n := range found {
		if errors.Is(found[n].err, os.ErrPermission) {
			found[n].err = cameLate{again[n].probe.module}
		}
	}
	added := map[int][]attached{}
	for i, also := range more {
		if added[i], err = t.programs.attachAll(also); err != nil {
			t.log.Debug("a module came, and its functions are not watched", "place", t.watching[i].candidate.probe.place, "err", err)
		}
	}
	t.change(func(watching []watching) {
		for n, i := range missing {
			watching[i] = found[n]
			row := found[n].row()
			t.log.Debug("a module came", "place", row.Name, "mechanism", row.Mechanism, "why", row.Why, "err", found[n].err)
		}
		for i, also := range added {
			watching[i].attached = append(watching[i].attached, also...)
			t.log.Debug("a module came", "place", watching[i].row().Name, "functions", len(also))
		}
	})
}

// letGo detaches what is in modules that are gone: the kernel runs no probe there any more, also if the module
// comes back.
func (t *Tracer) letGo(gone map[string]bool) {
	var old []attached
	t.change(func(all []watching) {
		for i, w := range all {
			if gone[w.candidate.probe.module] && len(w.attached) > 0 && !w.attached[0].shared {
				old = append(old, w.attached...)
				all[i] = watching{candidate: w.candidate, err: notLoaded{w.candidate.probe.module}}
				continue
			}
			all[i].attached = nil
			for _, a := range w.attached {
				if gone[a.module] && !a.shared {
					old = append(old, a)
				} else {
					all[i].attached = append(all[i].attached, a)
				}
			}
		}
		t.past.add(t.missedAt(old))
	})
	detach(old)
}

// change changes what is watched; whoever reads the events is told.
func (t *Tracer) change(do func([]watching)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	do(t.watching)
	t.changed = true
}

// hasChanged reports, once, that what is watched is not what it was.
func (t *Tracer) hasChanged() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := t.changed
	t.changed = false
	return changed
}
