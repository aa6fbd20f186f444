package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/screen"
)

// Exit statuses of the subcommand, when it is not CMD's own.
const (
	exitUsage = 2
	exitCant  = 3
)

// Command is `ipiptrace lab NAME [--hold] [-- CMD]`.
type Command struct {
	// Name is a scenario's.
	Name string
	// Hold keeps the lab, with traffic, until ctx is done.
	Hold bool
	// ChangeMachine allows a scenario that is not confined to the lab's namespaces.
	ChangeMachine bool
	// Argv is the command to run while traffic flows; empty for none. It runs in the caller's namespaces
	// and finds IPIPTRACE_VIP, _PORT, _CLIENT, _DIRECTOR and _REAL_SERVER in its environment.
	Argv []string
	// Stdout gets the JSON line, Stderr what the client sees; both are also CMD's.
	Stdout, Stderr io.Writer
}

// description is the JSON line.
type description struct {
	Name       string              `json:"name"`
	Code       string              `json:"code"`
	VIP        string              `json:"vip"`
	Port       int                 `json:"port"`
	Namespaces map[lab.Role]string `json:"namespaces"`
}

// Run builds the lab, injects the fault, prints the JSON line and sends traffic: for as long as CMD
// runs, or until ctx is done with Hold (with both: CMD first, then hold), or once.
//
// It returns the exit status: CMD's if there is one (128 + the signal's number if one ended it), else 0;
// with an error 2 for a name that does not exist, or needs ChangeMachine, and 3 for a lab that can't be built here.
func Run(ctx context.Context, c Command) (int, error) {
	s, ok := Named(c.Name)
	if !ok {
		return exitUsage, fmt.Errorf("lab %s: no such scenario; there are: %s", c.Name, strings.Join(names(), " "))
	}
	if s.WholeMachine && !c.ChangeMachine {
		return exitUsage, fmt.Errorf("lab %s changes the whole machine while it runs, not only namespaces of its own: allow it with --change-this-machine", c.Name)
	}
	lab.RemoveLeft(c.Stderr)
	l, err := lab.Build(ctx)
	if err != nil {
		return exitCant, fmt.Errorf("build lab: %w", err)
	}
	defer l.Close()
	if s.WholeMachine {
		defer func() { c.repair(context.WithoutCancel(ctx), l, s) }()
	}
	if err := Inject(ctx, l, s); err != nil {
		return exitCant, err
	}
	if c.Hold {
		release, err := l.Name(c.Stderr)
		defer release()
		if err != nil {
			return exitCant, err
		}
	}
	d := description{Name: s.Name, Code: s.Code, VIP: lab.VIP.String(), Port: lab.Port, Namespaces: l.Namespaces()}
	if err := screen.JSON(c.Stdout, d); err != nil {
		return exitCant, err
	}
	return c.play(ctx, l, s)
}

// repair undoes what would outlive the lab.
func (c Command) repair(ctx context.Context, l *lab.Lab, s Scenario) {
	if err := Undo(ctx, l, s); err != nil {
		fmt.Fprintln(c.Stderr, err)
	}
}

func names() []string {
	var all []string
	for _, s := range Scenarios() {
		all = append(all, s.Name)
	}
	return all
}

// play sends the scenario's traffic while CMD runs and while the lab is held.
func (c Command) play(ctx context.Context, l *lab.Lab, s Scenario) (int, error) {
	if len(c.Argv) == 0 && !c.Hold {
		return 0, playOnce(ctx, l, s, c.Stderr)
	}
	ctx, stop := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() {
		defer stop()
		sent <- keepSending(ctx, l, s)
	}()
	status, err := 0, error(nil)
	if len(c.Argv) > 0 {
		status, err = c.exec(ctx, l)
	}
	if c.Hold && err == nil {
		<-ctx.Done()
	}
	stop()
	return status, errors.Join(err, <-sent)
}

// playOnce sends the scenario's traffic one time and says what the client saw.
func playOnce(ctx context.Context, l *lab.Lab, s Scenario, w io.Writer) error {
	for _, t := range s.Traffic {
		r, err := l.Traffic(ctx, t)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s: %s\n", t.Proto, r)
	}
	return nil
}

// pause is between two rounds of traffic: enough for a person to read, not so much that a tool waits.
const pause = 250 * time.Millisecond

// impatience bounds a connection while the lab is held: it delays the end by that much.
const impatience = 2 * time.Second

// keepSending repeats the scenario's traffic, one connection of each kind at a time, until ctx is done.
func keepSending(ctx context.Context, l *lab.Lab, s Scenario) error {
	for ctx.Err() == nil {
		for _, t := range s.Traffic {
			t.Count, t.Parallel, t.Deadline = 1, 1, min(t.Deadline, impatience)
			if _, err := l.Traffic(ctx, t); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// exec runs CMD. When ctx is done it is asked to end, and killed if it does not within 10 s. It dies with this process.
func (c Command) exec(ctx context.Context, l *lab.Lab) (status int, err error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, screen.Under(c.Stdout), screen.Under(c.Stderr)
	cmd.Env = append(os.Environ(), environment(l)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	// Pdeathsig is sent when the starting thread ends: it must live as long as CMD.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = l.Outside(cmd.Run)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err != nil && cmd.ProcessState == nil {
		return exitUsage, fmt.Errorf("run %s: %w", screen.Quote(c.Argv[0]), err)
	}
	return 0, nil
}

func environment(l *lab.Lab) []string {
	env := []string{"IPIPTRACE_VIP=" + lab.VIP.String(), fmt.Sprintf("IPIPTRACE_PORT=%d", lab.Port)}
	for role, path := range l.Namespaces() {
		name := strings.ToUpper(strings.ReplaceAll(string(role), "-", "_"))
		env = append(env, "IPIPTRACE_"+name+"="+path)
	}
	return env
}
