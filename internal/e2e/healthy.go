package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ipiptrace/internal/lab"
)

// late is when the last packets of a connection, of which the client knows nothing, have arrived, too.
const late = 500 * time.Millisecond

// latest is when ipiptrace, too, knows of them that they have: a second after it saw them at their socket.
const latest = 1500 * time.Millisecond

// wave is how many connections begin together: the guest's CPU is ipiptrace's, too, and slow.
const wave = 100

// healthy sends many connections with payload and close, a wave at a time, and checks that nothing was lost for
// the client. After each wave it lets the rest of the guest settle.
func (o options) healthy(ctx context.Context, r *report, l *lab.Lab, rd round, settle func()) (all []crowd, err error) {
	for _, t := range []lab.Traffic{
		{Proto: lab.TCP, Count: rd.healthy, Request: 3000, Answer: 9000, Deadline: 20 * time.Second},
		{Proto: lab.UDP, Count: rd.healthy, Request: 200, Deadline: 20 * time.Second},
	} {
		before, err := countReceived(l, t.Proto)
		if err != nil {
			return all, err
		}
		began := window{from: time.Now()}
		got, err := waves(ctx, l, t, settle)
		if err != nil {
			return all, err
		}
		took := time.Since(began.from)
		time.Sleep(late)
		after, err := countReceived(l, t.Proto)
		if err != nil {
			return all, err
		}
		began.to = time.Now()
		sent := after.minus(before)
		name := fmt.Sprintf("%s/healthy/%s", rd, t.Proto)
		r.note("%s: %s; sockets received %d packets on the real server and %d on the client, %d resets, in %v",
			name, got, sent.requests, sent.replies, sent.resets, took.Round(time.Millisecond))
		r.check(name+"/client", got.Saw(lab.Answered))
		all = append(all, crowd{name, t.Proto, began, sent})
	}
	return all, nil
}

// waves is the traffic, a wave at a time.
func waves(ctx context.Context, l *lab.Lab, t lab.Traffic, settle func()) (sum lab.Result, err error) {
	for left := t.Count; left > 0; left -= wave {
		t.Count = min(left, wave)
		got, err := l.Traffic(ctx, t)
		if err != nil {
			return sum, err
		}
		sum = sum.Plus(got)
		settle()
	}
	return sum, nil
}

// crowd is the healthy traffic of one protocol: when it began, and what came of it.
type crowd struct {
	name   string
	proto  lab.Proto
	during window
	sent   received
}

// received are the packets that reached sockets: of the real server, and of the client. Resets are those that
// the real server sent.
type received struct{ requests, replies, resets int }

func (r received) minus(before received) received {
	return received{r.requests - before.requests, r.replies - before.replies, r.resets - before.resets}
}

func countReceived(l *lab.Lab, p lab.Proto) (n received, err error) {
	group, name := "Tcp:", "InSegs"
	if p == lab.UDP {
		group, name = "Udp:", "InDatagrams"
	}
	if n.requests, err = l.Counter(lab.RealServer, group, name); err != nil {
		return n, err
	}
	if n.replies, err = l.Counter(lab.Client, group, name); err != nil {
		return n, err
	}
	n.resets, err = l.Counter(lab.RealServer, "Tcp:", "OutRsts")
	return n, err
}

// arrival is how each packet of a direction must end.
type arrival struct {
	direction, fate string
	// role is where; empty says nothing.
	role string
	// through are the namespaces that its journey has to show, the first of them first.
	through []lab.Role
}

// arrivals are, for what is being watched, all that is to be seen of healthy traffic.
var arrivals = map[lab.Role][]arrival{
	everywhere: {
		{"request", "delivered", "real-server", []lab.Role{lab.Client, lab.Director, lab.RealServer}},
		{"reply", "delivered", "", []lab.Role{lab.RealServer, lab.Client}},
	},
	lab.RealServer: {
		{"request", "delivered", "real-server", []lab.Role{lab.RealServer}},
		{"reply", "forwarded", "", []lab.Role{lab.RealServer}},
	},
	lab.Director: {
		{"request", "forwarded", "director", []lab.Role{lab.Director}},
	},
}

