package command

import (
	"encoding"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// hostile are words that would do something else if they were taken as they stand.
var hostile = []string{
	"", " ", "a b", ";touch /tmp/x", "$(touch /tmp/x)", "`touch /tmp/x`", "a|b", "a&b", ">x", "a\nb", "a\tb", "'", "a'b", `"`, `\`, "#a", "~", "=ls", "*", "?",
	"!x", "{ drop }", "}", "-x", "--modprobe=/tmp/x", "a=1", "all", "default", "dev", "up", "a", "%", "%d", "a%b", "eth*", "eth0@if2", ".", "..", "a/b", "../x",
	"drop", "tcp", "\x1b[31m", "\x00", "\u202ea", "a\u200b", "\ufeffa", "\xff", "…", strings.Repeat("a", 5000),
}

func TestEachWordHasItsGrammar(t *testing.T) {
	address := netip.MustParseAddr
	for what, test := range map[string]struct {
		part Part
		want string
	}{
		"words":                       {Say("addr add"), "addr add"},
		"one that is known":           {OneOf("it", "in", "in", "out"), "in"},
		"one that is not":             {OneOf("it", "up", "in", "out"), "…"},
		"a number":                    {Number(80), "80"},
		"a large number":              {Number(^uint64(0)), "18446744073709551615"},
		"a number below 0":            {Number(-1), "…"},
		"a mark":                      {Mark(1, 255), "0x1/0xff"},
		"an address":                  {Address(address("10.0.0.1")), "10.0.0.1"},
		"no address":                  {Address(netip.Addr{}), "…"},
		"an address of IPv6":          {Address(address("fe80::1")), "…"},
		"an address with a zone":      {Address(address("fe80::1%;a")), "…"},
		"an address in another":       {Address(address("::ffff:10.0.0.1")), "…"},
		"an endpoint":                 {Endpoint(netip.MustParseAddrPort("10.0.0.1:80")), "10.0.0.1:80"},
		"an endpoint with a zone":     {Endpoint(netip.AddrPortFrom(address("fe80::1%a b"), 80)), "…"},
		"a network":                   {Prefix(netip.MustParsePrefix("10.0.0.0/8")), "10.0.0.0/8"},
		"no network":                  {Prefix(netip.PrefixFrom(address("10.0.0.1"), 33)), "…"},
		"a network of IPv6":           {Prefix(netip.MustParsePrefix("::/0")), "…"},
		"a device":                    {Device("br-lan_1.100"), "br-lan_1.100"},
		"loopback":                    {Device("lo"), "lo"},
		"a device of 15 letters":      {Device("abcdefghijklmno"), "abcdefghijklmno"},
		"a device of 16 letters":      {Device("abcdefghijklmnop"), "…"},
		"a device like an option":     {Device("-x"), "…"},
		"a device that is a word":     {Device("all"), "…"},
		"a device like a short word":  {Device("addr"), "…"},
		"a device like a letter":      {Device("d"), "…"},
		"a device like a field":       {Device("dsf"), "…"},
		"a device like a namespace":   {Device("link-netns"), "…"},
		"a device that assigns":       {Device("a=1"), "…"},
		"a device with a number":      {Device("veth%d"), "…"},
		"a device and its peer":       {Device("eth0@if2"), "…"},
		"a device not in ASCII":       {Device("bür0"), "…"},
		"a device's setting":          {DeviceSetting("eth0.100"), "eth0/100"},
		"the setting of all":          {DeviceSetting("all"), "…"},
		"a path":                      {Path("/sys", "/a b/c.slice"), "'/sys/a b/c.slice'"},
		"a path up":                   {Path("/sys", "/../a"), "…"},
		"a path from here":            {Path("/sys", "a"), "…"},
		"a path with a new line":      {Path("/sys", "/a\nb"), "…"},
		"a chain":                     {Identifier("chain", "in_1-a.b/c"), "in_1-a.b/c"},
		"a chain of two words":        {Identifier("chain", "a b"), "…"},
		"a chain like an option":      {Identifier("chain", "-a"), "…"},
		"a chain like a number":       {Identifier("chain", "1a"), "…"},
		"a chain and a command":       {Identifier("chain", "a;flush"), "…"},
		"a chain that is a word":      {Identifier("chain", "drop"), "…"},
		"a chain with a new line":     {Identifier("chain", "a\n"), "…"},
		"an element":                  {Element("10.0.0.0/8 . 80-90 . tcp . eth0 . 0x10"), "'10.0.0.0/8 . 80-90 . tcp . eth0 . 0x10'"},
		"every other element":         {Element("*"), "'*'"},
		"an element and its end":      {Element("80 } ; flush"), "…"},
		"an element in quotes":        {Element(`"eth0"`), "…"},
		"no element":                  {Element(""), "…"},
		"a filter":                    {FilterHandle("flower", "0x1"), "handle 0x1 flower"},
		"a filter of u32":             {FilterHandle("u32", "0x80000800"), "handle 800::800 u32"},
		"a filter of u32, in buckets": {FilterHandle("u32", "0x8010a801"), "handle 801:a:801 u32"},
		"a filter of another kind":    {FilterHandle("all", "0x1"), "…"},
		"a filter without a handle":   {FilterHandle("u32", "800::800"), "…"},
		"a class":                     {Class("1:a0"), "1:a0"},
		"a queue":                     {Class("ffff:"), "ffff:"},
		"no class":                    {Class("root"), "…"},
		"a chain of iptables":         {IPTablesChain("KUBE-SVC:1"), "KUBE-SVC:1"},
		"another word of iptables":    {IPTablesChain("!a"), "…"},
		"a rule":                      {IPTablesRule([]string{"!", "-s", "10.0.0.0/8", "-m", "set", "--match-set", "a b", "src", "-j", "DROP"}), "'!' -s 10.0.0.0/8 -m set --match-set 'a b' src -j DROP"},
		"a rule with a comment":       {IPTablesRule([]string{"--comment", "it's; $(a) für"}), `--comment 'it'\''s; $(a) für'`},
		"a rule for recent ones":      {IPTablesRule([]string{"-m", "recent", "--set", "--name", "a"}), "-m recent --set --name a"},
		"a rule that loads":           {IPTablesRule([]string{"--modprobe=/tmp/x"}), "…"},
		"a rule that loads, in short": {IPTablesRule([]string{"--mo", "/tmp/x"}), "…"},
		"a rule that loads, shorter":  {IPTablesRule([]string{"-M", "/tmp/x"}), "…"},
		"a rule that loads, hidden":   {IPTablesRule([]string{"-fM/tmp/x"}), "…"},
		"a rule of another table":     {IPTablesRule([]string{"--table", "nat"}), "…"},
		"a rule that ends":            {IPTablesRule([]string{"--", "a"}), "…"},
		"an extension from elsewhere": {IPTablesRule([]string{"-m", "../../tmp/x"}), "…"},
		"a protocol":                  {IPTablesRule([]string{"!", "-p", "ipv6-icmp"}), "'!' -p ipv6-icmp"},
		"a protocol by its number":    {IPTablesRule([]string{"-p", "47"}), "-p 47"},
		"no protocol":                 {IPTablesRule([]string{"-p", "tcp;id"}), "…"},
		"a match that opens a file":   {IPTablesRule([]string{"-m", "bpf", "--object-pinned", "/tmp/x"}), "…"},
		"an extension, in long":       {IPTablesRule([]string{"--match", "../../tmp/x"}), "…"},
		"a target, in between":        {IPTablesRule([]string{"--jum", "../../tmp/x"}), "…"},
		"a rule for IPsec":            {IPTablesRule([]string{"-m", "policy", "--dir", "in", "--pol", "ipsec", "--proto", "esp"}), "-m policy --dir in --pol ipsec --proto esp"},
		"one that does, in short":     {IPTablesRule([]string{"-m", "bpf", "--obj", "/tmp/x"}), "…"},
		"a host by its name":          {IPTablesRule([]string{"-s", "host.example"}), "…"},
		"nothing":                     {Part{}, "…"},
		"some, and nothing":           {Say("a").And(Part{}, Say("b")), "…"},
		"some, and more":              {Say("a").And(Say("b"), Say("c d")), "a b c d"},
	} {
		if got := test.part.String(); got != test.want {
			t.Errorf("%s: %s, want %s", what, got, test.want)
		}
		if test.want == "…" && test.part.why() == "" {
			t.Errorf("%s: nothing says why", what)
		}
	}
}

