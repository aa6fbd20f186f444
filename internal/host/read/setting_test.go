package read

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDevicesAreToldAsTheirFilesSay: the numbers under which this machine's kernel tells the settings of a device are those
// that its files are named for.
func TestDevicesAreToldAsTheirFilesSay(t *testing.T) {
	told, err := deviceSettings()
	if err != nil || len(told["lo"]) == 0 {
		t.Fatalf("%v: %v", told, err)
	}
	for dev, values := range told {
		for name, n := range perDevice {
			if n > len(values) {
				t.Errorf("%s: only %d settings", dev, len(values))
				break
			}
			text, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4/conf", dev, name))
			if os.IsNotExist(err) {
				continue // a newer or older kernel, or the device has gone
			}
			if got := strconv.Itoa(int(values[n-1])); err != nil || got != strings.TrimSpace(string(text)) {
				t.Errorf("%s of %s: told %s, its file says %s (%v)", name, dev, got, text, err)
			}
		}
	}
}
