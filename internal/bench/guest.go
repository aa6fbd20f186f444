package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"ipiptrace/internal/vm"
)

// measuringEnv keeps Go's scheduler and collector out of the thread that measures.
var measuringEnv = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1"}

// boot measures in a guest: this program itself, with the word "measure", is what
// runs there. builds are the paths of ipiptrace, by the names in the order.
func boot(ctx context.Context, kernel string, o order, builds map[string]string, progress io.Writer) ([]cost, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	asked, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var stdout bytes.Buffer
	g := vm.Guest{
		Kernel:  kernel,
		Command: []string{"/bin/bench", "measure", string(asked)},
		Env:     measuringEnv,
		Files:   map[string]string{"/bin/bench": self},
		Stdout:  io.MultiWriter(&stdout, told{progress}), Stderr: progress, Progress: progress,
		CountInstructions: true,
		Append:            "norandmaps nokaslr randomize_kstack_offset=off",
	}
	for name, path := range builds {
		g.Files["/bin/"+name] = path
	}
	code, err := vm.Run(ctx, g)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, fmt.Errorf("measure in the guest: exit status %d", code)
	}
	return readCosts(&stdout)
}

func readCosts(r io.Reader) (costs []cost, err error) {
	for lines := json.NewDecoder(r); lines.More(); {
		var c cost
		if err := lines.Decode(&c); err != nil {
			return nil, fmt.Errorf("read costs: %w", err)
		}
		if c.Build == onlyBuild {
			c.Build = ""
		}
		costs = append(costs, c)
	}
	return costs, nil
}

// told says each cost to the person who waits.
type told struct{ w io.Writer }

func (t told) Write(b []byte) (int, error) {
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var c cost
		if json.Unmarshal(lines.Bytes(), &c) == nil {
			fmt.Fprintf(t.w, "bench: %s %s %s %d\n", c.Build, c.Backend, c.Case, c.Instructions)
		}
	}
	return len(b), nil
}
