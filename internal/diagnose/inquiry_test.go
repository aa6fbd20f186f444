package diagnose

import (
	"encoding/json"
	"testing"
	"time"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

const here = 4026532244

func lost(id uint64) journey.Journey {
	return journey.Journey{ID: id, Fate: journey.Dropped, Drop: &journey.Drop{Netns: here}}
}

func arrived(id uint64) journey.Journey { return journey.Journey{ID: id, Fate: journey.Delivered} }

func tick(at time.Duration) event.Event { return event.Event{Kind: event.Tick, Time: at} }

func read(t *testing.T, at time.Duration) event.Event {
	t.Helper()
	data, err := json.Marshal(host.Snapshot{Netns: here})
	if err != nil {
		t.Fatal(err)
	}
	return event.Event{Kind: event.State, Time: at, Netns: here, Host: data}
}

func ids(verdicts []Verdict) (all []uint64) {
	for _, v := range verdicts {
		all = append(all, v.ID)
	}
	return all
}

func expect(t *testing.T, what string, got []Verdict, want ...uint64) {
	t.Helper()
	if g := ids(got); len(g) != len(want) {
		t.Errorf("%s: told of %v, want %v", what, g, want)
		return
	}
	for i, v := range got {
		if v.ID != want[i] {
			t.Errorf("%s: told of %v, want %v", what, ids(got), want)
		}
		if v.Lost() != (v.Cause != nil) {
			t.Errorf("%s: journey %d has cause %v", what, v.ID, v.Cause)
		}
	}
}

func TestALossWaitsForAStateReadAfterIt(t *testing.T) {
	q := NewInquiry()
	expect(t, "what arrived waits for nothing", q.Add(tick(1*time.Second), []journey.Journey{arrived(1)}), 1)
	expect(t, "a loss waits", q.Add(tick(2*time.Second), []journey.Journey{lost(2)}))
	if asks := q.Asks(); len(asks) != 1 || asks[0].Netns != here {
		t.Errorf("asks %v, want %d", asks, here)
	}
	if asks := q.Asks(); len(asks) != 0 {
		t.Errorf("asks again for %v", asks)
	}
	expect(t, "what ended later waits behind it", q.Add(tick(2100*time.Millisecond), []journey.Journey{arrived(3)}))
	expect(t, "a state from before the loss", q.Add(read(t, 1900*time.Millisecond), nil))
	if asks := q.Asks(); len(asks) != 1 {
		t.Errorf("asks %v after a state that was too early", asks)
	}
	expect(t, "a state from after the loss", q.Add(read(t, 2200*time.Millisecond), nil), 2, 3)
	expect(t, "the next loss waits for the next state", q.Add(tick(2300*time.Millisecond), []journey.Journey{lost(4)}))
	expect(t, "it comes", q.Add(read(t, 2300*time.Millisecond), nil), 4)
}

func TestALossIsToldInTimeWithoutAState(t *testing.T) {
	q := NewInquiry()
	expect(t, "a loss waits", q.Add(tick(time.Second), []journey.Journey{lost(1)}))
	expect(t, "not for ever", q.Add(tick(time.Second+stateWait), nil), 1)
	expect(t, "nor at the end", q.End([]journey.Journey{lost(2)}))
	expect(t, "what came at the end is used", q.Add(read(t, 20*time.Second), nil), 2)
	expect(t, "the end waits no longer", q.End([]journey.Journey{lost(3), arrived(4)}), 3, 4)
	expect(t, "nothing is left", q.Finish())
}

func TestTooManyLossesDoNotFillTheMemory(t *testing.T) {
	q := NewInquiry()
	told := 0
	for i := range 3 * maxWaiting {
		told += len(q.Add(tick(time.Second), []journey.Journey{lost(uint64(i))}))
	}
	if left := 3*maxWaiting - told; left > maxWaiting {
		t.Errorf("%d losses wait", left)
	}
	a := q.Account(journey.Account{})
	if len(a.Sites) != 1 || a.Sites[0].Count != told {
		t.Errorf("the account has %+v, want %d losses", a.Sites, told)
	}
}

// lostIn is a loss in that namespace.
func lostIn(netns uint32) journey.Journey {
	return journey.Journey{Fate: journey.Dropped, Drop: &journey.Drop{Netns: netns}}
}

func readIn(t *testing.T, netns uint32, at time.Duration) event.Event {
	t.Helper()
	e := read(t, at)
	e.Netns = netns
	return e
}

func TestStatesOfNamespacesThatAreGoneAreGivenBack(t *testing.T) {
	q := NewInquiry()
	at := time.Second
	for i := range uint32(1000) {
		q.Add(tick(at), []journey.Journey{lostIn(i + 1)})
		for _, ask := range q.Asks() {
			at += time.Second
			if told := q.Add(readIn(t, ask.Netns, at), nil); len(told) != 1 {
				t.Fatalf("the state of namespace %d tells of %d losses", ask.Netns, len(told))
			}
		}
		at += time.Second
	}
	if n := len(q.states); n > 1 {
		t.Errorf("%d states are kept when no loss waits", n)
	}
}

func TestStatesThatAreKeptForLossesAreBounded(t *testing.T) {
	q := NewInquiry()
	q.Add(tick(time.Second), []journey.Journey{lostIn(1)}) // its state does not come, the others wait behind it
	for i := range uint32(1000) {
		q.Add(tick(time.Second), []journey.Journey{lostIn(i + 2)})
		q.Add(readIn(t, i+2, time.Second+time.Duration(i+1)*time.Millisecond), nil)
	}
	if n := len(q.states); n > maxStates+MaxAsked {
		t.Errorf("%d states are kept", n)
	}
	if told := q.Add(tick(time.Minute), nil); len(told) != 1001 {
		t.Errorf("told of %d losses", len(told))
	}
}

func TestWhatFoundNoRoomIsAskedForAgain(t *testing.T) {
	q := NewInquiry()
	const all = 3 * MaxAsked
	for i := range uint32(all) {
		q.Add(tick(time.Second), []journey.Journey{lostIn(i + 1)})
	}
	told := 0
	for asks := q.Asks(); len(asks) > 0; {
		if len(asks) > MaxAsked {
			t.Fatalf("%d are asked for at a time", len(asks))
		}
		told += len(q.Add(readIn(t, asks[0].Netns, 2*time.Second), nil))
		asks = append(asks[1:], q.Asks()...)
	}
	if told != all {
		t.Errorf("%d losses of %d were explained", told, all)
	}
}

// TestAStateCostsItsNamespacesNotItsLosses has very many losses wait for one state: they took as long for every other one.
func TestAStateCostsItsNamespacesNotItsLosses(t *testing.T) {
	q := NewInquiry()
	var many []journey.Journey
	for i := range uint64(maxWaiting) {
		many = append(many, lost(i))
	}
	expect(t, "they wait", q.Add(tick(time.Second), many))
	if len(q.order) != 1 || q.needs[here].count != maxWaiting {
		t.Errorf("%d namespaces are looked at for each state, %+v", len(q.order), q.needs[here])
	}
	if told := q.Add(read(t, 2*time.Second), nil); len(told) != maxWaiting || len(q.order) != 0 || len(q.needs) != 0 {
		t.Errorf("%d are told of, %v, %v are left", len(told), q.order, q.needs)
	}
}

func TestNobodyIsAsked(t *testing.T) {
	var q *Inquiry
	got := append(q.Add(tick(1), []journey.Journey{lost(1)}), q.End([]journey.Journey{lost(2)})...)
	if len(got) != 2 || got[0].Cause != nil || q.Asks() != nil || q.Finish() != nil {
		t.Errorf("%+v", got)
	}
	if a := q.Account(journey.Account{Sites: []journey.Site{{Function: "f"}}}); len(a.Sites) != 1 {
		t.Errorf("the account has lost its sites: %+v", a)
	}
}

func TestAFloodIsEvaluatedOnce(t *testing.T) {
	drops := realServer(func(s *host.Snapshot) {
		s.Nft = []host.NftTable{{Family: "ip", Name: "t", Chains: []host.NftChain{{Name: "c", Hook: "input", Policy: "drop"}}}}
	})
	data, err := json.Marshal(drops)
	if err != nil {
		t.Fatal(err)
	}
	filtered := func(id uint64, port uint16) journey.Journey {
		j := dropped("nft_do_chain", "NETFILTER_DROP", "tunl0", false)
		j.ID, j.Packet.SrcPort, j.Drop.NfHook = id, port, "input"
		return j
	}
	q := NewInquiry()
	q.Add(tick(1*time.Second), []journey.Journey{filtered(1, 1000), filtered(2, 2000)})
	got := q.Add(event.Event{Kind: event.State, Time: 2 * time.Second, Netns: here, Host: data}, nil)
	if len(got) != 2 || got[0].ID != 1 || got[1].ID != 2 || got[1].Packet.SrcPort != 2000 {
		t.Fatalf("%+v", got)
	}
	for _, v := range got {
		if v.Cause.Code != "firewall-drop" || v.Rule == nil || v.Rule.Policy != "drop" {
			t.Errorf("%+v, rule %+v", v.Cause, v.Rule)
		}
	}
	if said := len(q.states[here].said); said != 1 {
		t.Errorf("%d evaluations", said)
	}
}

// TestNoStateIsUsedOnceItIsTooLate, but for a few losses: the account of a recording of them is to say what a replay says.
func TestNoStateIsUsedOnceItIsTooLate(t *testing.T) {
	q := NewInquiry()
	is := func() bool { return true }
	q.Until(is, is)
	var many []journey.Journey
	for i := range uint64(3 * alwaysExplained) {
		many = append(many, lost(i))
	}
	q.Add(tick(1*time.Second), many)
	told := append(q.Add(read(t, 2*time.Second), nil), q.Finish()...)
	if len(told) != len(many) {
		t.Fatalf("told of %d losses of %d", len(told), len(many))
	}
	for i, v := range told {
		if late := v.Cause == q.unexplained; late != (i >= alwaysExplained) {
			t.Errorf("loss %d is not explained: %v", i, late)
		}
	}
	if len(q.unexplained.Unread) != 1 {
		t.Errorf("that no state was used is not said: %q", q.unexplained.Unread)
	}
}

func TestAFewLossesAreExplainedHoweverLateItIs(t *testing.T) {
	q := NewInquiry()
	is := func() bool { return true }
	q.Until(is, is)
	q.Add(tick(1*time.Second), []journey.Journey{lost(1), lost(2)})
	for _, v := range append(q.Add(read(t, 2*time.Second), nil), q.End([]journey.Journey{lost(3)})...) {
		if v.Cause == q.unexplained {
			t.Errorf("journey %d is not explained", v.ID)
		}
	}
	for _, v := range q.Finish() {
		if v.Cause == q.unexplained {
			t.Errorf("journey %d is not explained without a state", v.ID)
		}
	}
}
