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

// nftKeywords are the words that nft takes for its own wherever they stand, in one of the versions 0.9.8 to 1.1.6
// (src/scanner.l). Up to 1.0 that was so for nearly all of them.
var nftKeywords = strings.Fields(`
	accept ackseq add addr ah all and arp auto-merge avgpkt bridge burst bypass bytes cfi cgroup chain chains checksum
	classid code comment comp constant continue count counter counters cpi cpu create ct daddr day dccp define delete
	describe destroy device devices direction dnat doff dport drop dscp dst dup dynamic echo ecn element elements eol eq
	esp ether event exists expectation expiration expires export exthdr fanout fib flags flow flowlabel flowtable
	flowtables flush frag frag-off fully-random fwd gateway gc-interval ge geneve get goto gre gretap group gt handle hbh
	hdrlength helper helpers hlen hook hoplimit hour htype ibriport ibrname icmp icmpv6 icmpx id igmp iif iifgroup iifname
	iiftype import in inc include index inet insert interval ip ip6 ipsec jhash json jump kind l3proto label last-entry le
	left length level limit limits list ll log lshift lsrr lt map maps mark masquerade max-delay maxseg memory meta meter
	meters mh microsecond millisecond minute missing mod mode monitor more-fragments mrt mss mtu name nanosecond ne netdev
	nexthdr nexthop nftrace nh noop nop not notrack num numgen obriport obrname offload offset oif oifgroup oifname
	oiftype operation option options or original osf out over packets param-problem pcp performance persistent pkttype
	plen policy port position prefix priority proto-dst proto-src protocol ptr ptype queue queue-threshold quota quotas ra
	random rate redefine redirect reject rename replace reply reqid reserved reserved2 reset return right rr rshift rt rt0
	rt2 rtclassid rule rules ruleset sack sack-perm sack-permitted sack0 sack1 sack2 sack3 saddr sctp secmark secmarks
	second seed seg-left sequence set sets sid size skgid skuid snaplen snat socket spi spnum sport srh ssrr state status
	symhash synproxy synproxys table tables tag tcp th time timeout timestamp to tproxy trace transparent transport tsecr
	tsval ttl tunnel type typeof udp udplite undefine until update urgptr used value version vlan vm vmap vni vtag vxlan
	week wildcard window with wscale xml xor xt zone
`)
