package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"ipiptrace/internal/host"
)

// segments are how long those of the service's sockets are: what they have announced to clients, and what was seen of these.
func (x service) segments() (lines []string) {
	var of host.Segments
	n, most := 0, uint32(0)
	kinds := x.kinds()
	for _, sock := range x.s.Sockets {
		seg := sock.Segments
		ours := sock.Proto == "tcp" && slices.Contains(kinds, kind{protoTCP, sock.Local.Port()})
		switch {
		case !ours || seg == host.Segments{}:
		case !sock.Remote.IsValid():
			most = max(most, seg.Announced)
		case sock.Local.Addr().Unmap() == x.vip:
			n++
			of.Announced, of.Received = max(of.Announced, seg.Announced), max(of.Received, seg.Received)
			of.Sent, of.MTU = smaller(of.Sent, seg.Sent), smaller(of.MTU, seg.MTU)
		}
	}
	if most > 0 {
		lines = append(lines, fmt.Sprintf("the service announces an MSS of %d at most (TCP_MAXSEG): a client's full segment is no longer than %s", most, inIPIP(most)))
	}
	if n > 0 {
		line := fmt.Sprintf("of %d connections of %s the largest MSS announced is %d: a client's full segment is %s; the smallest path MTU to clients is %d, for own segments of %d",
			n, x.vip, of.Announced, inIPIP(of.Announced), of.MTU, of.Sent)
		if of.Received > 0 {
			line += fmt.Sprintf("; clients were seen to send as many as %d bytes in one", of.Received)
		}
		lines = append(lines, line)
	}
	return lines
}

// smaller is the smaller of two of which 0 is not known.
func smaller(a, b uint32) uint32 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// inIPIP says how long a segment is with all its headers.
func inIPIP(mss uint32) string {
	return fmt.Sprintf("%d bytes long in IPIP", mss+headers+overhead["ipip"])
}

// clamps are the rules that change the MSS in passing SYNs, and to what.
func clamps(s *host.Snapshot) (lines []string) {
	add := func(text string, mss uint32) {
		line := "a rule changes the MSS: " + text
		if mss > 0 {
			line += fmt.Sprintf(" (so that a full segment is %s)", inIPIP(mss))
		}
		lines = append(lines, line)
	}
	for _, t := range s.Nft {
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				if mss, ok := clampOfNft(rule.Exprs); ok && !t.IPTables {
					add(rule.Text, mss)
				}
			}
		}
	}
	for _, t := range s.IPTables {
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				if mss, ok := clampOfIPTables(rule.Args); ok {
					add(rule.Saved(c.Name), mss)
				}
			}
		}
	}
	return few(lines, "rules that change the MSS")
}

// clampOfNft is the MSS that a rule sets, 0 where that is the path's.
func clampOfNft(exprs []json.RawMessage) (mss uint32, ok bool) {
	for _, e := range exprs {
		if !bytes.Contains(e, []byte("maxseg")) {
			continue
		}
		var of struct {
			Mangle *struct{ Value json.RawMessage }
		}
		if json.Unmarshal(e, &of) == nil && of.Mangle != nil {
			_ = json.Unmarshal(of.Mangle.Value, &mss) // else it is an expression
			return mss, true
		}
	}
	return 0, false
}

// clampOfIPTables is the MSS that a rule sets (TCPMSS), 0 where that is the path's.
func clampOfIPTables(args []string) (mss uint32, ok bool) {
	if i := slices.Index(args, "--set-mss"); i >= 0 && i+1 < len(args) {
		n, _ := strconv.ParseUint(args[i+1], 10, 16)
		mss = uint32(n)
	}
	return mss, slices.Contains(args, "TCPMSS")
}
