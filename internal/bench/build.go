package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The names of what is measured.
const (
	onlyBuild   = "ipiptrace"
	buildBefore = "before"
	buildNow    = "now"
)

// buildHere builds ipiptrace from the working tree.
func buildHere(ctx context.Context, binary string) error {
	top, err := command(ctx, "", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	return build(ctx, top, binary)
}

// buildAt builds ipiptrace as it was at a commit.
func buildAt(ctx context.Context, revision, binary string) error {
	dir, err := os.MkdirTemp("", "ipiptrace-"+buildBefore+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source := filepath.Join(dir, "source.tar")
	top, err := command(ctx, "", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	if _, err := command(ctx, top, "git", "archive", "--output", source, revision); err != nil {
		return err
	}
	if _, err := command(ctx, dir, "tar", "-xf", source); err != nil {
		return err
	}
	return build(ctx, dir, binary)
}

func build(ctx context.Context, dir, binary string) error {
	_, err := command(ctx, dir, "go", "build", "-trimpath", "-o", binary, "./cmd/ipiptrace")
	return err
}

// command returns what a command says, without the last newline.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr, cmd.Env = dir, &stderr, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
