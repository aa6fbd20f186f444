package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ipiptrace/tracer/event"
)

// schemas are what the command prints, once as it is and once so that a field it does not know is wrong.
func schemas(t *testing.T) (asItIs, strict *jsonschema.Schema) {
	t.Helper()
	text := ran(t, "schema")
	return compiled(t, text), compiled(t, strings.ReplaceAll(text, `"type": "object",`, `"type": "object", "unevaluatedProperties": false,`))
}

func compiled(t *testing.T, text string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ran is what a command prints. It gives up rights that other tests need.
func ran(t *testing.T, args ...string) string {
	t.Helper()
	t.Cleanup(func() { effective(everything) })
	var out, errs bytes.Buffer
	if status := run(context.Background(), args, &out, &errs); status > statusLost {
		t.Fatalf("ipiptrace %s: status %d: %s", strings.Join(args, " "), status, errs.String())
	}
	return out.String()
}

// TestEveryLineKeepsToTheSchema validates all JSON that can be had without a kernel.
func TestEveryLineKeepsToTheSchema(t *testing.T) {
	lines := map[string]string{"explain": ran(t, "explain", "--list", "-o", "json")}
	recordings, err := filepath.Glob("../../testdata/*/*.jsonl")
	if err != nil || len(recordings) == 0 {
		t.Fatal("no recordings", err)
	}
	for _, path := range append(recordings, "testdata/seen.jsonl") {
		lines[path] = ran(t, "replay", path, "-o", "json", "--stack")
	}
	var probes bytes.Buffer
	if err := probesJSON(&probes, append(fewProbes, recordedProbes(t, recordings[0])...)); err != nil {
		t.Fatal(err)
	}
	lines["probes"] = probes.String()
	lines["docs/json.md"] = jsonIn(t, docs+"json.md")
	lines["docs/scenarios.md"] = jsonIn(t, docs+"scenarios.md")
	_, strict := schemas(t)
	for what, text := range lines {
		if text == "" {
			t.Errorf("%s: no line", what)
		}
		for line := range strings.Lines(text) {
			checkLine(t, strict, what, line)
		}
	}
}

// jsonIn are the objects that a page shows, a line each, or indented in a block of their own.
func jsonIn(t *testing.T, path string) (lines string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(text), "```") {
		var indented bytes.Buffer
		if json.Compact(&indented, []byte(strings.TrimPrefix(block, "json"))) == nil && i%2 == 1 {
			lines += indented.String() + "\n"
			continue
		}
		for line := range strings.Lines(block) {
			if strings.HasPrefix(line, "{") {
				lines += line
			}
		}
	}
	return lines
}

func checkLine(t *testing.T, s *jsonschema.Schema, what, line string) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("%s: %v\nin %s", what, err, line)
	}
}

func recordedProbes(t *testing.T, path string) []event.Probe {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in, err := event.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	return in.Run().Probes
}

// TestSchemaRefusesWhatIsWrong and lets pass what a newer ipiptrace may add.
func TestSchemaRefusesWhatIsWrong(t *testing.T) {
	good := `{"type":"journey","id":"9f2c4e10a7b3d581","start":"2026-01-02T03:04:05.123456789Z","direction":"request",` +
		`"inner":{"proto":"tcp","src":"203.0.113.9","dst":"10.99.0.1","len":60},"steps":[],"fate":"dropped","gaps":0}`
	s, strict := schemas(t)
	for what, test := range map[string]struct {
		was, is string
		ok      bool
	}{
		"as it is":               {"", "", true},
		"a field that is new":    {`"gaps"`, `"later":1,"gaps"`, true},
		"a fate that is not":     {"dropped", "eaten", false},
		"an id that is no hash":  {"9f2c4e10a7b3d581", "9f2c", false},
		"an address with a zone": {"203.0.113.9", "fe80::1%eth0", false},
		"a field that is left":   {`"fate":"dropped",`, "", false},
		"a type that is not":     {"journey", "trip", false},
		"a start that is none":   {"2026-01-02T03:04:05.123456789Z", "now", false},
	} {
		line := strings.Replace(good, test.was, test.is, 1)
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil || !json.Valid([]byte(line)) {
			t.Fatal(what, err)
		}
		if err := s.Validate(v); (err == nil) != test.ok {
			t.Errorf("%s: %v", what, err)
		}
		if err := strict.Validate(v); (err == nil) != (test.ok && test.was == "") {
			t.Errorf("%s, strictly: %v", what, err)
		}
	}
}
