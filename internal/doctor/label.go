package doctor

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// labelsCode is the cause by which a security module refuses a packet.
const labelsCode = "security-module"

// labels says which security modules may refuse a packet: those that go by the labels that rules give packets (SECMARK), and by
// those that come with them (selinux_socket_sock_rcv_skb, apparmor_socket_sock_rcv_skb). What their policies say is not read.
func (r *Report) labels(s *host.Snapshot) {
	active := slices.DeleteFunc(slices.Clone(s.LSMs), func(name string) bool {
		return !slices.Contains([]string{"selinux", "smack", "apparmor", "bpf"}, name)
	})
	switch names := strings.Join(active, ", "); {
	case len(s.LSMs) == 0:
		r.say(stepFirewall, labelsCode)
		r.open(labelsCode, "which security modules are active is not shown here (/sys/kernel/security/lsm)")
	case len(active) == 0:
		r.say(stepFirewall, labelsCode, "none that looks at packets is active")
	case rulesHave(s, []string{`"secmark"`}, "SECMARK", "CONNSECMARK"):
		r.say(stepFirewall, labelsCode)
		r.open(labelsCode, fmt.Sprintf("rules give packets labels (secmark), and what the policies of %s say of them is not read", names))
	default:
		r.say(stepFirewall, labelsCode, fmt.Sprintf("active: %s; no rule here gives packets a label (secmark), by which they would refuse some", names))
	}
}
