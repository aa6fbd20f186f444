package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	commands "ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	tapes "ipiptrace/internal/recording"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// labHost is the lab's real server (internal/lab), with a rule of nftables and one of iptables that drop.
func labHost(netns uint32) *host.Snapshot {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	rule := func(handle uint64, proto string) host.NftRule {
		match := func(protocol, field, right string) json.RawMessage {
			return fmt.Appendf(nil, `{"match":{"op":"==","left":{"payload":{"protocol":%q,"field":%q}},"right":%s}}`, protocol, field, right)
		}
		return host.NftRule{Handle: handle, Text: "ip daddr 10.99.0.1 " + proto + " dport 80 drop", Exprs: []json.RawMessage{
			match("ip", "daddr", `"10.99.0.1"`), match(proto, "dport", "80"), json.RawMessage(`{"drop":null}`),
		}}
	}
	return &host.Snapshot{
		Begun: time.Unix(1_800_000_000, 0).UTC(), Done: time.Unix(1_800_000_000, 0).UTC(), Netns: netns, Name: "rs", Path: "/run/netns/rs",
		Modules: []string{"ipip", "tunnel4"},
		Links: []host.Link{
			{Index: 1, Name: "lo", Type: "loopback", Up: true},
			{Index: 2, Name: "tunl0", Type: "ipip", Up: true, Tunnel: &host.Tunnel{Proto: 4, Fallback: true}},
			{Index: 3, Name: "eth0", Type: "veth", Up: true, MAC: "02:00:0a:00:00:0b"},
		},
		Addrs: []host.Addr{{Link: 3, Prefix: prefix("10.0.0.11/24")}, {Link: 2, Prefix: prefix("10.99.0.1/32")}},
		Routes: []host.Route{
			{Table: 255, Dst: prefix("10.0.0.11/32"), Type: "local", Hops: []host.Hop{{Link: 3}}},
			{Table: 255, Dst: prefix("10.99.0.1/32"), Type: "local", Hops: []host.Hop{{Link: 2}}},
			{Table: 254, Dst: prefix("10.0.0.0/24"), Type: "unicast", Hops: []host.Hop{{Link: 3}}},
		},
		Rules: []host.Rule{
			{Priority: 0, Action: "lookup", Table: 255, Suppress: -1}, {Priority: 32766, Action: "lookup", Table: 254, Suppress: -1},
		},
		Neighbours: []host.Neighbour{{Link: 3, Addr: addr("10.0.0.7"), State: "reachable", MAC: "02:00:0a:00:00:07"}},
		Sysctls: map[string]string{
			"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/tunl0/rp_filter": "0", "net/ipv4/conf/eth0/rp_filter": "0", "net/ipv4/ip_forward": "0",
		},
		Nft: []host.NftTable{{Family: "ip", Name: "lab", Handle: 1, Chains: []host.NftChain{
			{Name: "input", Handle: 1, Hook: "input", Type: "filter", Policy: "accept", Rules: []host.NftRule{rule(2, "tcp"), rule(3, "udp")}},
		}}},
		Sockets: []host.Socket{{
			Proto: "tcp", State: "listen", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), 80), SendQueue: 128, Owners: []host.Process{{PID: 7, Name: "nginx"}},
		}},
		Counters: map[string]uint64{},
	}
}

// labStates make the lab's real server what a scenario breaks; firewall-input is what it is.
var labStates = map[string]func(*host.Snapshot){
	"firewall-legacy": func(s *host.Snapshot) {
		rule := func(proto string) host.IPTablesRule {
			return host.IPTablesRule{Args: []string{"-d", "10.99.0.1/32", "-p", proto, "-m", proto, "--dport", "80", "-j", "DROP"}}
		}
		s.Nft = nil
		s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{
			{Name: "INPUT", Policy: "ACCEPT", Rules: []host.IPTablesRule{rule("tcp"), rule("udp")}},
		}}}
	},
	"rp-filter":       func(s *host.Snapshot) { s.Sysctls["net/ipv4/conf/tunl0/rp_filter"] = "1" },
	"vip-missing":     func(s *host.Snapshot) { s.Addrs, s.Routes = s.Addrs[:1], slices.Delete(s.Routes, 1, 2) },
	"no-return-route": func(s *host.Snapshot) { s.Routes = s.Routes[:2] },
	"weight-zero": func(s *host.Snapshot) {
		to := netip.MustParseAddrPort
		s.IPVS = &host.IPVS{}
		for _, proto := range []uint8{6, 17} {
			s.IPVS.Services = append(s.IPVS.Services, host.Service{Proto: proto, Addr: to("10.99.0.1:80"), Scheduler: "rr", Destinations: []host.Destination{
				{Addr: to("10.0.0.11:80"), Method: "tunnel", TunType: "ipip"},
			}})
		}
	},
}

