package event

// Method is how a director sends a packet on: the Aux of IPVSXmit. The numbers are those of enum ip_vs_method in
// bpf/event.h, which are the kernel's (IP_VS_CONN_F_FWD_MASK in linux/ip_vs.h).
type Method uint32

// The methods.
const (
	MethodNAT    Method = 0
	MethodLocal  Method = 1
	MethodTunnel Method = 2
	MethodDirect Method = 3
	MethodBypass Method = 4
)

var methods = []string{MethodNAT: "nat", MethodLocal: "local", MethodTunnel: "tunnel", MethodDirect: "direct", MethodBypass: "bypass"}

// String is the method in a word, "" if there is no such one.
func (m Method) String() string {
	if int(m) < len(methods) {
		return methods[m]
	}
	return ""
}

// Refusal is why TCP did not like a segment, where the kernel gives no reason: the Aux of KfreeSkb. The numbers are
// those of enum tcp_refusal in bpf/event.h.
type Refusal uint32

// The refusals.
const (
	RefusalUnsaid   Refusal = 0
	RefusalPaws     Refusal = 1
	RefusalSequence Refusal = 2
)

var refusals = []string{RefusalPaws: "tcp_paws_discard", RefusalSequence: "tcp_sequence"}

// Function is the function of the kernel that refuses so, "" if it is not known.
func (r Refusal) Function() string {
	if int(r) < len(refusals) {
		return refusals[r]
	}
	return ""
}
