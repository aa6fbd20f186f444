// Package ipiptrace_test keeps the rules of the house: who may import whom, and what a package may hold.
package ipiptrace_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "ipiptrace"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Dir string
	Standard        bool
	GoFiles         []string
	Imports, Deps   []string
}

// name is the import path within the module.
func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// imports reports whether the package itself imports path or something below it.
func (p pkg) imports(path string) bool { return slices.ContainsFunc(p.Imports, below(path)) }

func below(path string) func(string) bool {
	return func(s string) bool { return s == path || strings.HasPrefix(s, path+"/") }
}

// house lists this module's packages, and with deps all that they need.
func house(t *testing.T, deps bool) []pkg {
	t.Helper()
	args := []string{"list", "-json=ImportPath,Dir,Standard,GoFiles,Imports,Deps"}
	if deps {
		args = append(args, "-deps")
	}
	var stderr bytes.Buffer
	cmd := exec.Command("go", append(args, "./...")...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, rule := range []struct {
		library string
		in      []string
	}{
		{"github.com/cilium/ebpf", []string{"tracer", "internal/lab/fault"}},
		{"github.com/vishvananda/netlink", []string{"internal/host/read", "internal/lab", "internal/lab/fault"}},
		{"github.com/vishvananda/netns", []string{"internal/host/read", "internal/lab", "internal/lab/fault"}},
		{"github.com/google/nftables", []string{"internal/host/read", "internal/lab"}},
		{"github.com/mdlayher/netlink", []string{"internal/host/read", "internal/lab"}},
		{"github.com/moby/ipvs", []string{"internal/host/read", "internal/lab", "internal/lab/fault"}},
		{"github.com/prometheus", []string{"internal/export"}},
		{"go.opentelemetry.io", []string{"internal/export"}},
		{"github.com/spf13", []string{"cmd/ipiptrace"}},
		{"github.com/olekukonko/tablewriter", []string{"cmd/ipiptrace"}},
	} {
		for _, p := range house(t, false) {
			if p.imports(rule.library) && !slices.Contains(rule.in, p.name()) {
				t.Errorf("%s imports %s: only %s may", p.name(), rule.library, strings.Join(rule.in, " and "))
			}
		}
	}
}

func TestPackagesKnowOnlyWhatTheyMust(t *testing.T) {
	for _, rule := range []struct{ name, never string }{
		{"internal/lab", "tracer"},
		{"internal/lab", "internal/diagnose"},
		{"internal/lab/fault", "tracer"},
		{"internal/lab/fault", "internal/diagnose"},
		{"internal/render", "internal/export"},
		{"internal/export", "internal/render"},
	} {
		for _, p := range house(t, false) {
			if p.name() == rule.name && slices.Contains(p.Deps, module+"/"+rule.never) {
				t.Errorf("%s depends on %s", rule.name, rule.never)
			}
		}
	}
	for _, p := range house(t, false) {
		if p.imports(module + "/cmd") {
			t.Errorf("%s imports cmd: nothing may", p.name())
		}
	}
}

func TestEventNeedsOnlyTheStandardLibrary(t *testing.T) {
	standard := map[string]bool{}
	all := house(t, true)
	for _, p := range all {
		standard[p.ImportPath] = p.Standard
	}
	for _, p := range all {
		if p.name() != "tracer/event" {
			continue
		}
		for _, dep := range p.Deps {
			if !standard[dep] {
				t.Errorf("tracer/event depends on %s", dep)
			}
		}
		return
	}
	t.Error("there is no tracer/event")
}

// pure packages get all that they know as arguments.
var pure = []string{"internal/command", "internal/host", "internal/journey", "internal/render", "internal/diagnose", "internal/ruleset", "internal/screen"}

func TestPurePackagesDoNoIO(t *testing.T) {
	for _, p := range house(t, false) {
		if !slices.Contains(pure, p.name()) {
			continue
		}
		for _, path := range []string{"os", "os/exec", "net", "net/http", "log", "log/slog", "syscall", "math/rand", "math/rand/v2", "golang.org/x/sys/unix", "golang.org/x/term"} {
			if slices.Contains(p.Imports, path) {
				t.Errorf("%s imports %s", p.name(), path)
			}
		}
		s := parse(t, p)
		for _, clock := range []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"} {
			for _, pos := range s.calls("time", clock) {
				t.Errorf("%s: time.%s: time moves only with events", pos, clock)
			}
		}
	}
}

