package tracer

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// knife cuts out of a kernel's types what our programs may ever ask about: whole structs, so that a program may
// read another field of them tomorrow, but nothing of what they only point to.
type knife struct {
	keep map[string]bool
	done map[btf.Type]btf.Type
}

// cutBTF is the raw BTF of what we need of dir's vmlinux and modules.
func cutBTF(t *testing.T, object *ebpf.CollectionSpec, dir string) []byte {
	t.Helper()
	k := knife{map[string]bool{"skb_drop_reason": true}, map[btf.Type]btf.Type{}}
	for typ := range object.Types.All() {
		switch typ.(type) {
		case *btf.Struct, *btf.Union, *btf.Enum:
			k.keep[essential(typ.TypeName())] = typ.TypeName() != ""
		}
	}
	delete(k.keep, "")
	functions, tracepoints := watchedNames()
	for _, name := range tracepoints {
		functions = append(functions, "btf_trace_"+name)
	}
	builder, err := btf.NewBuilder(nil, &btf.BuilderOptions{Deduplicate: true})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, spec := range specsOf(t, dir) {
		for typ := range spec.All() {
			name := typ.TypeName()
			switch typ.(type) {
			case *btf.Struct, *btf.Union, *btf.Enum:
				if !k.keep[name] {
					continue
				}
			case *btf.Func, *btf.Typedef:
				if !slices.Contains(functions, name) {
					continue
				}
			default:
				continue
			}
			id := kindOf(typ) + " " + name
			if seen[id] {
				continue
			}
			seen[id] = true
			if _, err := builder.Add(k.cut(typ)); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw, err := builder.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// specsOf are vmlinux and then the modules. A module's types begin where vmlinux's end.
func specsOf(t *testing.T, dir string) []*btf.Spec {
	t.Helper()
	base, err := btf.LoadSpec(filepath.Join(dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	specs := []*btf.Spec{base}
	modules, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		if m.Name() == "vmlinux" {
			continue
		}
		spec, err := btf.LoadSplitSpec(filepath.Join(dir, m.Name()), base)
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec)
	}
	return specs
}

func (k knife) cut(t btf.Type) btf.Type {
	if done, ok := k.done[t]; ok {
		return done
	}
	switch t := t.(type) {
	case *btf.Struct:
		c := &btf.Struct{Name: t.Name, Size: t.Size}
		k.done[t] = c
		c.Members = k.members(t.Members)
		return c
	case *btf.Union:
		c := &btf.Union{Name: t.Name, Size: t.Size}
		k.done[t] = c
		c.Members = k.members(t.Members)
		return c
	case *btf.Pointer:
		c := &btf.Pointer{}
		k.done[t] = c
		c.Target = k.target(t.Target)
		return c
	case *btf.Array:
		return k.keepAs(t, &btf.Array{Index: t.Index, Type: k.cut(t.Type), Nelems: t.Nelems})
	case *btf.Typedef:
		if p, ok := t.Type.(*btf.Pointer); ok && len(t.Name) > 10 && t.Name[:10] == "btf_trace_" {
			return k.keepAs(t, &btf.Typedef{Name: t.Name, Type: &btf.Pointer{Target: k.cut(p.Target)}})
		}
		return k.keepAs(t, &btf.Typedef{Name: t.Name, Type: k.cut(t.Type)})
	case *btf.Volatile:
		return k.keepAs(t, &btf.Volatile{Type: k.cut(t.Type)})
	case *btf.Const:
		return k.keepAs(t, &btf.Const{Type: k.cut(t.Type)})
	case *btf.Restrict:
		return k.keepAs(t, &btf.Restrict{Type: k.cut(t.Type)})
	case *btf.TypeTag:
		return k.cut(t.Type)
	case *btf.Func:
		return k.keepAs(t, &btf.Func{Name: t.Name, Type: k.cut(t.Type), Linkage: t.Linkage})
	case *btf.FuncProto:
		c := &btf.FuncProto{Return: k.cut(t.Return)}
		for _, p := range t.Params {
			c.Params = append(c.Params, btf.FuncParam{Name: p.Name, Type: k.cut(p.Type)})
		}
		return k.keepAs(t, c)
	}
	return t
}

func (k knife) keepAs(t, c btf.Type) btf.Type {
	k.done[t] = c
	return c
}

func (k knife) members(all []btf.Member) (cut []btf.Member) {
	for _, m := range all {
		cut = append(cut, btf.Member{Name: m.Name, Type: k.cut(m.Type), Offset: m.Offset, BitfieldSize: m.BitfieldSize})
	}
	return cut
}

// target is what a pointer points to: by name only, unless we know a part of it.
func (k knife) target(t btf.Type) btf.Type {
	switch under := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		if !k.keep[under.Name] {
			return &btf.Fwd{Name: under.Name, Kind: btf.FwdStruct}
		}
	case *btf.Union:
		if !k.keep[under.Name] {
			return &btf.Fwd{Name: under.Name, Kind: btf.FwdUnion}
		}
	case *btf.FuncProto:
		return &btf.Void{}
	}
	return k.cut(t)
}

func store(t *testing.T, raw []byte, name string) {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(raw)
	if err := errors.Join(err, w.Close(), os.WriteFile(filepath.Join(storedBTF, name+".btf.gz"), b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}
