package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ipiptrace/internal/screen"
)

// exitStatus is a contract.
const exitStatus = `Exit status: 0 nothing was seen lost, also if nothing was seen; 1 something was lost; 2 wrong usage; 3 could
not run. Results are on stdout, everything else on stderr, which ends with the account: what was seen, what was not,
and the losses by where they happened.`

const tracingRights = `It needs root, or these capabilities: CAP_BPF, CAP_PERFMON and CAP_SYSLOG to trace (before kernel 5.11 also
CAP_SYS_RESOURCE); CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN and CAP_NET_RAW to read the
state of the machine, which explains a loss.`

func newRoot(s streams) *cobra.Command {
	root := newTrace(s)
	root.Use = "ipiptrace"
	root.Long = `ipiptrace says what happens, right now, to each packet for a service on its way through this kernel,
and why it does not arrive. It is made for LVS in tunnel mode: IPIP packets from the director, the real
server's tunl0, the answer straight to the client.

Without a command it is ` + "`ipiptrace trace`" + `.

` + tracingRights + "\n\n" + exitStatus
	root.Example = `  ipiptrace --vip 192.0.2.10 --port 80
  ipiptrace --vip 192.0.2.10 --port 80 --only lost --count 1
  ipiptrace --vip 192.0.2.10 -o json --duration 30s`
	root.Version = version
	root.SetVersionTemplate("ipiptrace {{.Version}}\n")
	root.SilenceErrors, root.SilenceUsage, root.DisableSuggestions = true, true, true
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp(root))
	root.AddCommand(newTrace(s), newRecord(s), newReplay(s), newDoctor(s), newExplain(s), newProbes(s), newSchema(s), newLab(s))
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().SortFlags = false
		cmd.SetUsageTemplate(inColumns(cmd.UsageTemplate()))
	}
	return root
}

// helpColumns is how long a line of help may be.
const helpColumns = 120

// inColumns is a template of cobra's whose flags are broken into lines.
func inColumns(usage string) string {
	return strings.ReplaceAll(usage, "Flags.FlagUsages ", fmt.Sprintf("Flags.FlagUsagesWrapped %d ", helpColumns))
}

// newHelp is cobra's help but for what does not exist: that is wrong usage.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("help %s: no such command%s: see %s --help", screen.Quote(strings.Join(args, " ")), like(args[0], "", commandNames(root)), root.Name())}
			}
			return cmd.Help()
		},
	}
}

// refuseArguments has cobra's own command for completion say what is wrong usage as the others do.
func refuseArguments(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	completion.Args = noArgs
	completion.Use = "completion SHELL"
	completion.Short = "Print what has a shell complete commands and flags"
	completion.Long = "completion prints the script by which a shell completes ipiptrace's commands, flags and values: bash, zsh or fish. make\ninstall puts it where the shell finds it."
	completion.Example = "  source <(ipiptrace completion bash)"
	completion.RunE = func(*cobra.Command, []string) error { return errNoShell }
	completion.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("completion %s: there is none for it; give bash, zsh or fish", screen.Quote(args[0]))}
		}
		return usageError{errNoShell}
	}
	for _, shell := range completion.Commands() {
		shell.Args = noArgs
		shell.Long, shell.Short = "", "Print the script for "+shell.Name()
		shell.Hidden = shell.Name() == "powershell" // not on Linux
	}
}

var errNoShell = errors.New("completion needs a SHELL: give bash, zsh or fish")

// flagError names the flag and the value before it says what is wrong.
func flagError(cmd *cobra.Command, err error) error {
	var (
		invalid *pflag.InvalidValueError
		unknown *pflag.NotExistError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &invalid):
		flag, why := invalid.GetFlag(), invalid.Unwrap()
		if flag.Value.Type() == "bool" {
			why = fmt.Errorf("it is on or off: give --%s, or --%s=false", flag.Name, flag.Name)
		}
		return usageError{fmt.Errorf("--%s %s: %w", flag.Name, screen.Quote(invalid.GetValue()), why)}
	case errors.As(err, &unknown):
		name := "--" + unknown.GetSpecifiedName()
		if letters := unknown.GetSpecifiedShortnames(); letters != "" {
			name = "-" + letters
		}
		var flags []string
		if len(name) > 2 {
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if !f.Hidden {
					flags = append(flags, f.Name)
				}
			})
		}
		return usageError{fmt.Errorf("unknown flag: %s%s: see %s --help", screen.Short(name), likeFlag(strings.TrimLeft(name, "-"), flags), cmd.CommandPath())}
	case errors.As(err, &syntax):
		err = fmt.Errorf("no flag can be called %s", screen.Quote(syntax.GetSpecifiedFlag()))
	}
	return usageError{fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())}
}

// likeFlag is like, of flags; many programs have --json for what is -o json here.
func likeFlag(name string, flags []string) string {
	if name == "json" && slices.Contains(flags, "output") {
		return " (did you mean -o json?)"
	}
	return like(name, "--", flags)
}

// noArgs refuses arguments: all that trace is told comes in flags.
func noArgs(cmd *cobra.Command, args []string) error {
	switch root := cmd.Root(); {
	case len(args) == 0:
		return nil
	case isAddr(args[0]) && cmd.Flags().Lookup("vip") != nil:
		return usageError{fmt.Errorf("%s is neither a command nor a flag (did you mean --vip %s?): see %s --help", screen.Quote(args[0]), args[0], root.Name())}
	case cmd != root:
		return usageError{fmt.Errorf("%s is neither a command nor a flag: see %s --help", screen.Quote(args[0]), root.Name())}
	case args[0] == "version":
		return usageError{fmt.Errorf(`"version" is no command: %s --version says which one this is`, root.Name())}
	default:
		return usageError{fmt.Errorf("%s is neither a command nor a flag%s: see %s --help", screen.Quote(args[0]), like(args[0], "", commandNames(root)), root.Name())}
	}
}

// isAddr reports whether a word is an address, which somebody has given without --vip.
func isAddr(word string) bool {
	_, err := parseAddr(word)
	return err == nil
}

func commandNames(root *cobra.Command) (names []string) {
	for _, cmd := range root.Commands() {
		names = append(names, cmd.Name())
	}
	return names
}