// TestOnlyScreensAreWrittenTo: what is printed goes through a screen.Writer, and JSON through screen.JSON.
func TestOnlyScreensAreWrittenTo(t *testing.T) {
	for _, p := range house(t, false) {
		if !slices.Contains([]string{"cmd/ipiptrace", "tracer", "internal/lab", "internal/lab/fault"}, p.name()) && !slices.Contains(pure, p.name()) {
			continue
		}
		s := parse(t, p)
		for _, use := range []struct {
			pkg, name, only string
		}{
			{"os", "Stdout", "main.go"},
			{"os", "Stderr", "main.go"},
			{"fmt", "Print", ""},
			{"fmt", "Printf", ""},
			{"fmt", "Println", ""},
			{"encoding/json", "NewEncoder", "json.go"},
		} {
			for _, pos := range s.calls(use.pkg, use.name) {
				if filepath.Base(pos.Filename) != use.only {
					t.Errorf("%s: %s.%s: write to a screen", pos, use.pkg, use.name)
				}
			}
		}
	}
}

func TestPackageVariablesDoNotChange(t *testing.T) {
	for _, p := range house(t, false) {
		s := parse(t, p)
		for _, pos := range s.changedVariables() {
			t.Errorf("%s: a package-level variable changes", pos)
		}
		for _, pos := range s.locks() {
			t.Errorf("%s: a package-level lock or counter: what does it guard?", pos)
		}
		for _, file := range s.files {
			for _, decl := range file.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
					t.Errorf("%s: no init", s.fset.Position(f.Pos()))
				}
			}
		}
	}
}

// TestOnlyCommandMakesCommands: what others say of a command is constant text, and the parts that command has checked.
func TestOnlyCommandMakesCommands(t *testing.T) {
	const home = module + "/internal/command"
	for _, p := range house(t, false) {
		if p.ImportPath == home {
			for _, dep := range p.Imports {
				if strings.HasPrefix(dep, module) && dep != module+"/internal/screen" { // which says what can't be shown
					t.Errorf("%s imports %s", p.name(), dep)
				}
			}
			continue
		}
		s := parse(t, p)
		s.walk(func(n ast.Node) {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if sel, ok := n.Type.(*ast.SelectorExpr); ok && s.from(sel, home) {
					t.Errorf("%s: command.%s is made here", s.fset.Position(n.Pos()), sel.Sel.Name)
				}
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				if !ok || !s.from(sel, home) || sel.Sel.Name != "Of" && sel.Sel.Name != "Say" {
					return
				}
				if _, constant := n.Args[0].(*ast.BasicLit); !constant {
					t.Errorf("%s: command.%s of what is no text in the source", s.fset.Position(n.Pos()), sel.Sel.Name)
				}
			}
		})
	}
}

// from reports whether a name is of the package with that path.
func (s source) from(sel *ast.SelectorExpr, path string) bool {
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return false
	}
	imported, ok := s.uses[x].(*types.PkgName)
	return ok && imported.Imported().Path() == path
}

// source is a package's syntax and what its identifiers mean.
type source struct {
	fset  *token.FileSet
	files []*ast.File
	uses  map[*ast.Ident]types.Object
	pkg   *types.Package
}

// parse resolves identifiers within a package. What it imports is not read: for these rules names are enough.
func parse(t *testing.T, p pkg) source {
	t.Helper()
	s := source{fset: token.NewFileSet(), uses: map[*ast.Ident]types.Object{}}
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(s.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, file)
	}
	conf := types.Config{Error: func(error) {}, Importer: nothing{}}
	s.pkg, _ = conf.Check(p.ImportPath, s.fset, s.files, &types.Info{Uses: s.uses})
	return s
}

// nothing imports packages without their contents.
type nothing struct{}

var _ types.Importer = nothing{}

func (nothing) Import(path string) (*types.Package, error) {
	if path == "unsafe" {
		return importer.Default().Import(path)
	}
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}

func (s source) walk(visit func(ast.Node)) {
	for _, file := range s.files {
		ast.Inspect(file, func(n ast.Node) bool { visit(n); return true })
	}
}

func (s source) calls(pkg, function string) (found []token.Position) {
	s.walk(func(n ast.Node) {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != function {
			return
		}
		if s.from(sel, pkg) {
			found = append(found, s.fset.Position(n.Pos()))
		}
	})
	return found
}

func (s source) changedVariables() (found []token.Position) {
	changed := func(targets ...ast.Expr) {
		for _, target := range targets {
			if v, ok := s.uses[root(target)].(*types.Var); ok && v.Parent() == s.pkg.Scope() {
				found = append(found, s.fset.Position(target.Pos()))
			}
		}
	}
	s.walk(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.AssignStmt:
			changed(n.Lhs...)
		case *ast.IncDecStmt:
			changed(n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				changed(n.Key, n.Value)
			}
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				changed(n.X)
			}
		}
	})
	return found
}

// root is the variable that an expression changes a part of.
func root(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		return e
	case *ast.SelectorExpr:
		return root(e.X)
	case *ast.IndexExpr:
		return root(e.X)
	case *ast.StarExpr:
		return root(e.X)
	case *ast.ParenExpr:
		return root(e.X)
	}
	return nil
}

// locks are package-level variables that change without being assigned to.
func (s source) locks() (found []token.Position) {
	for _, file := range s.files {
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			ast.Inspect(gen, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
						found = append(found, s.fset.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
	return found
}
