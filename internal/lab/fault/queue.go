package fault

import "ipiptrace/internal/lab"

// queueFaults are those of rules that hand packets to a program which is there (NF_QUEUE).
func queueFaults() []Scenario {
	return []Scenario{
		{
			Name:    "queue-full",
			Summary: "A rule hands the packet to a program that is too slow: its queue is full.",
			Code:    "queue-drop",
			Inject:  []lab.Step{toQueue(), stuck(0)},
			Undo:    append(again(), nftGone(lab.RealServer, "ip")),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: []string{"nf_queue", "__nf_queue", "nf_hook_slow"}, Reasons: []string{"NOT_SPECIFIED", "NETFILTER_DROP"}, Dev: "tunl0", Hook: "input"}),
		},
		{
			Name:    "queue-verdict",
			Summary: "A rule hands the packet to a program, which tells the kernel to drop it.",
			Code:    "queue-verdict",
			Inject:  []lab.Step{toQueue(), decides(nfDrop)},
			Undo:    append(again(), nftGone(lab.RealServer, "ip")),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: []string{"nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict"}, Reasons: []string{"NOT_SPECIFIED", "NETFILTER_DROP"}, Dev: "tunl0"}),
		},
	}
}

// healthyQueues are programs that let packets pass.
func healthyQueues() []Scenario {
	return []Scenario{
		twin("queue-accepted", "A rule hands the packet to a program, which tells the kernel to accept it.",
			[]lab.Step{toQueue(), decides(nfAccept)}, append(again(), nftGone(lab.RealServer, "ip"))),
		twin("queue-fail-open", "A rule hands the packet to a program that is too slow, and has the kernel accept what its queue has no room for.",
			[]lab.Step{toQueue(), stuck(nfqaFailOpen)}, append(again(), nftGone(lab.RealServer, "ip"))),
	}
}
