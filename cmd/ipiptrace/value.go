package main

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipiptrace/internal/journey"
)

// The kernel half compares at most so many; it has no loop without a bound.
const (
	maxVIPs  = 16
	maxPorts = 16
)

// addrs is the value of --vip.
type addrs []netip.Addr

func (a *addrs) Type() string { return "ADDR[,ADDR...]" }

func (a *addrs) String() string { return join(*a) }

func (a *addrs) Set(s string) error {
	for _, word := range strings.Split(s, ",") {
		addr, err := parseAddr(strings.TrimSpace(word))
		if err != nil {
			return err
		}
		if !slices.Contains(*a, addr) {
			*a = append(*a, addr)
		}
	}
	if len(*a) > maxVIPs {
		return fmt.Errorf("at most %d addresses", maxVIPs)
	}
	return nil
}

func parseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	_, noNetwork := netip.ParsePrefix(s)
	_, noPort := netip.ParseAddrPort(s)
	switch {
	case noNetwork == nil:
		return addr, errors.New("a network, and not an address: give it without the slash, like 192.0.2.10")
	case noPort == nil:
		return addr, errors.New("an address with a port: give it like 192.0.2.10, and the port with --port")
	case err != nil && strings.Trim(s, "0123456789.") == "":
		return addr, errors.New("not an IPv4 address: give it like 192.0.2.10")
	case err != nil:
		return addr, errors.New("not an IPv4 address; names are not resolved: give it like 192.0.2.10")
	case !addr.Is4():
		return addr, errors.New("IPv4 only for now: give it like 192.0.2.10")
	}
	for _, n := range noService {
		if n.network.Contains(addr) {
			return addr, fmt.Errorf("no service can have it, %s: give it like 192.0.2.10", n.why)
		}
	}
	return addr, nil
}

// noService are the networks whose addresses a kernel takes from no wire as its own, or sends to many.
var noService = []struct {
	network netip.Prefix
	why     string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "0.0.0.0/8 is this network (RFC 1122)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "127.0.0.0/8 never leaves its host (RFC 1122)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "224.0.0.0/4 is multicast (RFC 5771)"},
	{netip.MustParsePrefix("255.255.255.255/32"), "it is the broadcast address (RFC 919)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "240.0.0.0/4 is reserved (RFC 1112)"},
}

// ports is the value of --port.
type ports []uint16

func (p *ports) Type() string { return "N[,N...]" }

func (p *ports) String() string { return join(*p) }

func (p *ports) Set(s string) error {
	for _, word := range strings.Split(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(word), 10, 16)
		if err != nil || n == 0 {
			return errors.New("not a port: give numbers from 1 to 65535, separated by commas")
		}
		if !slices.Contains(*p, uint16(n)) {
			*p = append(*p, uint16(n))
		}
	}
	if len(*p) > maxPorts {
		return fmt.Errorf("at most %d ports", maxPorts)
	}
	return nil
}

// prefix is the value of --client.
type prefix struct{ netip.Prefix }

func (p *prefix) Type() string { return "CIDR" }

func (p *prefix) String() string {
	if !p.IsValid() {
		return ""
	}
	return p.Prefix.String()
}

func (p *prefix) Set(s string) error {
	parsed, err := netip.ParsePrefix(s)
	if addr, errAddr := netip.ParseAddr(s); errAddr == nil {
		parsed, err = netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return errors.New("not an IPv4 network: give it like 192.0.2.0/24")
	case !parsed.Addr().Is4():
		return errors.New("IPv4 only for now: give it like 192.0.2.0/24")
	}
	p.Prefix = parsed.Masked()
	return nil
}

// choice is the value of a flag that takes one of a few words; the first is the default.
type choice struct {
	words []string
	word  string
}

func oneOf(words ...string) *choice { return &choice{words, words[0]} }

func (c *choice) Type() string { return strings.Join(c.words, "|") }

func (c *choice) String() string { return c.word }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("not one of %s", strings.Join(c.words, ", "))
	}
	c.word = s
	return nil
}

// count is the value of --count; 0 when it was not given.
type count int

func (c *count) Type() string { return "N" }

func (c *count) String() string { return strconv.Itoa(int(*c)) }

func (c *count) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return fmt.Errorf("not a number of journeys: give one from 1 to %d", math.MaxInt32)
	}
	*c = count(n)
	return nil
}

// ringBytes is the value of --ring-bytes; 0 when it was not given.
type ringBytes int

func (r *ringBytes) Type() string { return "BYTES" }

func (r *ringBytes) String() string { return strconv.Itoa(int(*r)) }

func (r *ringBytes) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n < 64<<10 || n&(n-1) != 0 {
		return fmt.Errorf("not a size: give a power of two from %d to %d", 64<<10, 1<<30)
	}
	*r = ringBytes(n)
	return nil
}

// span is the value of a flag that takes a time longer than none.
type span time.Duration

func (d *span) Type() string { return "D" }

func (d *span) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *span) Set(s string) error {
	parsed, err := time.ParseDuration(s)
	if err == nil && parsed <= 0 || s == "0" {
		return errors.New("too short: give more than 0, like 10s or 2m")
	}
	if err != nil {
		return errors.New("not a duration: give a number with a unit, like 10s or 2m, up to 292 years")
	}
	*d = span(parsed)
	return nil
}

// patience is the value of --patience.
type patience struct{ span }

func (p *patience) Set(s string) error {
	set := p.span
	if err := set.Set(s); err != nil {
		return err
	}
	if time.Duration(set) > journey.MaxPatience {
		return fmt.Errorf("longer than %s: a packet that is silent for so long has vanished", journey.MaxPatience)
	}
	p.span = set
	return nil
}

func join[T any](values []T) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ",")
}
