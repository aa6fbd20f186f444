package main

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheHintNamesWhatIsInTheWay(t *testing.T) {
	const initial = "         0          0 4294967295\n"
	for name, test := range map[string]struct {
		security
		want string
	}{
		"without rights":                      {security{users: initial}, "run it as root (sudo), or with CAP_BPF, CAP_PERFMON and CAP_SYSLOG"},
		"without the right to see symbols":    {security{rights: 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON, users: initial}, "CAP_SYSLOG"},
		"without rights in a lockdown":        {security{lockdown: "none integrity [confidentiality]\n", users: initial}, "run it as root"},
		"without the right to memory":         {security{rights: 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYSLOG, users: initial}, "CAP_SYS_RESOURCE"},
		"root in a lockdown":                  {security{everything, "none integrity [confidentiality]\n", initial}, "lockdown=integrity"},
		"root in a lockdown that allows it":   {security{everything, "none [integrity] confidentiality\n", initial}, "seccomp"},
		"root of a rootless container":        {security{everything, "[none] integrity confidentiality\n", "0 1000 1\n"}, "user namespace"},
		"root where a security module is":     {security{everything, "", initial}, "security module"},
		"root, and nothing of it can be read": {security{rights: everything}, "security module"},
	} {
		if got := test.hint(); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := (security{lockdown: "none integrity [confidentiality]\n"}).backendHint(); got != unlock {
		t.Errorf("no back-end in a lockdown: %s", got)
	}
	if got := (security{lockdown: "none [integrity] confidentiality\n"}).backendHint(); !strings.Contains(got, "--backend tracepoint") {
		t.Errorf("no back-end: %s", got)
	}
}

func TestTheHintForHiddenSymbolsNamesTheSettingThatHidesThem(t *testing.T) {
	if got := hiddenHint("2\n"); !strings.Contains(got, "kernel.kptr_restrict=1") || strings.Contains(got, "root") {
		t.Errorf("2: %s", got)
	}
	for _, restrict := range []string{"0\n", "1\n", ""} {
		if got := hiddenHint(restrict); !strings.Contains(got, "CAP_SYSLOG") {
			t.Errorf("%q: %s", restrict, got)
		}
	}
}
