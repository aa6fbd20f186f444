package read

import (
	"maps"
	"testing"
)

// TestAModuleIsAbsentOnlyWhereThatWasRead reads kernels with and without modules.
func TestAModuleIsAbsentOnlyWhereThatWasRead(t *testing.T) {
	const none, notOnDisk = "it loads no modules, and none of that name is built in", "no module of that name is in its modules.dep"
	release, dir := map[string]string{"/proc/sys/kernel/osrelease": "6.1.0-test\n"}, "/lib/modules/6.1.0-test/"
	for what, test := range map[string]struct {
		files, want map[string]string
	}{
		"no modules at all":   {map[string]string{"/sys/module/ip_vs/x": ""}, map[string]string{"ipip": none}},
		"one is on disk":      {map[string]string{"/proc/modules": "", "/sys/module/x/y": "", dir + "modules.builtin": "", dir + "modules.dep": "kernel/net/ipv4/ipip.ko.xz:\n"}, map[string]string{"ip_vs": notOnDisk}},
		"modules.dep is gone": {map[string]string{"/proc/modules": "", "/sys/module/x/y": "", dir + "modules.builtin": ""}, nil},
	} {
		maps.Copy(test.files, release)
		files := rootOf(t, test.files)
		m, err := files.modules()
		if got := files.absent(m); !maps.Equal(got, test.want) {
			t.Errorf("%s: %v (%v), want %v", what, got, err, test.want)
		}
	}
}
