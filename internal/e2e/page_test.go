package main

import (
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/lab/fault"
)

// TestPagesAreTried: each command of `explain` whose cause the lab can show is tried in one of its scenarios, or says why
// not; and the lab knows where, and what each placeholder stands for.
func TestPagesAreTried(t *testing.T) {
	for _, d := range diagnose.Codes() {
		shown := pagesOf(d)
		for _, l := range slices.Concat(d.Confirm, d.Fix) {
			if l.Command == "" || len(shown) == 0 || unplayed(l) != "" {
				continue
			}
			tried := slices.IndexFunc(shown, func(p page) bool { return len(p.shown([]diagnose.Line{l})) > 0 })
			if tried < 0 {
				t.Errorf("%s: %s: the lab has no %s of that cause", d.Code, l.Command, l.Lab)
				continue
			}
			p := shown[tried]
			if p.placeOf(l) == "" {
				t.Errorf("%s: %s: where is %s?", d.Code, l.Command, l.On)
			}
			for _, word := range p.missing(l.Command) {
				t.Errorf("%s: %s: what does %s stand for in %s?", d.Code, l.Command, word, p.scenario.Name)
			}
		}
	}
	for name := range stands {
		if s, ok := fault.Named(name); !ok {
			t.Errorf("the lab has no %s", name)
		} else if _, ok := pageOf(s); !ok {
			t.Errorf("no page is tried in %s", name)
		}
	}
}

// missing are the placeholders of a command that stand for nothing in the scenario.
func (p page) missing(command string) (all []string) {
	diagnose.Fill(strings.ReplaceAll(command, "via GATEWAY", ""), func(word string) (string, bool) {
		own := stands[p.scenario.Name]
		_, value := own.words[word]
		_, number := own.numbers[word]
		_, known := common[word]
		if slices.ContainsFunc(diagnose.Placeholders(), func(p diagnose.Placeholder) bool { return p.Word == word }) && !value && !number && !known && word != "NETNS" {
			all = append(all, word)
		}
		return "", false
	})
	return all
}