// base is a recording that is to be damaged.
type base struct {
	name  string
	lines [][]byte
}

// bases are committed recordings that have no state of the machine, each with one as the lab's would be.
func bases(t *testing.T, pattern string) (all []base) {
	t.Helper()
	paths, err := filepath.Glob("../../testdata/" + pattern)
	check(t, err)
	for _, path := range paths {
		name := strings.TrimPrefix(path, "../../testdata/")
		data, err := os.ReadFile(path)
		check(t, err)
		in, err := event.NewReader(bytes.NewReader(data))
		check(t, err)
		last, namespaces := time.Duration(0), map[uint32]bool{}
		for e, err := range in.Events() {
			check(t, err)
			last = max(last, e.Time)
			namespaces[e.Netns] = true
		}
		var out bytes.Buffer
		w, err := event.NewWriter(&out, in.Run())
		check(t, err)
		out.Reset()
		for _, netns := range slices.Sorted(maps.Keys(namespaces)) {
			s := labHost(netns)
			if change := labStates[filepath.Base(filepath.Dir(path))]; change != nil {
				change(s)
			}
			state, err := json.Marshal(s)
			check(t, err)
			check(t, w.Write(event.Event{Kind: event.State, Time: last + time.Second, Netns: netns, Host: state}))
		}
		all = append(all, base{name, linesOf(append(data, out.Bytes()...))})
	}
	return all
}

func linesOf(data []byte) [][]byte {
	return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
}

// states are committed recordings of a kernel, with the state as it was read: all, or those of some scenarios.
func states(t *testing.T, kernel string, scenarios ...string) (all []base) {
	t.Helper()
	recordings, err := tapes.All("../../testdata")
	check(t, err)
	for _, r := range recordings {
		if r.Kernel == kernel && (len(scenarios) == 0 || slices.Contains(scenarios, r.Scenario)) {
			data, err := r.Bytes()
			check(t, err)
			all = append(all, base{r.Scenario + "/" + r.Kernel, linesOf(data)})
		}
	}
	return all
}

// replayed is what replay says of a recording; account is what is on stderr.
func replayed(data []byte, format string) (stdout, stderr string) {
	var out, rest bytes.Buffer
	screens := streams{screen.NewWriter(&out, false), screen.NewWriter(&rest, false)}
	r := &replayCommand{streams: screens, stdin: bytes.NewReader(data)}
	r.role, r.only, r.format, r.stack = oneOf("auto"), oneOf("all"), oneOf(format), true
	r.patience = patience{span(journey.DefaultPatience)}
	err := r.run(context.Background(), []string{"-"})
	complain(screens.err, err)
	for _, s := range []io.Writer{screens.out, screens.err} {
		s.(*screen.Writer).Close()
	}
	return out.String(), rest.String()
}

// inspect reports what no output may hold, whatever the recording.
func inspect(data []byte) error {
	for _, format := range []string{"text", "json"} {
		stdout, stderr := replayed(data, format)
		for _, text := range []string{stdout, stderr} {
			for i, r := range text {
				if r != '\n' && screen.IsObeyed(r) || r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd") {
					return fmt.Errorf("%s has a raw character: %+q", format, text[max(0, i-40):min(len(text), i+40)])
				}
			}
		}
		if strings.Count(stderr, "journeys ") == 0 && !strings.Contains(stderr, "give a file that ipiptrace record wrote\n") {
			return fmt.Errorf("%s: neither an account nor a refusal: %q", format, stderr)
		}
		if format == "text" {
			continue
		}
		for line := range strings.Lines(stdout) {
			var j struct{ Cause struct{ Fix []string } }
			if err := json.Unmarshal([]byte(line), &j); err != nil {
				return fmt.Errorf("%w: %q", err, line)
			}
			for _, fix := range j.Cause.Fix {
				if err := harmlessCommand(fix); err != nil {
					return fmt.Errorf("%w: %q", err, fix)
				}
			}
		}
	}
	return nil
}

// hostile are texts that must come out quoted, escaped, or not at all.
var hostile = []string{
	";touch x", "$(touch x)", "a`touch x`b", "'\"\\", "a b", "\x1b[31m", "\u202e\u2066", "-x", "a=1", "all", "a\nb touch", "", "\x00", "\xff\xfe",
	"a; touch x #\u200b" + strings.Repeat("long ", 40),
}

