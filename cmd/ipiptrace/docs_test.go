package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/lab/fault"
)

const (
	docs     = "../../docs/"
	testdata = "../../testdata/"
)

// page compares a page of docs/ with what it is made of; -update writes it.
func page(t *testing.T, name, want string) {
	t.Helper()
	got, err := os.ReadFile(docs + name)
	switch {
	case *update:
		err = errors.Join(os.MkdirAll(filepath.Dir(docs+name), 0o755), os.WriteFile(docs+name, []byte(want), 0o644))
	case err == nil && string(got) != want:
		err = errors.New("not what the program has: go test ./cmd/ipiptrace -run Docs -update writes it")
	}
	if err != nil {
		t.Errorf("docs/%s: %v", name, err)
	}
}

// section does the same with the part of a page between <!-- name --> and <!-- /name -->.
func section(t *testing.T, file, name, want string) {
	t.Helper()
	text, err := os.ReadFile(docs + file)
	if err != nil {
		t.Fatal(err)
	}
	head, foot := "<!-- "+name+" -->\n", "<!-- /"+name+" -->\n"
	before, rest, found := strings.Cut(string(text), head)
	_, after, ended := strings.Cut(rest, foot)
	if !found || !ended {
		t.Fatalf("docs/%s has no section %s", file, name)
	}
	page(t, file, before+head+want+foot+after)
}

// TestDocsOfCausesAreWhatTheProgramSays: a page for each cause has what `ipiptrace explain` says, the lab's scenarios, and
// what ipiptrace said of each of them in a guest (make sessions).
func TestDocsOfCausesAreWhatTheProgramSays(t *testing.T) {
	var index, table strings.Builder
	index.WriteString("# The causes\n\nWhere a packet meets them, first to last. `ipiptrace explain CODE` says the same.\n\n" +
		"The sessions on the pages were recorded in the lab (`ipiptrace lab`): its VIP is 10.99.0.1, its service is called `e2e`, its client is\n10.0.0.7, its director 10.0.0.2 and its real server 10.0.0.11.\n\n| cause | where | what it means |\n| --- | --- | --- |\n")
	for _, d := range diagnose.Codes() {
		fmt.Fprintf(&index, "| [`%s`](%s.md) | %s | %s |\n", d.Code, d.Code, d.Where, strings.TrimSuffix(d.Means, "."))
		page(t, "causes/"+d.Code+".md", causePage(t, d))
	}
	index.WriteString("\n## Words in capitals\n\nIn a command they stand for what is your own.\n\n| word | what it stands for |\n| --- | --- |\n")
	for _, p := range diagnose.Placeholders() {
		fmt.Fprintf(&index, "| `%s` | %s |\n", p.Word, p.Means)
	}
	page(t, "causes/README.md", index.String())
	pages, err := filepath.Glob(docs + "causes/*.md")
	if err != nil || len(pages) != len(diagnose.Codes())+1 {
		t.Errorf("docs/causes has %d pages, there are %d causes: %v", len(pages), len(diagnose.Codes()), err)
	}
	table.WriteString("# What the lab can break\n\n`ipiptrace lab NAME` builds a client, a director and a real server in network namespaces, gives them a fault, and prints:\n\n" +
		"```json\n{\"name\":\"rp-filter\",\"code\":\"rp-filter\",\"vip\":\"10.99.0.1\",\"port\":80,\"namespaces\":{\"client\":\"/proc/121/fd/3\",\"director\":\"/proc/121/fd/6\",\"real-server\":\"/proc/121/fd/7\"}}\n```\n\n" +
		"`ipiptrace lab NAME -- sh` gives a shell beside it, with traffic, in which `IPIPTRACE_VIP`, `IPIPTRACE_PORT`, `IPIPTRACE_CLIENT`, `IPIPTRACE_DIRECTOR`\nand `IPIPTRACE_REAL_SERVER` are set; `--hold` keeps it until Ctrl-C and gives the namespaces names.\n\n" +
		"A fault that reaches beyond those namespaces has `--change-this-machine` behind its name, and is refused without; it is undone at the end.\n")
	where, order, rows := map[string]string{"": "no loss"}, []string{"no loss"}, map[string]string{}
	for _, d := range diagnose.Codes() {
		where[d.Code] = d.Where
		if !slices.Contains(order, d.Where) {
			order = append(order, d.Where)
		}
	}
	for _, s := range fault.Scenarios() {
		if where[s.Code] == "" {
			t.Errorf("%s is in no group: explain does not know %s", s.Name, s.Code)
		}
		rows[where[s.Code]] += fmt.Sprintf("| `%s%s` | %s | %s |\n", s.Name, allowance(s), strings.TrimSuffix(s.Summary, "."), linkTo(s.Code))
	}
	for _, group := range order {
		if rows[group] != "" {
			fmt.Fprintf(&table, "\n## %s\n\n| scenario | what is wrong | cause |\n| --- | --- | --- |\n%s", group, rows[group])
		}
	}
	page(t, "scenarios.md", table.String())
}

