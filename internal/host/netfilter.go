package host

import (
	"encoding/json"
	"slices"
	"strings"
)

// NftTable is a table of nftables, of every family that this namespace has.
type NftTable struct {
	// Family is "ip", "inet", "netdev", "bridge", "arp" or "ip6".
	Family string     `json:"family"`
	Name   string     `json:"name"`
	Handle uint64     `json:"handle,omitempty"`
	Chains []NftChain `json:"chains,omitempty"`
	Sets   []NftSet   `json:"sets,omitempty"`
	// Dormant tables are not evaluated.
	Dormant bool `json:"dormant,omitempty"`
	// Owned: it belongs to a process, and only that may change it (NFT_TABLE_F_OWNER).
	Owned bool `json:"owned,omitempty"`
	// IPTables: iptables-nft made it; its rules are in Snapshot.IPTables, too, as that shows them.
	IPTables bool `json:"iptables,omitempty"`
}

// NftChain is a chain; one with a Hook is a base chain.
type NftChain struct {
	Name   string `json:"name"`
	Handle uint64 `json:"handle,omitempty"`
	// Hook is "ingress", "prerouting", "input", "forward", "output", "postrouting", "egress".
	Hook     string    `json:"hook,omitempty"`
	Type     string    `json:"type,omitempty"`
	Priority int       `json:"priority,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Devices  []string  `json:"devices,omitempty"`
	Rules    []NftRule `json:"rules,omitempty"`
}

// NftOutline are the rules of a chain, of which nothing was read but their handles, in the order of evaluation.
type NftOutline struct {
	Family  string   `json:"family"`
	Table   string   `json:"table"`
	Chain   string   `json:"chain"`
	Handles []uint64 `json:"handles"`
}

// NfHook is a hook and what it runs, first things first (nfnetlink_hook, from 5.14 on).
type NfHook struct {
	// Family is "ip", "bridge" or "netdev", Hook one of those of NftChain, Device is that of a hook of netdev.
	Family string     `json:"family"`
	Hook   string     `json:"hook"`
	Device string     `json:"device,omitempty"`
	Calls  []NfCallee `json:"calls,omitempty"`
}

// NfCallee is what a hook calls: a base chain of nftables, or a function of the kernel's.
type NfCallee struct {
	Priority int `json:"priority"`
	// Family, Table and Chain are those of a base chain.
	Family string `json:"family,omitempty"`
	Table  string `json:"table,omitempty"`
	Chain  string `json:"chain,omitempty"`
	// Function is the kernel's: "nft_do_chain_inet", "ipt_do_table", "ipv4_conntrack_in".
	Function string `json:"function,omitempty"`
}

// Queue is one that a program reads (/proc/net/netfilter/nfnetlink_queue, seq_show of nfnetlink_queue.c).
type Queue struct {
	Number uint16 `json:"number"`
	// Reader is the program's netlink port: nearly always its process.
	Reader uint32 `json:"reader"`
	// Waiting are the packets that the program has not decided over, Full those that found no room among them, Unsent
	// those that the program's socket had no room for.
	Waiting uint64 `json:"waiting,omitempty"`
	Full    uint64 `json:"full,omitempty"`
	Unsent  uint64 `json:"unsent,omitempty"`
}

// QueuesKnown reports whether it was read which queues programs read.
func (s *Snapshot) QueuesKnown() bool { return s.Knows(PartQueues) && s.Queues != nil }

// NftRule is a rule as nft shows it.
type NftRule struct {
	Handle uint64 `json:"handle"`
	Text   string `json:"text,omitempty"`
	// Exprs are its expressions in the form of libnftables-json(5), in the order of evaluation.
	Exprs []json.RawMessage `json:"exprs,omitempty"`
}

// NftSet is a set, map or verdict map, in the form of libnftables-json(5).
type NftSet struct {
	Name   string `json:"name"`
	Handle uint64 `json:"handle,omitempty"`
	// Flags are "constant", "interval", "timeout", "dynamic".
	Flags []string        `json:"flags,omitempty"`
	Elem  json.RawMessage `json:"elem,omitempty"`
	// Unread is why its elements were not read; empty if Elem has them all.
	Unread string `json:"unread,omitempty"`
}

// IPTables is a table of iptables-legacy or of iptables-nft, in the form of iptables-save.
type IPTables struct {
	// Backend is "iptables-legacy" or "iptables-nft".
	Backend string          `json:"backend"`
	Table   string          `json:"table"`
	Chains  []IPTablesChain `json:"chains,omitempty"`
}

// IPTablesChain is a chain; one with a Policy is built in.
type IPTablesChain struct {
	Name   string         `json:"name"`
	Policy string         `json:"policy,omitempty"`
	Rules  []IPTablesRule `json:"rules,omitempty"`
}

// IPTablesRule is a rule: its arguments behind "-A CHAIN", unquoted, and its counters.
type IPTablesRule struct {
	Args []string `json:"args"`
	// Line is what iptables-save writes behind "-A CHAIN", where that is not the arguments with a space in between.
	Line    string `json:"line,omitempty"`
	Packets uint64 `json:"packets,omitempty"`
	Bytes   uint64 `json:"bytes,omitempty"`
}

// Saved is the rule as iptables-save, and iptables -S, write it.
func (r IPTablesRule) Saved(chain string) string {
	line := r.Line
	if line == "" {
		line = strings.Join(r.Args, " ")
	}
	return "-A " + chain + " " + line
}

// AnyRule reports whether one of all rules that were read is such a rule of nftables, or of iptables.
func (s *Snapshot) AnyRule(nft func(NftTable, NftRule) bool, iptables func(IPTablesRule) bool) bool {
	for _, t := range s.Nft {
		for _, c := range t.Chains {
			if slices.ContainsFunc(c.Rules, func(r NftRule) bool { return nft(t, r) }) {
				return true
			}
		}
	}
	for _, t := range s.IPTables {
		for _, c := range t.Chains {
			if slices.ContainsFunc(c.Rules, iptables) {
				return true
			}
		}
	}
	return false
}
