package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ipiptrace/internal/lab/fault"
	"ipiptrace/internal/screen"
)

func newLab(s streams) *cobra.Command {
	var hold, change bool
	cmd := &cobra.Command{
		Use:   "lab NAME [--hold] [-- CMD]",
		Short: "Build a client, a director and a real server in network namespaces, with a fault of your choice",
		Long: `lab builds a client, a director and a real server in network namespaces of this kernel, breaks them as
NAME says and sends traffic. It prints one JSON line {name, code, vip, port, namespaces}, runs CMD, if
any, and takes everything down again. CMD finds IPIPTRACE_VIP, IPIPTRACE_PORT, IPIPTRACE_CLIENT,
IPIPTRACE_DIRECTOR and IPIPTRACE_REAL_SERVER in its environment, and its exit status is lab's.

It is the only command that changes the system: it needs root, and the modules ipip and ip_vs.`,
		Example: "  ipiptrace lab rp-filter -- ipiptrace --vip 10.99.0.1 --port 80 --only lost --count 1",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, argv, err := labArgs(args, cmd.ArgsLenAtDash())
			if err != nil {
				return usageError{err}
			}
			return runLab(cmd.Context(), fault.Command{Name: name, Hold: hold, ChangeMachine: change, Argv: argv, Stdout: s.out, Stderr: s.err})
		},
		ValidArgs: scenarioNames(),
	}
	cmd.SetUsageTemplate(cmd.UsageTemplate() + "\n" + scenarioTable() + "\n")
	cmd.Flags().BoolVar(&change, "change-this-machine", false, "allow a fault that is not confined to the lab's namespaces: modules, machine-wide sysctls; undone at the end")
	cmd.Flags().BoolVar(&hold, "hold", false, "keep the lab, with traffic, until Ctrl-C")
	return cmd
}

// labArgs takes the arguments apart: dash is how many stand before --, or -1.
func labArgs(args []string, dash int) (name string, argv []string, err error) {
	before, argv := args, nil
	if dash >= 0 {
		before, argv = args[:dash], args[dash:]
	}
	if len(before) == 0 {
		return "", nil, errors.New("lab needs a NAME, like rp-filter: ipiptrace lab --help has all")
	}
	if len(before) > 1 {
		return "", nil, fmt.Errorf("lab: unexpected %s: put -- before the command", screen.Quote(before[1]))
	}
	if _, ok := fault.Named(before[0]); !ok {
		return "", nil, fmt.Errorf("lab %s: there is no such scenario%s; ipiptrace lab --help has all", screen.Quote(before[0]), like(before[0], "", scenarioNames()))
	}
	return before[0], argv, nil
}

func runLab(ctx context.Context, c fault.Command) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("lab %s: not permitted: run it as root (sudo): it makes network namespaces", c.Name)
	}
	effective(everything)
	status, err := fault.Run(ctx, c)
	if status == 0 {
		return err
	}
	complain(c.Stderr, err)
	return commandStatus(status)
}

func scenarioNames() []string {
	var names []string
	for _, s := range fault.Scenarios() {
		names = append(names, s.Name)
	}
	return names
}

func scenarioTable() string {
	var b strings.Builder
	b.WriteString("Scenarios:")
	for _, s := range fault.Scenarios() {
		fmt.Fprintf(&b, "\n  %-28s %s", s.Name, s.Summary)
	}
	return b.String()
}
