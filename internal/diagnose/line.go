package diagnose

import (
	"regexp"
	"slices"
	"strings"
)

// Line is one line of an explanation: a command that a person pastes, or a sentence. In JSON it is its text.
type Line struct {
	// Command is complete but for [Placeholders]; it is empty in a line that is a sentence.
	Command string
	// On says where to run it, if that is not the network namespace in which the packet is lost.
	On string
	// Says is what to look for in what it prints, or why to run it. In a repair a line that says "or" begins another way.
	Says string
	// Shows is a regular expression of what the command prints while the cause is there, with placeholders; [Nothing]: it
	// prints nothing. Without it the command is only run.
	Shows string
	// Fails: the command may end with another status than 0 then.
	Fails bool
	// Lab is the scenario of the lab in which the line is true; empty is the first that has the cause.
	Lab string
	// Unplayed is why the command cannot be tried in the lab.
	Unplayed string
}

// Where to run a line, if not where the packet is lost.
const (
	atDirector   = "on the director"
	atRealServer = "on the real server"
	atClient     = "on the client"
	atRouter     = "on the router"
	atService    = "in the network namespace of the service"
	atFirst      = "in the first network namespace"
)

// Nothing is what a command shows that prints nothing.
const Nothing = `\A\z`

// String is the line as a person reads it, with a # before what is no command.
func (l Line) String() string {
	comment := l.Says
	if l.On != "" {
		comment = strings.TrimSuffix(l.On+": "+l.Says, ": ")
	}
	switch {
	case l.Command == "":
		return "# " + comment
	case comment == "":
		return l.Command
	}
	return l.Command + "  # " + comment
}

// MarshalText makes the line a string in JSON.
func (l Line) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// besides reports whether the line begins another way to repair the fault than those before it.
func (l Line) besides() bool { return or.MatchString(l.Says) }

var or = regexp.MustCompile(`^or\b`)

// Ways are the ways to repair the fault; the commands of one belong together, in their order.
func (d Doc) Ways() (ways [][]Line) {
	for _, l := range d.Fix {
		if len(ways) == 0 || l.besides() {
			ways = append(ways, nil)
		}
		ways[len(ways)-1] = append(ways[len(ways)-1], l)
	}
	return slices.DeleteFunc(ways, func(way []Line) bool {
		return !slices.ContainsFunc(way, func(l Line) bool { return l.Command != "" })
	})
}

// Placeholder is a word in capitals that stands for what is the reader's own.
type Placeholder struct{ Word, Means string }

// Placeholders are all that commands may have.
func Placeholders() []Placeholder {
	return []Placeholder{
		{"VIP", "the virtual address of the service"},
		{"PORT", "the port of the service"},
		{"CLIENT", "the address of a client"},
		{"DIRECTOR", "the address from which the director tunnels"},
		{"RIP", "the address of the real server"},
		{"WRONG-RIP", "the address to which the director tunnels instead"},
		{"SOURCE", "the source of the lost packet"},
		{"DESTINATION", "the destination of the lost packet, after DNAT"},
		{"GATEWAY", "the router by which the other address is reached"},
		{"NEXT-HOP", "the router, or the neighbour, that does not answer"},
		{"DEVICE", "the device that has the address"},
		{"TUNNEL", "a tunnel's device, other than tunl0: that one can't be deleted"},
		{"PREFIX", "the length of a prefix, after the slash"},
		{"NETNS", "the network namespace of the service, as ip netns has it, or a path"},
		{"TYPE", "blackhole, unreachable or prohibit, as the route has it"},
		{"TABLE", "a table of routes, or of nftables"},
		{"PREF", "a preference: the first number of a line of ip rule, or pref in a line of tc filter"},
		{"FAMILY", "the family of a table of nftables"},
		{"CHAIN", "a chain"},
		{"HANDLE", "a rule's number, behind the word handle"},
		{"NUMBER", "a rule's number, at the start of its line"},
		{"INDEX", "an IPsec policy's number, behind the word index"},
		{"ID", "a BPF program's or link's number"},
		{"CGROUP", "the folder of the cgroup"},
		{"UNIT", "the unit of systemd that has the service"},
		{"KIND", "the kind of the queueing discipline"},
		{"LARGER", "a number that is larger than the present one"},
	}
}

// word is a word that may be a placeholder.
var word = regexp.MustCompile(`\b[A-Z]+(-[A-Z]+)*\b`)

// Fill puts what the words stand for in their places. A word that stands for nothing here remains.
func Fill(text string, stands func(word string) (string, bool)) string {
	return word.ReplaceAllStringFunc(text, func(w string) string {
		if s, ok := stands(w); ok {
			return s
		}
		return w
	})
}
