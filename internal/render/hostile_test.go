package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// hostile is text that wants to be more than text: a window's title, a colour of ours, another order, nothing to see, and a line of its own.
const hostile = "h\x1b]0;x\a\x1b[31m\u009b2J\x7f\u061c\u200b\u200f\u202e\u2028\u2029\u2066\u2060\ufe0f\ufeff\ufdd0\U000e0001\r\t\n<&>\\\"'"

// filled has a text in every string that there is, also in the zone of every address, and one element in each list.
func filled[T any](text string) (v T) {
	fill(reflect.ValueOf(&v).Elem(), text)
	return v
}

func fill(v reflect.Value, text string) {
	switch {
	case !v.CanSet():
		return
	case v.Type() == reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.MustParseAddr("fe80::1").WithZone(text)))
		return
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1e9, 0)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	}
}

// verdicts are a journey of every kind that is told in other words.
func verdicts(text string) (all []diagnose.Verdict) {
	for _, fate := range []journey.Fate{journey.Dropped, journey.Vanished, journey.Fate(text)} {
		v := filled[diagnose.Verdict](text)
		v.Fate = fate
		all = append(all, v)
	}
	all[1].Reject.By, all[2].Packet.Inner.Protocol, all[2].Packet.HasPorts = journey.ByICMP, protoTCP, false
	return all
}

// accounts are one of a run with losses, and one of a run without a packet.
func accounts(text string) []journey.Account {
	losses, nothing := filled[journey.Account](text), filled[journey.Account](text)
	for _, fate := range []journey.Fate{journey.Dropped, journey.Vanished, journey.Delivered} {
		site := losses.Sites[0]
		site.Fate = fate
		losses.Sites = append(losses.Sites, site)
	}
	nothing.Journeys, nothing.Probes[0].Mechanism = 0, ""
	nothing.Totals.Inner = append(nothing.Totals.Inner, event.Destination{Addr: netip.MustParseAddr("fe80::2%" + text), Tunnelled: true})
	return []journey.Account{losses, nothing}
}

func tell(t *testing.T, text string, out interface {
	Journey(diagnose.Verdict) error
	Account(journey.Account) error
}) {
	t.Helper()
	var err error
	for i, v := range verdicts(text) {
		v.Start = v.Start.Add(time.Duration(i) * 2 * time.Second)
		err = errors.Join(err, out.Journey(v), out.Journey(v)) // on a terminal the second one is counted
	}
	for _, a := range accounts(text) {
		err = errors.Join(err, out.Account(a))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTextOfOthersIsTextOnly(t *testing.T) {
	for name, opts := range map[string]TextOptions{
		"piped":                {Stack: true},
		"on a terminal":        {Stack: true, Terminal: true},
		"on a narrow terminal": {Stack: true, Terminal: true, Width: 1},
	} {
		t.Run(name, func(t *testing.T) {
			say := func(text string) string {
				var b strings.Builder
				opts.Netns = func(uint32) string { return text }
				tell(t, text, NewText(&b, opts))
				return b.String()
			}
			got, harmless := say(hostile+"\xff"), say("h")
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && screen.IsObeyed(r) }) {
				t.Errorf("a terminal would obey %q", got)
			}
			if want := strings.Count(harmless, "\n"); strings.Count(got, "\n") != want {
				t.Errorf("there are %d lines for %d:\n%s", strings.Count(got, "\n"), want, got)
			}
			if !strings.Contains(got, `h\x1b]0;x\a\x1b[31m\u009b2J`) {
				t.Errorf("what was meant can't be seen in %s", got)
			}
		})
	}
}

func TestTextOfOthersHasNoColour(t *testing.T) {
	say := func(text string) string {
		var b strings.Builder
		tell(t, text, NewText(screen.NewWriter(&b, true), TextOptions{Stack: true, Color: true, Netns: func(uint32) string { return text }}))
		return b.String()
	}
	got, harmless := say(hostile), say("h")
	if want := strings.Count(harmless, "\x1b"); strings.Count(got, "\x1b") != want || want == 0 {
		t.Errorf("there are %d colours for %d: %q", strings.Count(got, "\x1b"), want, got)
	}
}

func TestJSONKeepsTextOfOthersWithoutItsCharacters(t *testing.T) {
	say := func(text string) string {
		var b bytes.Buffer
		out := NewJSON(&b)
		out.Stack = true
		tell(t, text, out)
		return b.String()
	}
	got := say(hostile)
	for line := range strings.Lines(got) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), screen.IsObeyed) {
			t.Errorf("a terminal would obey %q", line)
		}
	}
	want := parsed(t, say("HOSTILE"))
	for i, v := range want {
		want[i] = replaced(v, "HOSTILE", hostile)
	}
	if back := parsed(t, got); !reflect.DeepEqual(back, want) {
		t.Errorf("got  %q\nwant %q", back, want)
	}
	if back := parsed(t, say("a\xffb")); !reflect.DeepEqual(back, parsed(t, say("a\ufffdb"))) {
		t.Errorf("a byte that is no UTF-8 is not seen in %q", back)
	}
}

func parsed(t *testing.T, lines string) (all []any) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		all = append(all, v)
	}
	return all
}

// replaced is what was parsed with another text in every string.
func replaced(v any, old, text string) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, old, text)
	case []any:
		for i := range v {
			v[i] = replaced(v[i], old, text)
		}
	case map[string]any:
		for key := range v {
			v[key] = replaced(v[key], old, text)
		}
	}
	return v
}