func TestCommandsThatBelongTogetherAreSaidTogether(t *testing.T) {
	fix := Of("ip link set % up", Device("tunl0")).Then("ip addr add %/% dev %", Address(netip.MustParseAddr("10.0.0.1")), Number(32), Device("tunl0"))
	if got := texts(fix); !slices.Equal(got, []string{"ip link set tunl0 up", "ip addr add 10.0.0.1/32 dev tunl0"}) || fix.Refused() != "" {
		t.Errorf("%q, %q", got, fix.Refused())
	}
	for what, half := range map[string]Fix{
		"the last one":     fix.Then("ip link set % up", Device("a=1")),
		"the first one":    Of("ip link set % up", Device("a=1")).And(fix),
		"one in the midst": fix.Then("ip link set % up", Device("a=1")).And(fix),
	} {
		if len(half.Commands()) > 0 || half.Refused() == "" {
			t.Errorf("%s cannot be said: %q, %q", what, texts(half), half.Refused())
		}
	}
	if (Fix{}).Refused() != "" || len((Fix{}).Commands()) > 0 {
		t.Error("no repair at all is in the way of something")
	}
}

func TestWhatDoesNotFitIsNotSaid(t *testing.T) {
	for what, fix := range map[string]Fix{
		"a part too few":           Of("ip link set % up"),
		"a part too many":          Of("ip link show", Say("a")),
		"several words in a word":  Of("sysctl -w a.%=1", Say("b c")),
		"an open quote":            Of("ip link 'show"),
		"another command":          Of("ip link; ip addr"),
		"a variable":               Of("ip link $a"),
		"too long a line":          Of("bpftool cgroup show %", Path("/sys", "/"+strings.Repeat("a", 4090))),
		"a comment for nft":        Of("nft add table ip '#a'"),
		"a quote for nft":          Of(`nft add table ip '"a"'`),
		"nothing for nft":          Of("nft add table ip ''"),
		"what cannot be printed":   Of("% a", said("a\u202eb")),
		"what is no UTF-8":         Of("% a", said("a\xffb")),
		"what nobody sees":         Of("% a", said("a\ufe0fb")),
		"a path that nobody sees":  Of("bpftool cgroup show %", Path("/sys", "/a\u3164")),
		"no words":                 Of(""),
		"what a name makes of nft": Of("nft add table ip %", said("a b;c")).And(Of("nft add table ip %", said("a\\b"))),
	} {
		if len(fix.Commands()) > 0 || fix.Refused() == "" {
			t.Errorf("%s: %q", what, texts(fix))
		}
	}
}

