package tracer

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

var (
	update  = flag.Bool("update", false, "rewrite testdata/btf/*.golden")
	btfFrom = flag.String("btf", "", "cut testdata/btf/*.btf.gz out of `DIR`/KERNEL/{vmlinux,MODULE}: see make btf")
)

// storedBTF has, for each kernel of amd64, the types of which our programs know a part, and the functions and
// tracepoints that are watched, vmlinux's and the modules'.
const storedBTF = "../testdata/btf"

var storedKernels = []string{"5.10", "6.1", "6.12", "newest"}

// TestCommittedObjectFitsEveryKernel relocates all programs against the stored types, as a load would, and
// compares what a kernel lacks with its golden file. A field that a kernel lacks must be asked for.
func TestCommittedObjectFitsEveryKernel(t *testing.T) {
	spec := committedObject(t)
	for _, name := range storedKernels {
		t.Run(name, func(t *testing.T) {
			golden := filepath.Join(storedBTF, name+".golden")
			if *btfFrom != "" {
				store(t, cutBTF(t, spec, filepath.Join(*btfFrom, name)), name)
			}
			kernel := loadStored(t, name)
			for _, u := range unasked(relocateAll(t, spec, kernel)) {
				t.Errorf("%s: this kernel has no such field, and the program does not ask for it", u)
			}
			got := strings.Join(lacking(t, spec, kernel), "\n") + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil || got != string(want) {
				t.Errorf("%v; what this kernel lacks is not %s; go test ./tracer -run Committed -update rewrites it, make btf reads the kernels again:\n%s",
					err, golden, difference(string(want), got))
			}
		})
	}
}

func TestRenamedFieldIsNoticed(t *testing.T) {
	spec, kernel := committedObject(t), loadStored(t, "6.1")
	var skb *btf.Struct
	if err := kernel.TypeByName("sk_buff", &skb); err != nil {
		t.Fatal(err)
	}
	before := lacking(t, spec, kernel)
	for i := range skb.Members {
		if skb.Members[i].Name == "head" {
			skb.Members[i].Name = "renamed"
		}
	}
	if u := unasked(relocateAll(t, spec, kernel)); !slices.Contains(u, "struct sk_buff.head") {
		t.Errorf("sk_buff.head was renamed and nobody noticed: %v", u)
	}
	if slices.Equal(before, lacking(t, spec, kernel)) {
		t.Error("the golden file would not change")
	}
}

