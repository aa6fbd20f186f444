package command

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Part is a part of a command: words that were checked for what they are meant to be, or the reason why they cannot be
// said. The zero Part cannot be said.
type Part struct {
	words   []string
	ok      bool
	refused string
}

func said(words ...string) Part { return Part{words: words, ok: true} }

func unsaid(why string) Part { return Part{refused: why} }

// why says why the part cannot be said.
func (p Part) why() string {
	if p.refused == "" {
		return "a part of it is not known"
	}
	return p.refused
}

// String is the part as a shell takes it, and "…" if it cannot be said: for lines that show what a command said.
func (p Part) String() string {
	if !p.ok || misread(p.words) != "" {
		return "…"
	}
	return Quote(p.words)
}

// And is the part with others behind it. If one of them cannot be said, the whole cannot.
func (p Part) And(more ...Part) Part {
	for _, m := range more {
		switch {
		case !p.ok:
			return p
		case !m.ok:
			return m
		}
		p = said(slices.Concat(p.words, m.words)...)
	}
	return p
}

// Say is constant words, or none.
func Say(words constant) Part {
	split, _ := Split(string(words))
	return said(split...)
}

// OneOf is a word that must be one of those that are known; what names it in the reason why not.
func OneOf(what constant, word string, known ...constant) Part {
	if !slices.Contains(known, constant(word)) {
		return unsaid(string(what) + " is none that is known")
	}
	return said(word)
}

// Number is a number that is not negative: one that is would be read as an option.
func Number[T ~int | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64](n T) Part {
	if n < 0 {
		return unsaid("a number is negative")
	}
	return said(strconv.FormatUint(uint64(n), 10))
}

// Mark is a firewall mark with its mask, as ip rule has it.
func Mark(value, mask uint32) Part { return said(fmt.Sprintf("%#x/%#x", value, mask)) }

// Range is a range of ports; one alone is written alone.
func Range(first, last uint16) Part {
	if first == last {
		return Number(first)
	}
	return Numbers(uint32(first), uint32(last))
}

// Numbers are both ends of a range.
func Numbers(first, last uint32) Part { return said(fmt.Sprintf("%d-%d", first, last)) }

// Address is an IPv4 address. There are no others in what is traced, and an IPv6 address may have any text as its zone.
func Address(a netip.Addr) Part {
	if !a.Is4() {
		return unsaid("an address is none of IPv4")
	}
	return said(a.String())
}

// Endpoint is an IPv4 address and a port.
func Endpoint(a netip.AddrPort) Part {
	if !a.Addr().Is4() {
		return unsaid("an address is none of IPv4")
	}
	return said(a.String())
}

// Prefix is an IPv4 address and the length of its network part.
func Prefix(p netip.Prefix) Part {
	if !p.IsValid() || !p.Addr().Is4() {
		return unsaid("a network is none of IPv4")
	}
	return said(p.String())
}

// deviceWords are words by which ip, tc or sysctl mean something else than a device, where they look for its name.
var deviceWords = []string{
	"all", "any", "default", "none", "dev", "name", "via", "up", "down", "index", "mode", "mtu", "type", "local", "remote", "src", "root",
	"ingress", "egress", "clsact", "parent", "pref", "table", "metric", "link", "address", "lladdr", "brd", "txqueuelen", "qlen", "txqlen",
	"alias", "group", "master", "nomaster", "vrf", "netns", "vf", "xdp", "xdpgeneric", "xdpdrv", "xdpoffload", "object", "pinned", "arp",
	"multicast", "allmulticast", "promisc", "trailers", "carrier", "dynamic", "state", "protodown", "numtxqueues", "numrxqueues",
	"addrgenmode", "peer", "scope", "label", "permanent", "help", "ttl", "tos", "hoplimit", "key", "ikey", "okey", "iif", "oif", "pmtudisc",
	"nopmtudisc", "csum", "icsum", "ocsum", "seq", "iseq", "oseq", "external", "noexternal", "hlim", "tclass", "gso_max_size", "gso_max_segs",
	"gro_max_size", "link-netns", "link-netnsid", "parentdev", "parentbus", "threaded",
}

// abbreviated are those that ip also takes if only their first letters are there (matches in iproute2).
var abbreviated = []string{
	"link", "address", "broadcast", "txqueuelen", "master", "nomaster", "type", "alias", "numtxqueues", "numrxqueues", "help", "dynamic", "dsfield",
}

// Device is the name of a network device (dev_valid_name), if ip and tc read it as one. The kernel allows more
// characters: "%" makes it choose a number, ip cuts a name at "@", and sysctl takes "*" for every device.
func Device(name string) Part {
	short := func(word string) bool { return strings.HasPrefix(word, name) }
	switch {
	case name == "", len(name) > 15, name[0] == '.', !wordOf(name, "_.-"),
		slices.Contains(deviceWords, name), slices.ContainsFunc(abbreviated, short):
		return unsaid("the name of the device is none that ip and sysctl would read as one")
	}
	return said(name)
}

// DeviceSetting is the device's name within that of a sysctl: a dot in it is a slash there.
func DeviceSetting(name string) Part {
	p := Device(name)
	if p.ok {
		p = said(strings.ReplaceAll(name, ".", "/"))
	}
	return p
}

// Path is a file's path below a directory: absolute, and without "..".
func Path(below constant, path string) Part {
	unprinted := func(r rune) bool { return !unicode.IsPrint(r) }
	if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, unprinted) || slices.Contains(strings.Split(path, "/"), "..") {
		return unsaid("a path in it is none that can be typed")
	}
	return said(string(below) + path)
}

// wordOf reports whether a word is made of letters, digits and the others, and does not begin like an option.
func wordOf(word, others string) bool {
	return word != "" && word[0] != '-' && !strings.ContainsFunc(word, func(r rune) bool { return !isAlnum(r) && !strings.ContainsRune(others, r) })
}
