package main

import (
	"testing"
	"time"
)

func TestOnlyWhatStoodStillIsJoined(t *testing.T) {
	at := func(id, fate string, start, last time.Duration) line {
		return line{ID: id, Fate: fate, Start: time.Unix(0, 0).Add(start), Steps: []step{{T: 0}, {T: last}}}
	}
	const ms = time.Millisecond
	all := joined([]line{
		at("stood", "forwarded", 0, 10*ms), at("stood", "delivered", 300*ms, ms),
		at("twice", "forwarded", 0, 10*ms), at("twice", "delivered", 100*ms, ms),
		at("ended", "delivered", 0, ms), at("ended", "delivered", 400*ms, ms),
	})
	count := map[string]int{}
	for _, j := range all {
		count[j.ID]++
	}
	if count["stood"] != 1 || count["twice"] != 2 || count["ended"] != 2 {
		t.Errorf("%v", count)
	}
	if len(all[0].Steps) != 4 || all[0].Fate != "delivered" {
		t.Errorf("%+v", all[0])
	}
}
