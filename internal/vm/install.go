package vm

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
)

// MissingError says which Debian packages this machine lacks to run guests.
type MissingError struct{ Packages []string }

func (e *MissingError) Error() string {
	return "this machine lacks " + strings.Join(e.Packages, ", ") + "; install with: " + e.Command()
}

// Command is what a person types to install them.
func (e *MissingError) Command() string {
	return "apt-get install --no-install-recommends -y " + strings.Join(e.Packages, " ")
}

// Install installs the packages this machine lacks to run guests, saying so on
// progressTo. Without root it changes nothing and returns a [*MissingError].
func Install(ctx context.Context, progressTo io.Writer) error {
	packages := missing()
	if len(packages) == 0 {
		return nil
	}
	lack := &MissingError{packages}
	if os.Geteuid() != 0 {
		return lack
	}
	progress{progressTo}.linef("this machine lacks %s; running: %s", strings.Join(packages, ", "), lack.Command())
	install := append([]string{"install", "--no-install-recommends", "-y", "-q"}, packages...)
	if _, err := output(ctx, "", "apt-get", install...); err == nil {
		return nil
	}
	progress{progressTo}.linef("not known or outdated; running apt-get update first")
	if _, err := output(ctx, "", "apt-get", "update", "-q"); err != nil {
		return err
	}
	_, err := output(ctx, "", "apt-get", install...)
	return err
}

// installed returns a *MissingError for what Install would install.
func installed() error {
	if packages := missing(); len(packages) > 0 {
		return &MissingError{packages}
	}
	return nil
}

// ownTools are what this package itself runs; apt and dpkg are Debian.
var ownTools = []tool{{"depmod", "kmod"}, {"xz", "xz-utils"}, {"find", "findutils"}}

func missing() []string {
	need := append(slices.Clone(tools), ownTools...)
	if arch, err := thisMachine(); err == nil {
		need = append(need, tool{arch.qemu, arch.pack})
	}
	var packages []string
	for _, tool := range need {
		if tool.pack == "" || slices.Contains(packages, tool.pack) {
			continue
		}
		if _, err := find(tool.name); err != nil {
			packages = append(packages, tool.pack)
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		packages = append(packages, "debian-archive-keyring")
	}
	return packages
}