// still is how long a packet that left by a device may be silent before ipiptrace takes it for gone; if a busy guest goes on
// with it later, that is a journey again.
const still = 200 * time.Millisecond

// joined are the journeys, those of a packet that stood still joined.
func joined(journeys []line) (all []line) {
	last := map[string]int{}
	for _, j := range slices.SortedStableFunc(slices.Values(journeys), func(a, b line) int { return a.Start.Compare(b.Start) }) {
		if i, ok := last[j.ID]; ok && all[i].Fate == "forwarded" && j.Start.Sub(all[i].end()) > still {
			j.Start, j.Steps, j.Gaps = all[i].Start, slices.Concat(all[i].Steps, j.Steps), all[i].Gaps+j.Gaps
			all[i] = j
			continue
		}
		last[j.ID] = len(all)
		all = append(all, j)
	}
	return all
}

// allArrived checks that there was one journey for each packet and that each ended as it should, but for
// as many as ipiptrace admits to have missed a sighting of: one where the kernel does not count them.
func (w *watch) allArrived(r *report, l *lab.Lab, watched lab.Role, c crowd, account line) error {
	missed := account.missed()
	if !account.counted() {
		missed = 1
	}
	journeys := map[string]int{}
	fates := map[string]int{}
	var errs []error
	for _, j := range joined(w.during(c.during)) {
		journeys[j.Direction]++
		fates[fmt.Sprintf("%s %s %s", j.Direction, j.Fate, j.Role)]++
		if err := arrivedAs(l, watched, j, missed); err != nil {
			errs = append(errs, fmt.Errorf("%w\nin %s", err, j.raw))
		}
	}
	r.note("%s: journeys: %v", c.name, fates)
	for _, a := range arrivals[watched] {
		want := c.sent.requests
		if a.direction == "reply" {
			want = c.sent.replies
		}
		for range abs(journeys[a.direction] - want) {
			errs = append(errs, fmt.Errorf("sockets received %d packets in the direction %s, there are %d journeys", want, a.direction, journeys[a.direction]))
		}
	}
	// A packet that was not seen at one place may look like two, and there are too many of one kind then, and
	// too few of another; but most must be right.
	if len(errs) > min(3*missed, 1+(c.sent.requests+c.sent.replies)/100) {
		return fmt.Errorf("%d deviations, %d sightings missed:\n%w", len(errs), missed, errors.Join(errs[:min(len(errs), 5)]...))
	}
	return nil
}

func abs(n int) int { return max(n, -n) }

// arrivedAs checks a journey. A sighting that was missed is a gap of every packet that was under way.
func arrivedAs(l *lab.Lab, watched lab.Role, j line, missed int) error {
	i := slices.IndexFunc(arrivals[watched], func(a arrival) bool { return a.direction == j.Direction })
	if i < 0 {
		return fmt.Errorf("a journey in the direction %q", j.Direction)
	}
	want := arrivals[watched][i]
	// A socket that is busy merges what it has in its backlog.
	if j.Fate != want.fate && j.Fate != "consumed" || !j.arrived() || j.Gaps > missed || want.role != "" && j.Role != want.role {
		return fmt.Errorf("fate is %s at the %s, with %d gaps; want %s at the %s", j.Fate, j.Role, j.Gaps, want.fate, want.role)
	}
	var through []string
	for _, s := range j.Steps {
		if s.Netns != 0 && !slices.Contains(through, fmt.Sprint(s.Netns)) {
			through = append(through, fmt.Sprint(s.Netns))
		}
	}
	var wanted []string
	for _, role := range want.through {
		inode, err := l.Node(role).Inode()
		if err != nil {
			return err
		}
		wanted = append(wanted, fmt.Sprint(inode))
	}
	if sw, err := l.Switch.Inode(); err == nil {
		through = slices.DeleteFunc(through, func(n string) bool { return n == fmt.Sprint(sw) })
	}
	if !slices.Equal(through, wanted) {
		return fmt.Errorf("the journey goes through the namespaces %v instead of %v", through, wanted)
	}
	return nil
}