func committedObject(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec("ipiptrace_x86_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// relocation is one access to the kernel's types, and what became of it.
type relocation struct {
	program, kind, of, what string
	// absent: the kernel has no such thing.
	absent bool
}

func (r relocation) asks() bool { return strings.HasSuffix(r.kind, "_exists") }

func relocateAll(t *testing.T, spec *ebpf.CollectionSpec, kernel *btf.Spec) (all []relocation) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(spec.Programs)) {
		for _, ins := range spec.Programs[name].Instructions {
			relo := btf.CORERelocationMetadata(&ins)
			if relo == nil {
				continue
			}
			r := describe(t, spec, relo)
			r.program = name
			fixups, err := btf.CORERelocate([]*btf.CORERelocation{relo}, []*btf.Spec{kernel}, binary.LittleEndian, spec.Types.TypeID)
			if err != nil {
				t.Errorf("%s: %s: %v", name, r.what, err)
				continue
			}
			r.absent = strings.HasSuffix(fixups[0].String(), "=poison")
			if r.asks() {
				r.absent = strings.HasSuffix(fixups[0].String(), "->0")
			} else if err := fixups[0].Apply(&ins); err != nil {
				t.Errorf("%s: %s: %v", name, r.what, err)
			}
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		t.Fatal("the object has no relocation: that can't be")
	}
	return all
}

// relocationText is what btf says of a relocation: it is all that it lets be seen of one.
var relocationText = regexp.MustCompile(`^CORERelocation\((\w+), .*\[([\d:]+)\], local_id=(\d+)\)$`)

func describe(t *testing.T, spec *ebpf.CollectionSpec, relo *btf.CORERelocation) relocation {
	t.Helper()
	m := relocationText.FindStringSubmatch(relo.String())
	if m == nil {
		t.Fatalf("%s: not understood", relo)
	}
	id, _ := strconv.Atoi(m[3])
	local, err := spec.Types.TypeByID(btf.TypeID(id))
	if err != nil {
		t.Fatal(err)
	}
	local = btf.UnderlyingType(local)
	r := relocation{kind: m[1], of: essential(local.TypeName()), what: kindOf(local) + " " + local.TypeName()}
	if strings.HasPrefix(r.kind, "type_") || strings.HasSuffix(r.kind, "type_id") {
		return r
	}
	path := strings.Split(m[2], ":")
	if enum, ok := local.(*btf.Enum); ok {
		i, _ := strconv.Atoi(path[0])
		r.what += " " + enum.Values[i].Name
		return r
	}
	for _, step := range path[1:] {
		i, _ := strconv.Atoi(step)
		var members []btf.Member
		switch l := btf.UnderlyingType(local).(type) {
		case *btf.Struct:
			members = l.Members
		case *btf.Union:
			members = l.Members
		case *btf.Array:
			local, r.what = l.Type, r.what+"[]"
			continue
		}
		if members[i].Name != "" {
			r.what += "." + members[i].Name
		}
		local = members[i].Type
	}
	return r
}

func kindOf(t btf.Type) string {
	switch t.(type) {
	case *btf.Union:
		return "union"
	case *btf.Enum:
		return "enum"
	}
	return "struct"
}

// essential is a type's name without the flavour that tells variants apart.
func essential(name string) string {
	name, _, _ = strings.Cut(name, "___")
	return name
}

// unasked are the absent things that a program uses without asking about that type at all.
func unasked(all []relocation) (found []string) {
	for _, r := range all {
		asked := func(q relocation) bool { return q.program == r.program && q.asks() && q.of == r.of }
		if r.absent && !r.asks() && !slices.ContainsFunc(all, asked) {
			found = append(found, r.what)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// lacking is a line for each thing that a kernel does not have, sorted.
func lacking(t *testing.T, spec *ebpf.CollectionSpec, kernel *btf.Spec) (lines []string) {
	for _, r := range relocateAll(t, spec, kernel) {
		if r.absent && r.asks() {
			lines = append(lines, "asked for, absent: "+r.what)
		} else if r.absent {
			lines = append(lines, "absent: "+r.what)
		}
	}
	functions, tracepoints := watchedNames()
	for _, name := range functions {
		var f *btf.Func
		if kernel.TypeByName(name, &f) != nil {
			lines = append(lines, "no function "+name)
		}
	}
	for _, name := range tracepoints {
		var f *btf.Typedef
		if kernel.TypeByName("btf_trace_"+name, &f) != nil {
			lines = append(lines, "no tracepoint "+name)
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// watchedNames are the functions and tracepoints of all places.
func watchedNames() (functions, tracepoints []string) {
	for _, p := range probes {
		functions, tracepoints = append(functions, p.symbols...), append(tracepoints, p.tracepoints...)
		for _, a := range p.also {
			functions = append(functions, a.symbol)
		}
		if p.calls != "" {
			functions = append(functions, p.calls)
		}
	}
	return functions, tracepoints
}

func difference(want, got string) string {
	var b strings.Builder
	for _, side := range []struct{ sign, all, other string }{{"-", want, got}, {"+", got, want}} {
		for line := range strings.Lines(side.all) {
			if !strings.Contains("\n"+side.other, "\n"+line) {
				b.WriteString(side.sign + line)
			}
		}
	}
	return b.String()
}

func loadStored(t *testing.T, name string) *btf.Spec {
	t.Helper()
	file, err := os.Open(filepath.Join(storedBTF, name+".btf.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}