// TestAShellReadsWhatWasMeant asks this machine's shell.
func TestAShellReadsWhatWasMeant(t *testing.T) {
	var words []string
	for _, w := range hostile {
		if !strings.Contains(w, "\x00") {
			words = append(words, w)
		}
	}
	cmd := exec.Command("/bin/sh", "-c", `printf '%s\001' `+Quote(words))
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	if got := strings.Split(strings.TrimSuffix(string(out), "\x01"), "\x01"); err != nil || !slices.Equal(got, words) {
		t.Errorf("%v: %q\nwant %q", err, got, words)
	}
	if got, ok := Split(Quote(words)); !ok || !slices.Equal(got, words) {
		t.Errorf("%q\nwant %q", got, words)
	}
}

func TestALineWithMoreThanWordsIsNotSplit(t *testing.T) {
	for _, line := range []string{"a;b", "a&b", "a|b", "a>b", "a<b", "(a)", "$a", "`a`", `"a"`, `\a`, "a\nb", "a*", "a?", "[a]", "{a,b}", "~", "#a", "!a", "=a", "a 'b", "'a'\\", "", " "} {
		if words, ok := Split(line); ok {
			t.Errorf("%q is %q", line, words)
		}
	}
}

// TestNoStringBecomesACommand: what is not made here is not made at all.
func TestNoStringBecomesACommand(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[Command](), reflect.TypeFor[Fix](), reflect.TypeFor[Part]()} {
		if typ.Kind() != reflect.Struct || typ.NumField() == 0 {
			t.Errorf("%s is no struct: a conversion would make one", typ)
		}
		for i := range typ.NumField() {
			if typ.Field(i).IsExported() {
				t.Errorf("%s.%s can be written by anybody", typ, typ.Field(i).Name)
			}
		}
		for _, reads := range []reflect.Type{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()} {
			if reflect.PointerTo(typ).Implements(reads) {
				t.Errorf("%s can be read from text", typ)
			}
		}
	}
	for _, function := range []any{Of, Say, Fix.Then} {
		typ := reflect.TypeOf(function)
		if template := typ.In(typ.NumIn() - 1); typ.IsVariadic() && typ.In(typ.NumIn()-2).Name() != "constant" || !typ.IsVariadic() && template.Name() != "constant" {
			t.Errorf("%s takes any string", typ)
		}
	}
}

func TestACommandIsAStringInJSON(t *testing.T) {
	out, err := json.Marshal(Of("sysctl -w net.ipv4.conf.%.rp_filter=2", DeviceSetting("eth0.1")).Commands())
	if want := `["sysctl -w net.ipv4.conf.eth0/1.rp_filter=2"]`; err != nil || string(out) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
}

// TestWhatWasRecordedCanBeSaid: the commands that were run in guests, where they repaired the path.
func TestWhatWasRecordedCanBeSaid(t *testing.T) {
	goldens, err := filepath.Glob("../../testdata/*/verdict.golden")
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, name := range goldens {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line, ok := strings.CutPrefix(strings.TrimSpace(line), "fix ")
			if !ok {
				continue
			}
			said++
			read, ok := Read(line)
			if !ok {
				t.Fatalf("%s: %q cannot be read", name, line)
			}
			if len(read) > 1 { // a guarded one, whose last command is what is done
				continue
			}
			words := read[0]
			if Quote(words) != line || misread(words) != "" {
				t.Errorf("%s: %q is %q: %s", name, line, words, misread(words))
			}
			for _, p := range named(words) {
				if !p.ok {
					t.Errorf("%s: %s: %s", name, line, p.why())
				}
			}
		}
	}
	if said < 100 {
		t.Errorf("%d commands were recorded", said)
	}
}

