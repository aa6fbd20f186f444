// Package site is the home of what is known of the kernel's functions and drop reasons: it maps how the kernel let a
// packet go to the named points at which packets are lost, whatever a kernel calls them.
//
// It is pure, and a table: a kernel that renames a function is one word here.
package site

import (
	"slices"
	"strings"
)

// End is how the kernel let a packet go, as far as it was seen.
type End struct {
	// Function freed the packet, without the compiler's suffixes; Reason is the kernel's, empty if it has none.
	Function, Reason string
	// Hook is the netfilter hook that decided, Decider who decided if it was not Function.
	Hook, Decider string
	// Answer is what the kernel answered with.
	Answer Answer
	// NoReply: the packet arrived, and no reply could come into being. Astray: the reply left by the tunnel.
	NoReply, Astray bool
}

// Answer is an answer of the kernel to a packet; the zero Answer is none.
type Answer struct {
	// Reset: a TCP reset. ICMP: an error of that Type and Code (RFC 792).
	Reset, ICMP bool
	Type, Code  uint8
}

// Given reports whether the kernel answered.
func (a Answer) Given() bool { return a.Reset || a.ICMP }

// icmp reports whether it is that ICMP error.
func (a Answer) icmp(kind, code uint8) bool { return a.ICMP && a.Type == kind && a.Code == code }

// unsaid reports whether the kernel gave no reason, or has none (before 5.17).
func (e End) unsaid() bool { return e.Reason == "" || e.Reason == NotSpecified }

// NotSpecified is the reason of a kernel that has reasons, and none for this.
const NotSpecified = "NOT_SPECIFIED"

// Set are the sites that an End may be.
type Set [last]bool

// Has reports whether one of the sites is in the set.
func (s Set) Has(sites ...Site) bool {
	return slices.ContainsFunc(sites, func(x Site) bool { return s[x] })
}

// Of are the sites at which a packet may have ended so; none if the table knows none.
func Of(e End) (s Set) {
	for _, r := range table {
		if r.fits(e) {
			s[r.site] = true
		}
	}
	return s
}

// fits reports whether an end is one of the row's.
func (r row) fits(e End) bool {
	return (r.functions == nil || slices.Contains(r.functions, e.Function)) &&
		(r.reasons == nil || slices.Contains(r.reasons, e.Reason)) &&
		(r.prefixes == nil || slices.ContainsFunc(r.prefixes, func(p string) bool { return strings.HasPrefix(e.Reason, p) })) &&
		(r.when == nil || r.when(e))
}

// Function is the C function that a symbol names: without the module, the offset and the compiler's suffixes
// (".isra.0", ".constprop.0", ".part.0", ".cold").
func Function(symbol string) string {
	symbol, _, _ = strings.Cut(symbol, "+0x")
	symbol, _, _ = strings.Cut(symbol, " ")
	if cut := strings.IndexByte(symbol, '.'); cut > 0 {
		symbol = symbol[:cut]
	}
	return symbol
}
