package command

import (
	"regexp"
	"slices"
	"strings"
)

// Identifier is the name of a table, a chain or a set of nft, which what names in the reason why not. nft joins its
// arguments and reads the whole by its own grammar, in which a name cannot be quoted; netlink allows any text as one.
func Identifier(what constant, name string) Part {
	switch {
	case !identifier.MatchString(name):
		return unsaid("the name of the " + string(what) + " is no plain identifier, and nft would read something else")
	case slices.Contains(nftKeywords, name):
		return unsaid("the name of the " + string(what) + " is a word of nft's own language")
	}
	return said(name)
}

// identifier is {string} of nft's scanner.l, without a dot at its beginning.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)

// Element is the key of an element of a set, like "10.99.0.0/24 . 80-90": numbers, addresses, networks, ranges,
// identifiers; "*" is what is in no other.
func Element(key string) Part {
	for _, field := range strings.Split(key, " . ") {
		if !number.MatchString(field) && !slices.Contains(protocols, field) && !Identifier("element", field).ok {
			return unsaid("the element of the set is none that nft would read as one")
		}
	}
	return said(key)
}

var (
	number    = regexp.MustCompile(`^(\*|0x[0-9a-f]+|[0-9.]+([-/][0-9.]+)?)$`)
	protocols = []string{"tcp", "udp", "icmp"}
)

// joins reports whether nft reads the same in the joined words as in each of them alone.
func joins(words []string) bool {
	var apart []string
	for _, w := range words {
		t, ok := tokens(w)
		if !ok || len(t) == 0 {
			return false
		}
		apart = append(apart, t...)
	}
	joined, ok := tokens(strings.Join(words, " "))
	return ok && slices.Equal(joined, apart)
}

// token is what nft's scanner takes as one, of that which we write: an address or a number, a word, a sign.
var token = regexp.MustCompile(`^(0x[0-9a-f]+|[0-9]+(\.[0-9]+)*|[A-Za-z_][A-Za-z0-9_./-]*|[-./{};*])`)

// tokens cuts text as nft's scanner does. It is not ok if there is anything else in it, a quote or a comment.
func tokens(text string) (all []string, ok bool) {
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		t := token.FindString(text)
		if t == "" {
			return nil, false
		}
		all, text = append(all, t), text[len(t):]
	}
	return all, true
}

// nftKeywords are the words that nft takes for its own where the name of a table, a chain or a set stands, in one of the versions
// 1.0.6 to 1.1.6: those of src/scanner.l that need no start condition, but last, which is a name, too (identifier). Others, like
// "out", are its own only where they mean something.
var nftKeywords = strings.Fields(`
	accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter cpu create ct day dccp
	define delete describe destroy device devices dnat drop dst dup dynamic ecn element elements eq esp ether exists
	expires export exthdr fib flags flow flowtable flush frag fwd gc-interval ge geneve get goto gre gretap gt handle hbh
	hook hour ibriport ibrname icmp icmpv6 igmp iif iifgroup iifname iiftype import include index inet insert interval ip
	ip6 ipsec jhash jump le limit list log lshift lt map mark masquerade meta meter mh missing monitor ne netdev nftrace
	not notrack numgen obriport obrname offload oif oifgroup oifname oiftype or osf pkttype policy position priority queue
	quota random redefine redirect reject rename replace reset return rshift rt rt0 rt2 rtclassid rule ruleset sctp
	secmark set size skgid skuid snat socket srh symhash synproxy table tcp th time timeout tproxy tunnel type typeof udp
	udplite undefine update vlan vmap vni vxlan xor xt
`)
