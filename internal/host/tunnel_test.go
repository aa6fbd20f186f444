package host

import (
	"net/netip"
	"testing"
)

var (
	director = netip.MustParseAddr("10.0.0.2")
	another  = netip.MustParseAddr("10.0.0.99")
	own      = netip.MustParseAddr("10.0.0.11")
	nobody   = netip.Addr{}
)

// tunnelNamed is a device that is up.
func tunnelNamed(name, kind string, index uint32, local, remote netip.Addr, changes ...func(*Link)) Link {
	l := Link{Index: index, Name: name, Type: kind, Up: true, Tunnel: &Tunnel{Proto: ProtoIPIP, Local: local, Remote: remote}}
	for _, change := range changes {
		change(&l)
	}
	return l
}

func down(l *Link)         { l.Up = false }
func keyed(l *Link)        { l.Tunnel.Keyed = true }
func moved(l *Link)        { l.LinkNetns = true }
func ip6ip(l *Link)        { l.Tunnel.Proto = 41 }
func external(l *Link)     { l.Tunnel.Collect = true }
func boundToEth0(l *Link)  { l.Tunnel.Link = 2 }
func boundToOther(l *Link) { l.Tunnel.Link = 7 }
func zeroAddresses(l *Link) {
	l.Tunnel.Local, l.Tunnel.Remote = netip.IPv4Unspecified(), netip.IPv4Unspecified()
}

// TestTunnelsAreLookedUpAsTheKernelDoes asks for a packet from the director to us that came by eth0, whose index is 2.
func TestTunnelsAreLookedUpAsTheKernelDoes(t *testing.T) {
	tunl0 := tunnelNamed("tunl0", "ipip", 3, nobody, nobody)
	for what, test := range map[string]struct {
		links []Link
		want  string
	}{
		"tunl0 takes what no other does":                    {[]Link{tunl0, tunnelNamed("a", "ipip", 4, own, another)}, "tunl0"},
		"0.0.0.0 is any":                                    {[]Link{tunnelNamed("tunl0", "ipip", 3, nobody, nobody, zeroAddresses)}, "tunl0"},
		"both addresses come before one":                    {[]Link{tunl0, tunnelNamed("l", "ipip", 4, own, nobody), tunnelNamed("r", "ipip", 5, nobody, director), tunnelNamed("b", "ipip", 6, own, director)}, "b"},
		"the remote one comes before the local one":         {[]Link{tunl0, tunnelNamed("l", "ipip", 4, own, nobody), tunnelNamed("r", "ipip", 5, nobody, director)}, "r"},
		"a device that is down is not asked":                {[]Link{tunl0, tunnelNamed("b", "ipip", 6, own, director, down)}, "tunl0"},
		"of two external is asked first, being newer":       {[]Link{tunl0, tunnelNamed("e", "ipip", 4, nobody, nobody, external)}, "e"},
		"external takes what no other does":                 {[]Link{tunnelNamed("e", "ipip", 4, nobody, nobody, external), tunnelNamed("a", "ipip", 5, own, another)}, "e"},
		"bound to its device comes before better addresses": {[]Link{tunnelNamed("l", "ipip", 4, own, nobody, boundToEth0), tunnelNamed("b", "ipip", 5, own, director)}, "l"},
		"bound to another one it takes what no other does":  {[]Link{tunnelNamed("l", "ipip", 4, own, nobody, boundToOther)}, "l"},
		"vti comes before ipip":                             {[]Link{tunl0, tunnelNamed("ip_vti0", "vti", 4, nobody, nobody)}, "ip_vti0"},
		"vti for another peer does not":                     {[]Link{tunl0, tunnelNamed("v", "vti", 4, own, another)}, "tunl0"},
		"ipip comes before sit":                             {[]Link{tunl0, tunnelNamed("s", "sit", 4, own, director)}, "tunl0"},
		"sit takes what ipip does not":                      {[]Link{tunnelNamed("tunl0", "ipip", 3, nobody, nobody, down), tunnelNamed("s", "sit", 4, own, nobody)}, "s"},
		"sit that wants IPv6 takes it, too":                 {[]Link{tunnelNamed("sit0", "sit", 4, nobody, nobody, ip6ip)}, "sit0"},
		"sit that is bound to another device does not":      {[]Link{tunnelNamed("s", "sit", 4, own, nobody, boundToOther)}, ""},
		"a device that was moved here takes other packets":  {[]Link{tunnelNamed("m", "ipip", 4, own, nobody, moved)}, ""},
		"one that wants a key takes none without":           {[]Link{tunnelNamed("k", "ipip", 4, own, nobody, keyed)}, ""},
		"GRE is none of those":                              {[]Link{tunnelNamed("gre0", "gre", 4, nobody, nobody)}, ""},
		"another address of ours":                           {[]Link{tunnelNamed("l", "ipip", 4, another, nobody)}, ""},
		"a peer that is not there":                          {[]Link{tunnelNamed("r", "ipip", 4, nobody, another)}, ""},
		"nothing":                                           {nil, ""},
	} {
		s := &Snapshot{Links: test.links}
		got := ""
		if l := s.TakesIPIP(director, own, 2); l != nil {
			got = l.Name
		}
		if got != test.want {
			t.Errorf("%s: %q takes the packet, want %q", what, got, test.want)
		}
	}
}
