package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// module is a kernel module that the lab can't do without and that the kernel does not load by itself.
type module struct{ name, why string }

var modules = []module{
	{"ipip", "to decapsulate on the real server"},
	{"ip_vs", "to encapsulate on the director"},
	{"ip_vs_rr", "to schedule on the director"},
}

// MissingModuleError says which module this kernel does not have.
type MissingModuleError struct {
	Name string
	// Why says what the lab wants it for.
	Why string
	// Detail is what modprobe said.
	Detail string
}

func (e *MissingModuleError) Error() string {
	return fmt.Sprintf("no %s module: it is needed %s (%s)", e.Name, e.Why, e.Detail)
}

// linkModule turns the kernel's refusal to make a kind of device into a MissingModuleError.
func linkModule(kind string, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return &MissingModuleError{Name: kind, Why: "to connect namespaces", Detail: err.Error()}
	}
	return err
}

// LoadModule loads a module that is not there yet; why says what it is for.
func LoadModule(ctx context.Context, name, why string) error {
	return loadModules(ctx, []module{{name, why}})
}

// loadModules loads what is not there yet; modprobe knows what is built in.
func loadModules(ctx context.Context, wanted []module) error {
	for _, m := range wanted {
		if _, err := os.Stat("/sys/module/" + m.name); err == nil {
			continue
		}
		out, err := exec.CommandContext(ctx, "modprobe", m.name).CombinedOutput()
		if err == nil {
			continue
		}
		detail, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if detail == "" {
			detail = err.Error()
		}
		return &MissingModuleError{Name: m.name, Why: m.why, Detail: detail}
	}
	return nil
}
