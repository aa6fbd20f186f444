package command

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func guarded(line string) Fix {
	return Guarded("the rule", Of("iptables-legacy -S %", IPTablesChain("INPUT")), line, Of("iptables-legacy -D INPUT %", Number(3)))
}

func TestAGuardedCommandIsThreeCommands(t *testing.T) {
	const line = `-A INPUT -m comment --comment "it's | a && b" -j DROP`
	fix := guarded(line)
	const want = `iptables-legacy -S INPUT | grep -qxFe '-A INPUT -m comment --comment "it'\''s | a && b" -j DROP' && iptables-legacy -D INPUT 3`
	if got := texts(fix); !slices.Equal(got, []string{want}) {
		t.Fatalf("%q, %s", got, fix.Refused())
	}
	read, ok := Read(want)
	if !ok || len(read) != 3 || !slices.Equal(read[1], []string{"grep", "-qxFe", line}) || !slices.Equal(read[2], []string{"iptables-legacy", "-D", "INPUT", "3"}) {
		t.Errorf("%q, %t", read, ok)
	}
}

// TestAGuardedCommandRunsWhileTheLineIsThere asks this machine's shell and grep.
func TestAGuardedCommandRunsWhileTheLineIsThere(t *testing.T) {
	for what, test := range map[string]struct {
		shown, line string
		runs        bool
	}{
		"the line":           {"-A INPUT -j DROP", "-A INPUT -j DROP", true},
		"another line":       {"-A INPUT -j DROP", "-A INPUT -p tcp -j DROP", false},
		"a longer line":      {"-A INPUT -p tcp -j DROP", "-A INPUT -p tcp", false},
		"a line like a sign": {"-A INPUT .* -j DROP", "-A INPUT xx -j DROP", false},
		"a pattern":          {"-A INPUT xx -j DROP", "-A INPUT .* -j DROP", false},
	} {
		fix := Guarded("the line", Of("echo %", said(test.shown)), test.line, Of("echo done"))
		out, _ := exec.Command("/bin/sh", "-c", texts(fix)[0]).Output()
		if got := string(out) == "done\n"; got != test.runs {
			t.Errorf("%s: %q", what, out)
		}
	}
}

func TestAGuardThatCannotBeSaidIsMissedInWords(t *testing.T) {
	fine := Of("echo a")
	for what, fix := range map[string]Fix{
		"no line":                 guarded(" "),
		"a line of two":           guarded("a\nb"),
		"a line that turns":       guarded("a\u202eb"),
		"a line that is too long": guarded(strings.Repeat("a", maxLength)),
		"no list":                 Guarded("the rule", Fix{}, "a", fine),
		"two commands":            Guarded("the rule", fine, "a", fine.Then("echo b")),
		"a list not said":         Guarded("the rule", Of("echo %", Device("a=1")), "a", fine),
		"a command not said":      Guarded("the rule", fine, "a", Of("echo %", Device("a=1"))),
	} {
		if len(fix.Commands()) > 0 || fix.Refused() == "" {
			t.Errorf("%s: %q, %q", what, texts(fix), fix.Refused())
		}
	}
}

func TestAnotherLineOfSeveralCommandsIsNotRead(t *testing.T) {
	for _, line := range []string{"a | b", "a && b", "a | grep -qxFe c", "a | grep c && b", "a | grep -qxFe c && b && d", "a | grep -qxFe c && b; d", "a || grep -qxFe c && b", "a '| grep -qxFe c && b"} {
		if read, ok := Read(line); ok {
			t.Errorf("%q is %q", line, read)
		}
	}
}

// FuzzGuarded: whatever the line is, the three commands are as they were meant, or there is none.
func FuzzGuarded(f *testing.F) {
	for _, w := range hostile {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, line string) {
		fix := guarded(line)
		for _, text := range texts(fix) {
			if read, ok := Read(text); !ok || len(read) != 3 || read[1][2] != line || len(read[0]) != 3 || len(read[2]) != 4 {
				t.Errorf("%q: %q", line, text)
			}
		}
		if (len(fix.Commands()) == 0) == (fix.Refused() == "") {
			t.Errorf("%q: %q, %q", line, texts(fix), fix.Refused())
		}
	})
}