// named are the names in a command.
func named(words []string) (parts []Part) {
	switch {
	case words[0] == "nft" && (words[2] == "rule" || words[2] == "chain"):
		parts = append(parts, Identifier("table", words[4]), Identifier("chain", words[5]))
	case strings.HasPrefix(words[0], "iptables-"):
		parts = append(parts, IPTablesChain(words[4]), IPTablesRule(words[5:]))
	}
	for i, w := range words[1:] {
		if words[i] == "dev" || i == 2 && words[1] == "link" && w != "dev" {
			parts = append(parts, Device(w))
		}
	}
	return parts
}

func texts(f Fix) (all []string) {
	for _, c := range f.Commands() {
		all = append(all, c.String())
	}
	return all
}

// meant are templates with one name in them, and the words that are meant, of which one holds the name.
var meant = []struct {
	of    func(name string) Fix
	words string
}{
	{func(s string) Fix { return Of("ip link set % up", Device(s)) }, "ip link set % up"},
	{func(s string) Fix { return Of("ip link set dev % xdp off", Device(s)) }, "ip link set dev % xdp off"},
	{func(s string) Fix { return Of("tc filter del dev % ingress pref 1", Device(s)) }, "tc filter del dev % ingress pref 1"},
	{func(s string) Fix { return Of("ip rule del pref 1 %", Say("iif").And(Device(s))) }, "ip rule del pref 1 iif %"},
	{func(s string) Fix { return Of("bpftool cgroup detach % a id 1", Path("", s)) }, "bpftool cgroup detach % a id 1"},
	{func(s string) Fix { return Of("nft delete rule ip % c handle 1", Identifier("table", s)) }, "nft delete rule ip % c handle 1"},
	{func(s string) Fix { return Of("nft delete rule ip t % handle 1", Identifier("chain", s)) }, "nft delete rule ip t % handle 1"},
	{func(s string) Fix { return Of("nft delete element ip t s '{ % }'", Element(s)) }, "nft delete element ip t s {_%_}"},
	{func(s string) Fix { return Of("iptables-nft -t filter -D % -j DROP", IPTablesChain(s)) }, "iptables-nft -t filter -D % -j DROP"},
	{func(s string) Fix { return Of("iptables-nft -t filter -D c %", IPTablesRule([]string{"-m", s})) }, "iptables-nft -t filter -D c -m %"},
	{func(s string) Fix { return Of("iptables-nft -t filter -D c %", IPTablesRule([]string{"--comment", s})) }, "iptables-nft -t filter -D c --comment %"},
	{func(s string) Fix { return Of("ip xfrm policy delete dir % index 1", OneOf("it", s, "in", "out")) }, "ip xfrm policy delete dir % index 1"},
	{func(s string) Fix { a, _ := netip.ParseAddr(s); return Of("ip addr add %/32 dev lo", Address(a)) }, "ip addr add %/32 dev lo"},
	{func(s string) Fix { p, _ := netip.ParsePrefix(s); return Of("ip route del % table main", Prefix(p)) }, "ip route del % table main"},
	{func(s string) Fix { a, _ := netip.ParseAddrPort(s); return Of("ipvsadm -D -t %", Endpoint(a)) }, "ipvsadm -D -t %"},
}

// FuzzCommand: whatever a name is, a command has exactly the intended words, or there is none, and it is said why.
func FuzzCommand(f *testing.F) {
	for _, w := range append([]string{"eth0", "10.0.0.1", "10.0.0.0/8", "10.0.0.1:80", "in", "/a b", "80-90", "fe80::1%a", "::1", "[fe80::1%;a]:80"}, hostile...) {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, m := range meant {
			fix := m.of(name)
			if c := fix.Commands(); (len(c) == 0) == (fix.Refused() == "") {
				t.Fatalf("%s: %q, %q", m.words, c, fix.Refused())
			}
			for _, line := range texts(fix) {
				var want []string
				for _, w := range strings.Fields(m.words) {
					want = append(want, strings.ReplaceAll(strings.ReplaceAll(w, "_", " "), "%", name))
				}
				if got, ok := Split(line); !ok || !slices.Equal(got, want) {
					t.Errorf("%s: %q\nwant %q", line, got, want)
				}
				if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%q cannot be printed", line)
				}
				if strings.HasPrefix(line, "nft ") && strings.ContainsAny(name, ";#\"'$@\\\n") {
					t.Errorf("%s: nft reads something else", line)
				}
			}
		}
	})
}