// hookOfChain is the one word of nft that holds several: where a chain that a repair adds is called.
var hookOfChain = regexp.MustCompile(`^\{ type filter hook [a-z]+ priority [a-z]+; \}$`)

// harmlessCommand is an error if a shell, or nft, which joins its words, would find more in a line than the commands with
// the words that were meant.
func harmlessCommand(line string) error {
	read, ok := commands.Read(line)
	if !ok {
		return errors.New("a shell would read more than a command")
	}
	for _, words := range read {
		if err := harmlessWords(words); err != nil {
			return err
		}
	}
	return nil
}

func harmlessWords(words []string) error {
	for _, word := range words {
		switch {
		case word == "touch":
			return errors.New("an unintended word")
		case words[0] == "nft" && hookOfChain.MatchString(word):
		case words[0] == "nft" && word != "{" && word != "}" && strings.ContainsAny(word, " ;{}#$`'\"\n"):
			return errors.New("nft would read more than a word")
		}
	}
	return nil
}

// TestCommandsComeOfTheLabsStates keeps the two tests below honest: the recordings lead to commands.
func TestCommandsComeOfTheLabsStates(t *testing.T) {
	for scenario := range labStates {
		b := bases(t, scenario+"/6.1.jsonl")[0]
		stdout, stderr := replayed(bytes.Join(b.lines, []byte("\n")), "json")
		if !strings.Contains(stdout, `"certainty":"observed"`) || !strings.Contains(stdout, `"fix":["`) || strings.Contains(stderr, "ipiptrace:") {
			t.Errorf("%s: %s%s", b.name, stdout, stderr)
		}
	}
}

// long has the two tests below damage more: make fuzz does.
var long = flag.Bool("long", false, "damage recordings ten thousand times instead of a few hundred")

// longest is how long the replay of a small recording, as text and as JSON, may take.
const longest = time.Second

// inspectAll inspects n recordings on every CPU.
func inspectAll(t *testing.T, n int, make func(i int) (what string, data []byte)) {
	t.Helper()
	var before, memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before) // the recordings themselves
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !t.Failed(); i = int(next.Add(1)) - 1 {
				what, data := make(i)
				took := longest + 1
				for tries := 0; took > longest && tries < 3; tries++ { // a busy machine is no hang
					began := time.Now()
					if err := inspect(data); err != nil {
						t.Errorf("%s: %v", what, err)
					}
					took = time.Since(began)
				}
				if took > longest {
					t.Errorf("%s took %s, again and again", what, took)
				}
			}
		})
	}
	workers.Wait()
	runtime.ReadMemStats(&memory)
	if needed := memory.Sys - before.HeapAlloc; needed > 200<<20 {
		t.Errorf("%d MiB of memory were needed", needed>>20)
	}
}

// TestNoDamageToARecordingDoesHarm replays recordings that were damaged at random, the same ones each time.
func TestNoDamageToARecordingDoesHarm(t *testing.T) {
	all := slices.Concat(bases(t, "[frvw]*/6.1.jsonl"), bases(t, "rp-filter/*.jsonl"), states(t, "6.1", "rp-filter", "firewall-input"))
	n := 300
	if *long {
		n = 10_000
	}
	inspectAll(t, n, func(i int) (string, []byte) {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		b := all[r.IntN(len(all))]
		lines := slices.Clone(b.lines)
		for range 1 + r.IntN(4) {
			damages[r.IntN(len(damages))](r, &lines, all)
		}
		return fmt.Sprintf("damage %d to %s", i, b.name), append(bytes.Join(lines, []byte("\n")), '\n')
	})
}

var number = regexp.MustCompile(`-?[0-9]+`)

// extremes are numbers at which something overflows.
var extremes = []string{
	"0", "-1", "1", "255", "256", "65535", "65536", "4294967295", "4294967296", "4611686018427387903", "4611686018427387904",
	"9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e308", "0.5", "null", "[]", "{}", `""`,
}

