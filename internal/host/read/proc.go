package read

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Settings that matter to a packet, below /proc/sys. Those of perDevice are below net/ipv4/conf/<device>.
var (
	// perDevice are their IPV4_DEVCONF_* (linux/ip.h).
	perDevice = map[string]int{
		"rp_filter": 8, "accept_local": 23, "route_localnet": 26, "forwarding": 1, "arp_ignore": 19, "arp_announce": 18, "arp_filter": 13,
		"src_valid_mark": 24, "accept_source_route": 9, "disable_policy": 16, "disable_xfrm": 15, "ignore_routes_with_linkdown": 29, "send_redirects": 6,
	}
	settings = []string{
		"net/ipv4/ip_forward", "net/ipv4/ip_default_ttl", "net/ipv4/ip_no_pmtu_disc", "net/ipv4/ip_nonlocal_bind",
		"net/ipv4/tcp_syncookies", "net/ipv4/tcp_max_syn_backlog", "net/ipv4/tcp_abort_on_overflow", "net/ipv4/tcp_l3mdev_accept",
		"net/ipv4/udp_l3mdev_accept", "net/ipv4/tcp_fwmark_accept", "net/ipv4/fwmark_reflect", "net/ipv4/tcp_mtu_probing", "net/ipv4/tcp_timestamps", "net/ipv4/tcp_rmem", "net/ipv4/udp_mem",
		"net/ipv4/udp_rmem_min", "net/ipv4/icmp_ratelimit", "net/ipv4/icmp_ratemask", "net/ipv4/ipfrag_high_thresh",
		"net/ipv4/ipfrag_low_thresh", "net/ipv4/ipfrag_time", "net/ipv4/ipfrag_max_dist",
		"net/core/somaxconn", "net/core/netdev_max_backlog", "net/core/rmem_max", "net/core/rmem_default",
		"net/core/fb_tunnels_only_for_init_net",
	}
	settingDirs = []string{"net/netfilter", "net/ipv4/vs", "net/bridge"}
)

// sysctls reads the namespace's settings: /proc/sys/net shows those of the thread that opens it. Devices are asked by netlink:
// five thousand of them have sixty-five thousand files.
func (r *reader) sysctls() error {
	devices, err := os.ReadDir(r.files.path("/proc/sys/net/ipv4/conf"))
	told, _ := r.kernel.settings() // without an answer there are still the files
	for _, d := range devices {
		values := told[d.Name()]
		for name, n := range perDevice {
			name = "net/ipv4/conf/" + d.Name() + "/" + name
			if n <= len(values) {
				r.s.Sysctls[name] = strconv.Itoa(int(values[n-1]))
			} else {
				r.sysctl(name)
			}
		}
	}
	for _, name := range settings {
		r.sysctl(name)
	}
	for _, dir := range settingDirs {
		entries, _ := os.ReadDir(r.files.path("/proc/sys", dir))
		for _, e := range entries {
			if e.Type().IsRegular() {
				r.sysctl(dir + "/" + e.Name())
			}
		}
	}
	return err
}

// ownSysctls reads settings of the whole machine that other namespaces than the first one do not show: from our own.
func (r *reader) ownSysctls() {
	r.sysctl("net/core/netdev_max_backlog")
	r.sysctl("net/core/fb_tunnels_only_for_init_net")
}

// sysctl takes a setting that is there; one that is not, or that only root may read, is left out.
func (r *reader) sysctl(name string) {
	if value, err := os.ReadFile(r.files.path("/proc/sys", name)); err == nil {
		r.s.Sysctls[name] = strings.TrimSpace(string(value))
	}
}

// A counterTable is a file of /proc/net with counters, and how it is read into a map by name.
type counterTable struct {
	file string
	add  func(to map[string]uint64, text string) error
	// maybe: not every kernel has it.
	maybe bool
}

var counterTables = []counterTable{
	{"snmp", addNamed, false},
	{"netstat", addNamed, false},
	{"xfrm_stat", addXfrm, true},
	{"softnet_stat", perCPU(false, "Softnet.Processed", "Softnet.Dropped", "Softnet.TimeSqueeze"), true},
	{"stat/rt_cache", perCPU(true, "", "", "", "", "", "", "RtCache.InMartianDst", "RtCache.InMartianSrc"), true},
}

func (r *reader) counters() error {
	r.s.Counters = map[string]uint64{}
	var errs []error
	for _, t := range counterTables {
		text, err := os.ReadFile(r.files.net(t.file))
		switch {
		case t.maybe && errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		default:
			if err := t.add(r.s.Counters, string(text)); err != nil {
				errs = append(errs, fmt.Errorf("/proc/net/%s: %w", t.file, err))
			}
		}
	}
	return errors.Join(errs...)
}

// addNamed reads a table of pairs of lines, names and values: "Ip: Forwarding DefaultTTL …".
func addNamed(to map[string]uint64, text string) error {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) != len(values) || len(names) == 0 || names[0] != values[0] {
			return fmt.Errorf("line %d is not understood", i+1)
		}
		group := strings.TrimSuffix(names[0], ":")
		for n := 1; n < len(names); n++ {
			if v, err := strconv.ParseUint(values[n], 10, 64); err == nil { // Tcp.MaxConn is -1
				to[group+"."+names[n]] = v
			}
		}
	}
	return nil
}

// addXfrm reads lines of "XfrmInError 0".
func addXfrm(to map[string]uint64, text string) error {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 {
			if v, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				to["Xfrm."+strings.TrimPrefix(f[0], "Xfrm")] = v
			}
		}
	}
	return nil
}

// perCPU sums the columns of a table of hexadecimal numbers that has a line for each CPU, behind a title if it has one.
func perCPU(titled bool, columns ...string) func(map[string]uint64, string) error {
	return func(to map[string]uint64, text string) error {
		if titled {
			_, text, _ = strings.Cut(text, "\n")
		}
		for line := range strings.Lines(text) {
			for i, f := range strings.Fields(line) {
				v, err := strconv.ParseUint(f, 16, 64)
				if err == nil && i < len(columns) && columns[i] != "" {
					to[columns[i]] += v
				}
			}
		}
		return nil
	}
}
