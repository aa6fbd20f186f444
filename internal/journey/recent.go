package journey

import "container/list"

// recent is a bounded table that forgets what was not asked for the longest time.
type recent[K comparable, V any] struct {
	limit   int
	entries map[K]*list.Element
	order   *list.List // of entry, the most recent in front
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	return &recent[K, V]{limit: limit, entries: map[K]*list.Element{}, order: list.New()}
}

func (r *recent[K, V]) get(k K) (v V, ok bool) {
	e, ok := r.entries[k]
	if !ok {
		return v, false
	}
	r.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

func (r *recent[K, V]) put(k K, v V) {
	if e, ok := r.entries[k]; ok {
		e.Value.(*entry[K, V]).value = v
		r.order.MoveToFront(e)
		return
	}
	r.entries[k] = r.order.PushFront(&entry[K, V]{k, v})
	if r.order.Len() > r.limit {
		oldest := r.order.Back()
		r.order.Remove(oldest)
		delete(r.entries, oldest.Value.(*entry[K, V]).key)
	}
}
