package tracer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// symbols finds the function that contains an address. They are read in the background: the first drop
// waits for them, the start does not.
type symbols struct {
	// proc is where procfs is.
	proc string

	mu  sync.Mutex
	err error
	// hidden: the last reading had nothing, nor will another have. It costs a quarter of a second, and every frame of
	// every stack would ask for it.
	hidden bool
	addrs  []uint64
	// spans are where the name of each address is in names.
	spans []uint32
	names []byte
	text  span
	// modules is where modules were when the symbols were read: other modules, other symbols. asked is when it was last
	// asked where they are.
	modules []span
	asked   time.Time
	// nameless are addresses that no symbol was found for: what the tracing itself has put on each stack is nobody's.
	nameless map[uint64]bool
}

// modulesAge is how old what is known of modules may be for an address in one of them. Where a module begins is known, and
// how large all its parts are together, which need not be next to each other (since 6.4): another one may have come into
// what is taken for the first one's memory.
const modulesAge = 100 * time.Millisecond

// maxNameless bounds what is remembered of them.
const maxNameless = 1 << 10

// span is a piece of the kernel's memory.
type span struct{ from, to uint64 }

func (s span) contains(addr uint64) bool { return s.from <= addr && addr < s.to }

var errNoSymbols = errors.New("no kernel symbols: kernel.kptr_restrict or a missing CAP_SYSLOG hides them")

// usualSymbols is about how many functions a kernel has.
const usualSymbols = 130_000

// suffix is what compilers append to the name of a function that they have taken apart.
var suffix = regexp.MustCompile(`(\.(isra|constprop|part|cold)(\.\d+)?)+$`)

// plainName is the name of the C function that a symbol was made of.
func plainName(symbol string) string { return suffix.ReplaceAllString(symbol, "") }

// load reads the symbols, unless that was done and no module has come or gone since, or the kernel hides them.
func (s *symbols) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hidden {
		return s.err
	}
	modules, err := os.ReadFile(filepath.Join(s.proc, "modules"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without modules has no such file
		return err
	}
	s.asked = time.Now()
	loaded := moduleSpans(string(modules))
	if len(s.addrs) > 0 && slices.Equal(s.modules, loaded) {
		return s.err
	}
	f, err := os.Open(filepath.Join(s.proc, "kallsyms"))
	if err != nil {
		s.hidden, s.err = true, fmt.Errorf("read kernel symbols: %w", err)
		return s.err
	}
	defer f.Close()
	fresh := symbols{modules: loaded}
	fresh.read(bufio.NewReaderSize(f, 1<<18))
	if len(fresh.addrs) == 0 { // the kernel does not show them, or no more; what is known stays true for what was there
		s.hidden = true
		if len(s.addrs) == 0 {
			s.err = errNoSymbols
		}
		return s.err
	}
	s.err = nil
	s.addrs, s.spans, s.names, s.text, s.modules = fresh.addrs, fresh.spans, fresh.names, fresh.text, fresh.modules
	s.nameless = nil
	return nil
}

// moduleSpans reads /proc/modules: "ipip 20480 0 - Live 0xffffffffc0a00000", the second field the size.
func moduleSpans(modules string) []span {
	var spans []span
	for line := range strings.Lines(modules) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		size, err := strconv.ParseUint(fields[1], 10, 64)
		from, err2 := strconv.ParseUint(strings.TrimPrefix(fields[5], "0x"), 16, 64)
		if err == nil && err2 == nil && from != 0 {
			spans = append(spans, span{from, from + size})
		}
	}
	return spans
}

func (s *symbols) read(r *bufio.Reader) {
	sorted := true
	s.addrs, s.spans, s.names = make([]uint64, 0, usualSymbols), make([]uint32, 0, usualSymbols), make([]byte, 0, 24*usualSymbols)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			break
		}
		addr, name, ok := parseSymbol(line)
		if !ok {
			continue
		}
		sorted = sorted && (len(s.addrs) == 0 || s.addrs[len(s.addrs)-1] <= addr)
		s.addrs, s.spans = append(s.addrs, addr), append(s.spans, uint32(len(s.names)))
		s.names = append(append(s.names, name...), '\n')
	}
	s.text = span{s.address("_stext"), s.address("_etext")}
	if !sorted { // modules come behind the kernel, wherever they are
		sort.Stable(byAddress{s})
	}
}

