package read

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/host"
)

// maxConnections bounds what is kept of IPVS's connections, maxTracked what is kept of the table of tracked ones.
const (
	maxConnections = 1000
	maxTracked     = 4096
)

// conntrack reads the table's size, its counters and what is in it of the VIPs.
func (r *reader) conntrack() error {
	c := &host.Conntrack{}
	for _, f := range []struct {
		name string
		to   *uint64
	}{{"nf_conntrack_count", &c.Count}, {"nf_conntrack_max", &c.Max}} {
		text, err := os.ReadFile(r.files.path("/proc/sys/net/netfilter", f.name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is not there, or not in use here
		}
		if err != nil {
			return err
		}
		if *f.to, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err != nil {
			return err
		}
	}
	r.s.Conntrack = c
	text, err := os.ReadFile(r.files.net("stat/nf_conntrack"))
	if err == nil { // else a kernel without CONFIG_NF_CONNTRACK_PROCFS
		countConntrack(c, string(text))
	}
	return r.connections(c)
}

// countConntrack sums the columns of /proc/net/stat/nf_conntrack that matter.
func countConntrack(c *host.Conntrack, text string) {
	var titles []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if titles == nil {
			titles = fields
			continue
		}
		for i, f := range fields {
			v, err := strconv.ParseUint(f, 16, 64)
			if err != nil || i >= len(titles) {
				continue
			}
			switch titles[i] {
			case "drop":
				c.Drop += v
			case "early_drop":
				c.EarlyDrop += v
			case "insert_failed":
				c.InsertFailed += v
			case "invalid":
				c.Invalid += v
			}
		}
	}
}

// methods are the words of /proc/net/ip_vs (ip_vs_fwd_name) as ipvsadm has them.
var methods = map[string]string{"Masq": "masq", "Local": "local", "Tunnel": "tunnel", "Route": "route", "Bypass": "bypass"}

var protocols = map[string]uint8{"TCP": 6, "UDP": 17, "SCTP": 132}

// ipvs reads /proc/net/ip_vs and the connections to the VIPs.
func (r *reader) ipvs() error {
	text, err := os.ReadFile(r.files.net("ip_vs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	v := &host.IPVS{}
	if v.Services, err = services(string(text)); err != nil {
		return err
	}
	r.s.IPVS = v
	if err := r.kernel.services(v); err != nil {
		return err
	}
	return r.ipvsConnections()
}

// services reads
//
//	TCP  0A630001:0050 rr
//	  -> 0A00000B:0050      Tunnel  1      0          0
func services(text string) (all []host.Service, err error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 6 && f[0] == "->" && f[1] != "RemoteAddress:Port":
			if len(all) == 0 || strings.HasPrefix(f[1], "[") {
				continue
			}
			d, err := destinationOf(f)
			if err != nil {
				return all, err
			}
			s := &all[len(all)-1]
			s.Destinations = append(s.Destinations, d)
		case len(f) >= 3 && f[0] == "FWM":
			mark, err := strconv.ParseUint(f[1], 16, 32)
			if err != nil {
				return all, err
			}
			all = append(all, host.Service{Mark: uint32(mark), Scheduler: f[2]})
		case len(f) >= 3 && protocols[f[0]] != 0:
			a, err := bigEndian(f[1])
			if err != nil {
				return all, err
			}
			s := host.Service{Proto: protocols[f[0]], Addr: a, Scheduler: f[2]}
			if i := slices.Index(f, "persistent"); i > 0 && i+1 < len(f) {
				ms, _ := strconv.ParseUint(f[i+1], 10, 32)
				s.Timeout = uint32(ms / 1000)
			}
			all = append(all, s)
		}
	}
	return all, nil
}

func destinationOf(f []string) (d host.Destination, err error) {
	if d.Addr, err = bigEndian(f[1]); err != nil {
		return d, err
	}
	d.Method = methods[f[2]]
	weight, err1 := strconv.ParseInt(f[3], 10, 32)
	active, err2 := strconv.ParseUint(f[4], 10, 32)
	inactive, err3 := strconv.ParseUint(f[5], 10, 32)
	d.Weight, d.Active, d.Inactive = int32(weight), uint32(active), uint32(inactive)
	return d, errors.Join(err1, err2, err3)
}

// bigEndian reads "0A630001:0050"; an IPv6 address is none of ours.
func bigEndian(text string) (netip.AddrPort, error) {
	digits, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(digits)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if strings.HasPrefix(text, "[") {
		return netip.AddrPort{}, nil
	}
	if !ok || err != nil || err2 != nil || len(b) != 4 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(p)), nil
}

// ipvsConnections reads "TCP 0A000007 9C40 0A630001 0050 0A00000B 0050 ESTABLISHED 899". First come what explains a loss:
// the templates of persistence, which are from port 0 (ip_vs_sched_persist), and connections whose real server is in no
// service. Of each kind there may be as many as of all.
func (r *reader) ipvsConnections() error {
	file, err := os.Open(r.files.net("ip_vs_conn"))
	if err != nil {
		return err
	}
	defer file.Close()
	v := r.s.IPVS
	var templates, others []host.IPVSConn
	lines := bufio.NewScanner(file)
	for lines.Scan() && r.ctx.Err() == nil {
		c, ok := ipvsConnection(lines.Text())
		if !ok || !slices.Contains(r.options.VIPs, c.Virtual.Addr()) {
			continue
		}
		to := &v.Conns
		own := func(s host.Service) bool {
			return s.Proto == protocols[strings.ToUpper(c.Proto)] && s.Addr == c.Virtual && s.Has(c.Dest)
		}
		switch {
		case c.Client.Port() == 0:
			to = &templates
		case slices.ContainsFunc(v.Services, own):
			to = &others
		}
		if len(*to) < maxConnections {
			*to = append(*to, c)
		} else {
			v.MoreConns++
		}
	}
	room := min(maxConnections-len(v.Conns), len(others))
	v.Conns, v.MoreConns = slices.Concat(templates, v.Conns, others[:room]), v.MoreConns+len(others)-room
	return errors.Join(lines.Err(), r.ctx.Err())
}

func ipvsConnection(line string) (c host.IPVSConn, ok bool) {
	f := strings.Fields(line)
	if len(f) < 9 || protocols[f[0]] == 0 {
		return c, false
	}
	client, err1 := bigEndian(f[1] + ":" + f[2])
	virtual, err2 := bigEndian(f[3] + ":" + f[4])
	dest, err3 := bigEndian(f[5] + ":" + f[6])
	expires, _ := strconv.ParseUint(f[8], 10, 32)
	c = host.IPVSConn{Proto: strings.ToLower(f[0]), Client: client, Virtual: virtual, Dest: dest, State: f[7], Expires: uint32(expires)}
	return c, errors.Join(err1, err2, err3) == nil
}
