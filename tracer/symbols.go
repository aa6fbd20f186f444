package tracer

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
)

// symbols finds the function that contains an address. They are read in the background: the first drop
// waits for them, the start does not.
type symbols struct {
	once  sync.Once
	err   error
	addrs []uint64
	// spans are where the name of each address is in names.
	spans []uint32
	names []byte
}

// suffix is what compilers append to the name of a function that they have taken apart.
var suffix = regexp.MustCompile(`(\.(isra|constprop|part|cold)(\.\d+)?)+$`)

// plainName is the name of the C function that a symbol was made of.
func plainName(symbol string) string { return suffix.ReplaceAllString(symbol, "") }

// load reads /proc/kallsyms, once.
func (s *symbols) load() error {
	s.once.Do(func() {
		f, err := os.Open("/proc/kallsyms")
		if err != nil {
			s.err = fmt.Errorf("read kernel symbols: %w", err)
			return
		}
		defer f.Close()
		s.read(bufio.NewReaderSize(f, 1<<18))
	})
	return s.err
}

func (s *symbols) read(r *bufio.Reader) {
	type entry struct {
		addr uint64
		span uint32
	}
	var entries []entry
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			break
		}
		addr, name, ok := parseSymbol(line)
		if !ok {
			continue
		}
		entries = append(entries, entry{addr, uint32(len(s.names))})
		s.names = append(append(s.names, name...), '\n')
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.addr, b.addr) })
	s.addrs, s.spans = make([]uint64, len(entries)), make([]uint32, len(entries))
	for i, e := range entries {
		s.addrs[i], s.spans[i] = e.addr, e.span
	}
}

// parseSymbol reads "ffffffff81000000 T name\t[module]" and keeps functions only.
func parseSymbol(line []byte) (addr uint64, name []byte, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) < 3 || len(fields[1]) != 1 || !bytes.ContainsAny(fields[1], "tTwW") {
		return 0, nil, false
	}
	addr, err := strconv.ParseUint(string(fields[0]), 16, 64)
	return addr, fields[2], err == nil && addr != 0
}

// function is the symbol that contains the instruction before a return address, and the offset of the address in it.
func (s *symbols) function(addr uint64) (name string, offset uint64) {
	if s.load() != nil || len(s.addrs) == 0 || addr == 0 {
		return "", 0
	}
	i, found := slices.BinarySearch(s.addrs, addr-1)
	if !found {
		i--
	}
	if i < 0 {
		return "", 0
	}
	rest := s.names[s.spans[i]:]
	return string(rest[:bytes.IndexByte(rest, '\n')]), addr - s.addrs[i]
}

// symbol is an address as people write it: name+0x1f4, or the number where there is no name.
func (s *symbols) symbol(addr uint64) string {
	name, offset := s.function(addr)
	if name == "" {
		return fmt.Sprintf("%#x", addr)
	}
	return fmt.Sprintf("%s+%#x", name, offset)
}