// address is where a symbol is, 0 if there is none of that name.
func (s *symbols) address(name string) uint64 {
	at := bytes.Index(s.names, []byte("\n"+name+"\n")) + 1
	if at == 0 && !bytes.HasPrefix(s.names, []byte(name+"\n")) {
		return 0
	}
	return s.addrs[slices.Index(s.spans, uint32(at))]
}

// byAddress sorts symbols in place: there are a hundred thousand of them.
type byAddress struct{ *symbols }

func (s byAddress) Len() int           { return len(s.addrs) }
func (s byAddress) Less(i, j int) bool { return s.addrs[i] < s.addrs[j] }
func (s byAddress) Swap(i, j int) {
	s.addrs[i], s.addrs[j] = s.addrs[j], s.addrs[i]
	s.spans[i], s.spans[j] = s.spans[j], s.spans[i]
}

// parseSymbol reads "ffffffff81000000 T name\t[module]" and keeps functions only.
func parseSymbol(line []byte) (addr uint64, name []byte, ok bool) {
	digits, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 3 || (rest[0]|0x20 != 't' && rest[0]|0x20 != 'w') || rest[1] != ' ' {
		return 0, nil, false
	}
	addr, err := strconv.ParseUint(string(digits), 16, 64) // the compiler keeps the string off the heap
	name = rest[2:]
	if end := bytes.IndexAny(name, "\t\n"); end >= 0 {
		name = name[:end]
	}
	return addr, name, err == nil && addr != 0
}

// function is the symbol that contains the instruction before a return address, and the offset of the
// address in it. An address outside of all that was known may be in a module that came later.
func (s *symbols) function(addr uint64) (name string, offset uint64) {
	if s.isOld(addr) {
		_ = s.load()
	}
	if name, offset, ok := s.find(addr); ok {
		return name, offset
	}
	if addr == 0 || s.isNameless(addr) || s.load() != nil {
		return "", 0
	}
	name, offset, ok := s.find(addr)
	if !ok {
		s.giveUp(addr)
	}
	return name, offset
}

// isOld reports whether what is known of an address is to be asked for again: one in a module.
func (s *symbols) isOld(addr uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inModule(addr) && time.Since(s.asked) > modulesAge
}

// inModule reports whether the instruction before a return address seems to be in a module. The caller holds mu.
func (s *symbols) inModule(addr uint64) bool {
	return slices.ContainsFunc(s.modules, func(m span) bool { return m.contains(addr - 1) })
}

func (s *symbols) isNameless(addr uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nameless[addr]
}

// giveUp looks for an address no more until modules come or go.
func (s *symbols) giveUp(addr uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nameless == nil || len(s.nameless) >= maxNameless {
		s.nameless = map[uint64]bool{}
	}
	s.nameless[addr] = true
}

func (s *symbols) find(addr uint64) (name string, offset uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.text.contains(addr-1) && !s.inModule(addr) {
		return "", 0, false
	}
	i, found := slices.BinarySearch(s.addrs, addr-1)
	if !found {
		i--
	}
	if i < 0 {
		return "", 0, false
	}
	rest := s.names[s.spans[i]:]
	return string(rest[:bytes.IndexByte(rest, '\n')]), addr - s.addrs[i], true
}

// variant is the symbol under which the compiler has kept a function of that name with fewer arguments
// (.constprop) or others (.isra): where they differ a probe sees no packet of ours. Empty if there is none;
// .part and .cold are only pieces of a function.
func (s *symbols) variant(name string) string {
	if s.load() != nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kept := range []string{".constprop.", ".isra."} {
		for rest := s.names; ; {
			at := bytes.Index(rest, []byte("\n"+name+kept))
			if at < 0 {
				break
			}
			rest = rest[at+1:]
			found := string(rest[:bytes.IndexByte(rest, '\n')])
			if plainName(found) == name && !strings.Contains(found, ".part") && !strings.Contains(found, ".cold") {
				return found
			}
		}
	}
	return ""
}

// symbol is an address as people write it: name+0x1f4, or the number where there is no name.
func (s *symbols) symbol(addr uint64) string {
	name, offset := s.function(addr)
	if name == "" {
		return fmt.Sprintf("%#x", addr)
	}
	return fmt.Sprintf("%s+%#x", name, offset)
}
