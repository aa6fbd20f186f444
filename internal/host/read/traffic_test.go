package read

import (
	"testing"

	"ipiptrace/internal/host"
)

// TestCgroupsThatAreElsewhereAreUnread reads machines without cgroup v2 where systemd puts it.
func TestCgroupsThatAreElsewhereAreUnread(t *testing.T) {
	for what, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a kernel without cgroups": {map[string]string{}, ""},
		"cgroup v1 alone":          {map[string]string{"/proc/self/cgroup": "1:cpu:/\n"}, ""},
		"both":                     {map[string]string{"/proc/self/cgroup": "1:cpu:/\n0::/\n"}, "cgroup v2 is not mounted at /sys/fs/cgroup"},
	} {
		r := reader{ctx: t.Context(), files: rootOf(t, c.files), s: &host.Snapshot{}}
		got := ""
		if err := r.cgroups(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q", what, got)
		}
	}
}