// damages are what can become of lines.
var damages = []func(r *rand.Rand, lines *[][]byte, all []base){
	func(r *rand.Rand, lines *[][]byte, _ []base) { // bytes
		line := slices.Clone(pick(r, *lines))
		for range 1 + r.IntN(4) {
			line[r.IntN(len(line))] = byte(r.IntN(256))
		}
		(*lines)[r.IntN(len(*lines))] = line
	},
	func(r *rand.Rand, lines *[][]byte, _ []base) { // a number
		change(r, lines, number, func() string { return pick(r, extremes) })
	},
	func(r *rand.Rand, lines *[][]byte, _ []base) { // a time, which is the first number of a line
		i := r.IntN(len(*lines))
		if at := number.FindIndex((*lines)[i]); at != nil {
			(*lines)[i] = slices.Concat((*lines)[i][:at[0]], []byte(pick(r, extremes)), (*lines)[i][at[1]:])
		}
	},
	func(r *rand.Rand, lines *[][]byte, _ []base) { // a text
		change(r, lines, text, func() string { return quoted(pick(r, hostile)) })
	},
	func(r *rand.Rand, lines *[][]byte, _ []base) { // a line is missing
		if i := r.IntN(len(*lines)); len(*lines) > 1 {
			*lines = slices.Delete(*lines, i, i+1)
		}
	},
	func(r *rand.Rand, lines *[][]byte, all []base) { // a line of another recording
		*lines = slices.Insert(*lines, r.IntN(len(*lines)+1), pick(r, pick(r, all).lines))
	},
	func(r *rand.Rand, lines *[][]byte, _ []base) { // some lines again and again
		i := r.IntN(len(*lines))
		some := slices.Clone((*lines)[i:min(len(*lines), i+1+r.IntN(4))])
		for range r.IntN(40) {
			*lines = slices.Insert(*lines, i, some...)
		}
	},
	func(r *rand.Rand, lines *[][]byte, _ []base) { // another order
		from := r.IntN(len(*lines))
		some := (*lines)[from:min(len(*lines), from+1+r.IntN(12))]
		r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	},
	func(r *rand.Rand, lines *[][]byte, _ []base) { // cut off
		i := r.IntN(len(*lines))
		line := (*lines)[i]
		*lines = append((*lines)[:i:i], line[:r.IntN(len(line)+1)])
	},
}

// TestNoTextOfARecordingDoesHarm replaces the texts of every recording by hostile ones: each one in turn, and then
// wherever it is said, so that what is said of a packet and of the machine fits together still.
func TestNoTextOfARecordingDoesHarm(t *testing.T) {
	type replaced struct {
		base
		line, from, to int // everywhere, if to is 0
		text           []byte
	}
	var all []replaced
	for _, b := range append(bases(t, "*/*.jsonl"), states(t, "6.1")...) {
		said := map[string]bool{}
		for i, line := range b.lines {
			for _, at := range text.FindAllIndex(line, -1) {
				word := line[at[0]:at[1]]
				isKey := at[1] < len(line) && line[at[1]] == ':'
				if isKey && !bytes.Contains(word, []byte("/")) {
					continue // not a setting's
				}
				if place := string(line[max(0, at[0]-6):at[1]]); !said[place] {
					said[place] = true
					all = append(all, replaced{b, i, at[0], at[1], word})
				}
				if w := string(word); !said[w] && len(w) > 2 {
					said[w] = true
					all = append(all, replaced{b, i, 0, 0, word})
				}
			}
		}
	}
	most := 300
	if *long {
		most = 10_000
	}
	rand.New(rand.NewPCG(1, 8)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	inspectAll(t, min(len(all), most), func(i int) (string, []byte) {
		c, by := all[i], quoted(hostile[i%len(hostile)])
		data := append(bytes.Join(c.lines, []byte("\n")), '\n')
		if c.to == 0 {
			data = bytes.ReplaceAll(data, c.text, []byte(by))
			bare, hurt := bytes.Trim(c.text, `"`), []byte(strings.Trim(by, `"`))
			data = bytes.ReplaceAll(data, slices.Concat([]byte("/"), bare, []byte("/")), slices.Concat([]byte("/"), hurt, []byte("/")))
		} else {
			lines := slices.Clone(c.lines)
			lines[c.line] = slices.Concat(lines[c.line][:c.from], []byte(by), lines[c.line][c.to:])
			data = append(bytes.Join(lines, []byte("\n")), '\n')
		}
		return fmt.Sprintf("%s, %s for %s in line %d", c.name, by, c.text, c.line+1), data
	})
}

func pick[T any](r *rand.Rand, some []T) T { return some[r.IntN(len(some))] }

// text is a string of JSON.
var text = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string
	return string(b)
}

// change replaces one of the parts of a line that an expression finds.
func change(r *rand.Rand, lines *[][]byte, what *regexp.Regexp, with func() string) {
	i := r.IntN(len(*lines))
	if found := what.FindAllIndex((*lines)[i], -1); len(found) > 0 {
		at := pick(r, found)
		(*lines)[i] = slices.Concat((*lines)[i][:at[0]], []byte(with()), (*lines)[i][at[1]:])
	}
}
