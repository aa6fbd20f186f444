package vm

import (
	"os/exec"
	"strings"
	"testing"
)

func TestCommandReachesTheGuestWordForWord(t *testing.T) {
	words := []string{"printf", `%s|`, "plain", "two words", "it's", `"quoted" $HOME \n`, "", "line\nbreak", "*"}
	script := commandScript(Guest{Dir: "/", Command: words})
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatalf("%v:\n%s", err, script)
	}
	if want := strings.Join(words[2:], "|") + "|"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestCommandSeesItsEnvironmentAndDirectory(t *testing.T) {
	script := commandScript(Guest{Dir: "/usr", Env: []string{"A=it's $B"}, Command: []string{"sh", "-c", `echo "$A $PWD"`}})
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil || string(out) != "it's $B /usr\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestSettingsAreWhatInitReads(t *testing.T) {
	g := Guest{Out: "somewhere", Terminal: &Terminal{Rows: 24, Columns: 80, Type: "xterm"}}
	out, err := exec.Command("sh", "-c", settingsScript(g)+`echo "$modules|$out_wanted|$terminal|$TERM"`).Output()
	if want := "virtio_pci virtio_console|yes|sane rows 24 cols 80|xterm\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestInitIsAScriptThatAShellCanRead(t *testing.T) {
	if out, err := exec.Command("sh", "-n", "init.sh").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
