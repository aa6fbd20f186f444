package command

import (
	"slices"
	"strings"
)

// shortOptions are those that iptables-save writes in a rule.
var shortOptions = []string{"-s", "-d", "-i", "-o", "-p", "-m", "-j", "-g", "-f"}

// commandOptions are those that do not describe a rule: other commands, other tables, and --modprobe, which runs a
// program. iptables takes the first letters of each of them as well (getopt_long).
var commandOptions = []string{
	"append", "delete", "check", "insert", "replace", "list", "list-rules", "flush", "zero", "new-chain", "delete-chain", "rename-chain",
	"policy", "modprobe", "table", "wait", "wait-interval", "numeric", "exact", "line-numbers", "verbose", "version", "help", "set-counters",
}

// unwritten are those that iptables-save writes as one letter, by which their words are checked, and those of matches
// that make iptables open a file.
var unwritten = []string{
	"protocol", "source", "src", "destination", "dst", "in-interface", "out-interface", "match", "jump", "goto", "fragments", "object-pinned",
}

// ruleOptions are those of matches that begin like one of these.
var ruleOptions = []string{"set", "pol", "proto"}

// IPTablesChain is the name of a chain of iptables.
func IPTablesChain(name string) Part {
	if !wordOf(name, "_.:+-") {
		return unsaid("the name of the chain is no plain word")
	}
	return said(name)
}

// IPTablesRule is a rule as iptables-save writes it behind "-A CHAIN", one argument a word. It may hold only what
// describes a rule.
func IPTablesRule(args []string) Part {
	for i, a := range args {
		if strings.HasPrefix(a, "-") && !describes(a) || i > 0 && !fits(args[i-1], a) {
			return unsaid("the rule has a word that iptables would misread")
		}
	}
	return said(args...)
}

// describes reports whether an option describes a rule.
func describes(option string) bool {
	if slices.Contains(shortOptions, option) {
		return true
	}
	name, long := strings.CutPrefix(option, "--")
	if !long || !wordOf(name, "-") {
		return false
	}
	short := func(of string) bool { return strings.HasPrefix(of, name) }
	return slices.Contains(ruleOptions, name) || !slices.ContainsFunc(commandOptions, short) && !slices.ContainsFunc(unwritten, short)
}

// fits reports whether a word can follow an option: iptables looks for an extension's file by its name, and looks up
// the names of hosts and protocols.
func fits(option, word string) bool {
	switch option {
	case "-m", "-j", "-g":
		return wordOf(word, "_.:+-")
	case "-p":
		return wordOf(word, "-.+_")
	case "-s", "-d":
		return strings.Trim(word, "0123456789./") == ""
	}
	return true
}
