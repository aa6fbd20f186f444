package command

import "testing"

// TestNftTakesWordsThatAreItsOwnElsewhere: each of the names was given to a chain of ip, inet and bridge, with nft 1.0.6.
func TestNftTakesWordsThatAreItsOwnElsewhere(t *testing.T) {
	for name, want := range map[string]string{
		"out": "nft delete rule inet mine out handle 6", "in": "nft delete rule inet mine in handle 6", "saddr": "nft delete rule inet mine saddr handle 6",
		"last": "nft delete rule inet mine last handle 6", "state": "nft delete rule inet mine state handle 6",
		"drop": "", "iif": "", "table": "", "destroy": "", "vxlan": "", "handle": "",
	} {
		got := ""
		for _, c := range Of("nft delete rule inet mine % handle 6", Identifier("chain", name)).Commands() {
			got += c.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
