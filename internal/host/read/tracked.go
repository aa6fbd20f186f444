package read

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// trackedTime bounds the reading of the table of tracked connections, which may have a million: other parts come after it.
const trackedTime = 5 * time.Second

// connections reads /proc/net/nf_conntrack: the same by netlink would load a module where nobody has asked for it yet.
func (r *reader) connections(c *host.Conntrack) error {
	if c.Count == 0 {
		return nil
	}
	f, err := os.Open(r.files.net("nf_conntrack"))
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("this kernel does not show what is tracked")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(r.ctx, trackedTime)
	defer cancel()
	return tracked(ctx, f, c, r.options.VIPs)
}

// tracked takes the entries of the VIPs, and those of IPIP.
func tracked(ctx context.Context, from io.Reader, c *host.Conntrack, vips []netip.Addr) error {
	lines := bufio.NewScanner(from)
	for n := 0; lines.Scan(); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		one, ok := connection(lines.Text())
		ours := func(a netip.AddrPort) bool { return slices.Contains(vips, a.Addr()) }
		switch {
		case !ok, one.Proto != unix.IPPROTO_IPIP && !ours(one.From) && !ours(one.To) && !ours(one.Back) && !ours(one.BackTo):
		case len(c.Conns) >= maxTracked:
			c.MoreConns++
		default:
			c.Conns = append(c.Conns, one)
		}
	}
	return lines.Err()
}

// connection reads a line of the form
//
//	ipv4 2 tcp 6 431999 ESTABLISHED src=10.0.0.7 dst=10.99.0.1 sport=30000 dport=80 src=10.99.0.1 dst=10.0.0.7 sport=80 dport=30000 [ASSURED] use=2
func connection(line string) (c host.Connection, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 || f[0] != "ipv4" {
		return c, false
	}
	proto, err := strconv.ParseUint(f[3], 10, 8)
	if err != nil {
		return c, false
	}
	c.Proto, c.Replied = uint8(proto), true
	var addrs [4]netip.Addr
	var ports [4]uint16
	src, dst := -2, -1 // the places of the tuple that is being read
	for i, word := range f[4:] {
		key, value, isPair := strings.Cut(word, "=")
		switch {
		case word == "[UNREPLIED]":
			c.Replied = false
		case !isPair && i == 1 && !strings.HasPrefix(word, "["):
			c.State = word
		case key == "src":
			if src, dst = src+2, dst+2; dst >= len(addrs) {
				return c, false
			}
			addrs[src], err = netip.ParseAddr(value)
		case src < 0:
		case key == "dst":
			addrs[dst], err = netip.ParseAddr(value)
		case key == "sport":
			ports[src], err = port(value)
		case key == "dport":
			ports[dst], err = port(value)
		}
		if err != nil {
			return c, false
		}
	}
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(addrs[i], ports[i]) }
	c.From, c.To, c.Back, c.BackTo = at(0), at(1), at(2), at(3)
	return c, dst == 3
}

func port(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err
}
