package diagnose

import "slices"

// The parts of the way on which a packet meets a cause.
const (
	beforeTunnel = "before the tunnel"
	inPacket     = "any stage, the packet"
	inFilters    = "any stage, filters"
	inRouting    = "routing of the inner packet"
	inReply      = "reply"
	atSocket     = "socket"
	onHost       = "host"
	onDirector   = "director"
	nothingKnown = "nothing known"
)

// Doc explains a cause to a person: `ipiptrace explain CODE`.
type Doc struct {
	// Code is the cause's.
	Code string `json:"code"`
	// Where is the part of the way on which a packet meets it.
	Where string `json:"where"`
	// Means is what has happened; it is also the line of docs/causes/README.md.
	Means string `json:"means"`
	// Kernel is where it is seen in the kernel, on old and on new versions.
	Kernel string `json:"kernel"`
	// Confirm are commands that show it by hand, with what to look for.
	Confirm []Line `json:"confirm"`
	// Fix are the ways to repair it.
	Fix []Line `json:"fix"`
	// Prevent is how to keep it from coming back.
	Prevent string `json:"prevent"`
}

// Codes explains every cause, in the order in which a packet meets them.
func Codes() (all []Doc) {
	for _, where := range []string{beforeTunnel, inPacket, inFilters, inRouting, inReply, atSocket, onHost, onDirector, nothingKnown} {
		for _, r := range slices.Concat(rows, noRows()) {
			if d := r.doc; d.Where == where {
				d.Code = r.code
				all = append(all, d)
			}
		}
	}
	return all
}

// noRows are the codes for which no state is asked: the notices, which are no loss here, and unknown.
func noRows() []row {
	return []row{
		{
			code: "reply-unanswered",
			doc: Doc{
				Where:  inReply,
				Means:  "SYN/ACKs leave this host and nothing comes back: they, or the client's answers, get lost elsewhere. This is a notice, not a loss.",
				Kernel: "Three SYN/ACKs of one handshake or more, forwarded by a driver in three seconds or more, and no ACK after them.",
				Confirm: []Line{
					{Command: "tcpdump -ni eth0 'src VIP and tcp[tcpflags] & tcp-syn != 0'", On: "on the router, and on the client"},
					{Command: "ss -Hnt state syn-recv", Says: "many lines", Shows: `VIP:PORT`},
				},
				Fix: []Line{
					{Says: "Let the network pass packets whose source is the VIP: a router that checks sources (uRPF, BCP 38) drops what a real server sends."},
				},
				Prevent: "Wherever the replies pass, make a route to the VIP that leads back to the real servers, or an exception from the check.",
			},
		},
		{
			code: "firewall-mixed",
			doc: Doc{
				Where:  inFilters,
				Means:  "nftables, iptables-nft and iptables-legacy are separate, and more than one of them has rules here. This is a note of doctor's, not a loss.",
				Kernel: "Each has chains of its own at the same hooks, and the kernel runs all of them (nf_hook_slow).",
				Confirm: []Line{
					{Command: "nft list ruleset", Says: "tables that iptables has not made"},
					{Command: "iptables-save", Says: "its first line says which of the two it is"},
					{Command: "iptables-legacy-save", Says: "the tables that iptables does not show where it is the one for nft"},
				},
				Fix: []Line{
					{Says: "Keep one of them: move the rules of the others there, then take them away."},
				},
				Prevent: "Let one program own the firewall of a machine, and start no other one's service (nftables, iptables-persistent, firewalld, ufw).",
			},
		},
		{
			code: unknown,
			doc: Doc{
				Where:  nothingKnown,
				Means:  "Nothing that ipiptrace knows explains the loss; function, reason and stack are still given.",
				Kernel: "The function is the one that freed the packet, the reason is the kernel's own name (since 5.17; TCP's since 6.1).",
				Confirm: []Line{
					{Command: "ipiptrace --vip VIP --only lost --stack", Says: "who called the function"},
					{Command: "nstat -az", Says: "which counter rises with each loss"},
				},
				Fix: []Line{
					{Says: "Look the function up in the kernel's source. A recording (ipiptrace record) shows others what you saw."},
				},
				Prevent: "Report it with a recording: a cause that is known can be named.",
			},
		},
	}
}
