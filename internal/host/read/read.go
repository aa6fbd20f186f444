// Package read reads the state of a machine into a host.Snapshot.
package read

import (
	"context"
	"errors"
	"net/netip"

	"ipiptrace/internal/host"
)

// Options bound what is read.
type Options struct {
	VIPs   []netip.Addr
	Ports  []uint16
	Client netip.Prefix
}

// Namespace is a way into a network namespace.
type Namespace struct{}

// Netns finds a namespace.
func Netns(inode uint32) (Namespace, error) { return Namespace{}, errors.New("not written yet") }

// Snapshot reads it.
func Snapshot(ctx context.Context, ns Namespace, o Options) *host.Snapshot { return nil }
