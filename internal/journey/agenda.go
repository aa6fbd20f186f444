package journey

import "container/heap"

// agenda is a heap of flights, the one whose deadline comes first on top. Equal deadlines go by the
// first sighting, so that a replay ends journeys in the order of the live run.
type agenda []*flight

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].deadline != a[j].deadline {
		return a[i].deadline < a[j].deadline
	}
	return a[i].number < a[j].number
}
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].slot, a[j].slot = i, j
}

// Push is heap.Interface's.
func (a *agenda) Push(x any) {
	f := x.(*flight)
	f.slot = len(*a)
	*a = append(*a, f)
}

// Pop is heap.Interface's.
func (a *agenda) Pop() any {
	old := *a
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	f.slot = -1
	return f
}

func (a *agenda) add(f *flight) { heap.Push(a, f) }

func (a *agenda) moved(f *flight) {
	if f.slot >= 0 {
		heap.Fix(a, f.slot)
	}
}

func (a *agenda) remove(f *flight) {
	if f.slot >= 0 {
		heap.Remove(a, f.slot)
	}
}