// allowance is the flag without which lab refuses the scenario, if it needs one.
func allowance(s fault.Scenario) string {
	if s.WholeMachine {
		return " --change-this-machine"
	}
	return ""
}

// linkTo is a link to the page of a code; a scenario without a loss has none.
func linkTo(code string) string {
	if code == "" {
		return ""
	}
	return fmt.Sprintf("[`%s`](causes/%s.md)", code, code)
}

func causePage(t *testing.T, d diagnose.Doc) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n- Where: %s. [All causes](README.md).\n- In the kernel: %s\n- Keep it from coming back: %s\n", d.Code, d.Means, d.Where, d.Kernel, d.Prevent)
	fmt.Fprintf(&b, "\n## Confirm by hand\n\n```\n%s\n```\n", strings.Join(texts(d.Confirm), "\n"))
	fmt.Fprintf(&b, "\n## Repair\n\n```\n%s\n```\n", strings.Join(texts(d.Fix), "\n"))
	scenarios := slices.DeleteFunc(fault.Scenarios(), func(s fault.Scenario) bool { return s.Code != d.Code })
	if len(scenarios) == 0 {
		b.WriteString("\n## In the lab\n\nThe lab has no scenario for it.\n")
		return b.String()
	}
	b.WriteString("\n## In the lab\n\nWhat ipiptrace says of it in a Debian 6.1 guest: one example of each kind of journey.\n")
	for _, s := range scenarios {
		fmt.Fprintf(&b, "\n### %s\n\n%s Try it: `ipiptrace lab %s%s -- sh`.\n\n```\n%s```\n", s.Name, s.Summary, s.Name, allowance(s), session(t, s))
	}
	return b.String()
}

// session is what ipiptrace said of a scenario. It must be what it says today, numbers aside.
func session(t *testing.T, s fault.Scenario) string {
	text, err := os.ReadFile(testdata + s.Name + "/session.txt")
	if err != nil {
		t.Errorf("%v: make sessions writes it", err)
		return ""
	}
	golden, err := os.ReadFile(testdata + s.Name + "/verdict.golden")
	if err != nil {
		t.Error(err)
	}
	said := numbers.ReplaceAllString(string(golden), "N")
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		_, cause, isCause := strings.Cut(line, "    cause  ")
		_, summary, _ := strings.Cut(cause, ": ")
		_, fix, isFix := strings.Cut(line, "    fix    ")
		if isCause && !strings.Contains(said, "\n  "+numbers.ReplaceAllString(summary, "N")+"\n") ||
			isFix && !strings.Contains(said, "\n  fix "+numbers.ReplaceAllString(fix, "N")+"\n") {
			t.Errorf("%s: ipiptrace does not say %q any more: make sessions", s.Name, line)
		}
	}
	return string(text)
}

var numbers = regexp.MustCompile(`[0-9]+|\bN\b`)

// TestDocsListThePackages: docs/architecture.md has the first sentence of each package.
func TestDocsListThePackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{with .Doc}}| `{{$.ImportPath}}` | {{.}} |{{end}}", "ipiptrace/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	section(t, "architecture.md", "packages", "| package | what it is |\n| --- | --- |\n"+strings.ReplaceAll(string(out), "`ipiptrace/", "`"))
}

// TestDocsLinkToWhatIsThere looks at each relative link of README.md and of docs/.
func TestDocsLinkToWhatIsThere(t *testing.T) {
	pages := []string{readme}
	err := filepath.WalkDir(docs, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, after := range strings.Split(string(text), "](")[1:] {
			target, _, _ := strings.Cut(after, ")")
			target, _, _ = strings.Cut(target, "#")
			if strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target)); err != nil && target != "" {
				t.Errorf("%s links to %s: %v", path, target, err)
			}
		}
	}
}
