package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"ipiptrace/internal/screen"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ipiptrace": main})
}

// TestScripts runs the manual in testdata/script: the comment is the promise, the command is the proof.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			recording, err := filepath.Abs("testdata/seen.jsonl")
			env.Setenv("SEEN", recording)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"oneline":  oneLine,
			"lastline": lastLine,
			"harmless": harmless,
		},
	})
}

// exits is `exits STATUS [unprivileged] CMD…`: the command ends with that very status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS [unprivileged] CMD...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	unprivileged := args[0] == "unprivileged"
	if unprivileged {
		args = args[1:]
	}
	path := args[0]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, args[0])); err == nil {
			path = filepath.Join(dir, args[0])
			break
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + cmd.Dir, "SEEN=" + ts.Getenv("SEEN")}
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	if unprivileged && os.Geteuid() == 0 {
		cmd.SysProcAttr = nobody()
	}
	err = cmd.Run()
	if unprivileged && errors.Is(err, syscall.EPERM) {
		ts.Fatalf("%v: the kernel refuses user namespaces here, as it does in a chroot, or with user.max_user_namespaces=0", err)
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		ts.Fatalf("%v", err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("status %d (%s), not %d", got, cmd.ProcessState, want)
	}
}

// harmless is `harmless stdout|stderr`: there is something, nothing of it would be obeyed by a terminal, and what is
// repeated of an argument is short.
func harmless(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: harmless stdout|stderr")
	}
	text := ts.ReadFile(args[0])
	if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && screen.IsObeyed(r) }) {
		ts.Fatalf("not harmless: %q", text)
	}
	if strings.Contains(text, strings.Repeat("x", 65)) {
		ts.Fatalf("not short: %q", text)
	}
}

// nobody is somebody without a capability on this machine: in a user namespace of its own, in which
// the files are still the caller's.
func nobody() *syscall.SysProcAttr {
	mapping := []syscall.SysProcIDMap{{ContainerID: 65534, HostID: 0, Size: 1}}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: mapping, GidMappings: mapping}
}

// oneLine is `oneline stdout|stderr`: there is exactly one line.
func oneLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: oneline stdout|stderr")
	}
	if text := ts.ReadFile(args[0]); strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		ts.Fatalf("not one line: %q", text)
	}
}

// lastLine is `lastline stdout|stderr TEXT`: the last line begins so.
func lastLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lastline stdout|stderr TEXT")
	}
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile(args[0]), "\n"), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, args[1]) {
		ts.Fatalf("the last line is %q", last)
	}
}
