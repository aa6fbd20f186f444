package main

import (
	"io"
	"maps"
	"slices"
	"testing"
)

func TestCommandLineBecomesAGuest(t *testing.T) {
	o, err := parse([]string{"--kernel", "6.12", "--out", "results", "--file", "bin/ipiptrace:/usr/bin/ipiptrace", "--file", "testdata:/testdata",
		"--env", "A=b=c", "--cpus", "1", "--memory", "512", "--", "ipiptrace", "--vip", "10.99.0.1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	g := o.guest
	if g.Kernel != "6.12" || g.Out != "results" || g.CPUs != 1 || g.Memory != 512 {
		t.Errorf("got %+v", g)
	}
	if want := map[string]string{"/usr/bin/ipiptrace": "bin/ipiptrace", "/testdata": "testdata"}; !maps.Equal(g.Files, want) {
		t.Errorf("files %v, want %v", g.Files, want)
	}
	if want := []string{"ipiptrace", "--vip", "10.99.0.1"}; !slices.Equal(g.Command, want) {
		t.Errorf("command %q, want %q", g.Command, want)
	}
	if want := []string{"A=b=c"}; !slices.Equal(g.Env, want) {
		t.Errorf("env %q, want %q", g.Env, want)
	}
}

func TestNoCommandIsAShellOnTheFirstKernelThatMustWork(t *testing.T) {
	o, err := parse(nil, io.Discard)
	if err != nil || len(o.guest.Command) != 0 || o.guest.Kernel != "6.1" {
		t.Errorf("got %+v, %v", o.guest, err)
	}
}

func TestWrongCommandLineIsRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"a file without a place in the guest": {"--file", "bin/ipiptrace"},
		"a relative place in the guest":       {"--file", "bin/ipiptrace:bin"},
		"a variable without a value":          {"--env", "A"},
		"an unknown flag":                     {"--vip", "10.99.0.1"},
	} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%s: accepted %q", name, args)
		}
	}
}
