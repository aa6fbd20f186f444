package screen

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// obeyed are characters of every kind that is, and how they are shown.
var obeyed = map[string]string{
	"a control character":                  "\x1b|" + `\x1b`,
	"the end of a line":                    "\n|" + `\n`,
	"a carriage return":                    "\r|" + `\r`,
	"a tabulator":                          "\t|" + `\t`,
	"DEL":                                  "\x7f|" + `\x7f`,
	"a C1 control character":               "\u009b|" + `\u009b`,
	"an Arabic letter mark":                "\u061c|" + `\u061c`,
	"a space of no width":                  "\u200b|" + `\u200b`,
	"a joiner of no width":                 "\u200d|" + `\u200d`,
	"a mark of the left-to-right kind":     "\u200e|" + `\u200e`,
	"an override of the order":             "\u202e|" + `\u202e`,
	"an isolate of another order":          "\u2066|" + `\u2066`,
	"the end of one":                       "\u2069|" + `\u2069`,
	"a separator of lines":                 "\u2028|" + `\u2028`,
	"a separator of paragraphs":            "\u2029|" + `\u2029`,
	"a word joiner":                        "\u2060|" + `\u2060`,
	"a mark of the order of bytes":         "\ufeff|" + `\ufeff`,
	"a variation selector":                 "\ufe0f|" + `\ufe0f`,
	"a letter that fills nothing":          "\u3164|" + `\u3164`,
	"a tag":                                "\U000e0041|" + `\U000e0041`,
	"a character that stands for a colour": "\ufdd0|" + `\ufdd0`,
	"a byte that is no UTF-8":              "\xff|" + `\xff`,
	"half a character":                     "\xe2\x86|" + `\xe2\x86`,
}

func TestWhatATerminalObeysIsShown(t *testing.T) {
	for name, test := range obeyed {
		raw, shown, _ := strings.Cut(test, "|")
		if got := Clean("a" + raw + "b"); got != "a"+shown+"b" {
			t.Errorf("%s: Clean has %q", name, got)
		}
		if got := guarded(t, false, "a"+raw+"b"); got != "a"+shown+"b" && raw != "\n" && raw != "\t" {
			t.Errorf("%s: Writer has %q", name, got)
		}
	}
}

func TestASentenceRepeatsShortWhatItRepeats(t *testing.T) {
	x := strings.Repeat("x", 1000)
	for s, want := range map[string]string{
		`replay "a b": line 1: ParseAddr("\x1b"): unable`:  `replay "a b": line 1: ParseAddr("\x1b"): unable`,
		"a control character \x1b":                         `a control character \x1b`,
		`ParseAddr("` + x + `"): unable to parse IP`:       `ParseAddr("` + x[:61] + `…"): unable to parse IP`,
		`ParseAddr("x x \"` + x + `" y`:                    `ParseAddr("x x \"` + x[:55] + `…" y`,
		`kind "` + x:                                       `kind "` + x[:61] + `…"`,
		"cannot unmarshal number " + x + ": into Go value": "cannot unmarshal number " + x[:63] + "…: into Go value",
		strings.Repeat(`"", `, 40):                         strings.Repeat(`"", `, 40),
	} {
		if got := Brief(s); got != want {
			t.Errorf("%q is\n%q, want\n%q", s, got, want)
		}
	}
}

func TestTextOfPeopleStaysAsItIs(t *testing.T) {
	for _, s := range []string{"eth0", "10.0.0.7:41522 → 10.99.0.1:80", "38 µs · 5 ×", "Größe", "日本", `C:\`, "�"} {
		if got := Clean(s); got != s {
			t.Errorf("Clean: %q is %q", s, got)
		}
		if got := guarded(t, false, s+"\n\tx\n"); got != s+"\n\tx\n" {
			t.Errorf("Writer: %q is %q", s, got)
		}
	}
}

// guarded is what a Writer makes of some writes.
func guarded(t *testing.T, colours bool, writes ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, colours)
	for _, s := range writes {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("%q: %d, %v", s, n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestACharacterMayComeInTwoWrites(t *testing.T) {
	text := "a→µ😀\u202e\xff\xe2\x86"
	want := guarded(t, false, text)
	for i := range len(text) {
		if got := guarded(t, false, text[:i], text[i:]); got != want {
			t.Errorf("%q and %q are %q", text[:i], text[i:], got)
		}
	}
	if got := guarded(t, false, strings.Split(text, "")...); got != want {
		t.Errorf("one by one: %q", got)
	}
	if want != `a→µ😀\u202e\xff\xe2\x86` {
		t.Errorf("%q", want)
	}
}

func TestOnlyAPageHasColours(t *testing.T) {
	p := Page{Colours: true}
	p.Printf("a %s ", "\x1b[31m\ufdd0\n")
	p.Paint(Red, "red\ufdd1\x1b[0m")
	p.Linef("")
	const want = `a \x1b[31m\ufdd0\n ` + "\x1b[31m" + `red\ufdd1\x1b[0m` + "\x1b[0m\n"
	if got := guarded(t, true, p.String()); got != want {
		t.Errorf("%q", got)
	}
	if got := guarded(t, false, p.String()); strings.Contains(got, "\x1b") {
		t.Errorf("a stream without colours has %q", got)
	}
	p = Page{}
	p.Paint(Red, "red")
	if p.String() != "red" {
		t.Errorf("a page without colours has %q", p.String())
	}
}

// broken is a stream that fails.
type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestAnErrorOfTheStreamIsRemembered(t *testing.T) {
	full := errors.New("no space left")
	w := NewWriter(broken{full}, false)
	if _, err := w.Write([]byte("x")); !errors.Is(err, full) {
		t.Errorf("Write: %v", err)
	}
	if err := w.Close(); !errors.Is(err, full) {
		t.Errorf("Close: %v", err)
	}
}

// stuck is a stream that takes nothing.
type stuck struct{ asked chan struct{} }

func (s stuck) Write([]byte) (int, error) {
	close(s.asked)
	select {}
}

func TestAStuckStreamIsNotWaitedFor(t *testing.T) {
	s := stuck{make(chan struct{})}
	w := NewWriter(s, false)
	go w.Write([]byte("x"))
	<-s.asked
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnderAWriterIsItsStream(t *testing.T) {
	var b bytes.Buffer
	if Under(NewWriter(&b, false)) != &b || Under(&b) != &b || Under(nil) != nil {
		t.Error("it is another")
	}
}

func TestQuotedTextIsShort(t *testing.T) {
	for s, want := range map[string]string{
		"":                       `""`,
		"web":                    `"web"`,
		`a"b\c`:                  `"a\"b\\c"`,
		"\x1b[31m\u202e":         `"\x1b[31m\u202e"`,
		strings.Repeat("x", 62):  `"` + strings.Repeat("x", 62) + `"`,
		strings.Repeat("x", 63):  `"` + strings.Repeat("x", 61) + `…"`,
		strings.Repeat("→", 900): `"` + strings.Repeat("→", 61) + `…"`,
		strings.Repeat("\n", 99): `"` + strings.Repeat(`\n`, 30) + `…"`,
	} {
		if got := Quote(s); got != want {
			t.Errorf("%q is %s, not %s", s, got, want)
		}
	}
}

func TestJSONIsTheSameStringInOtherLetters(t *testing.T) {
	for name, test := range obeyed {
		raw, _, _ := strings.Cut(test, "|")
		text := "a<" + raw + ">b→"
		var b bytes.Buffer
		if err := JSON(&b, map[string]string{text: text}); err != nil {
			t.Fatal(err)
		}
		line := b.String()
		var again bytes.Buffer
		own, _ := json.Marshal(map[string]string{text: text})
		if n, err := JSONLines(&again).Write(append(own, '\n')); n != len(own)+1 || err != nil || strings.ContainsFunc(again.String()[:again.Len()-1], IsObeyed) {
			t.Errorf("%s: JSON of others is %q, %d, %v", name, again.String(), n, err)
		}
		if back := map[string]string{}; json.Unmarshal(again.Bytes(), &back) != nil || len(back) != 1 {
			t.Errorf("%s: JSON of others is %q", name, again.String())
		}
		if got := guarded(t, false, line); got != line {
			t.Errorf("%s: a Writer has to change %q", name, line)
		}
		var back map[string]string
		valid := strings.ToValidUTF8(raw, "�")
		if raw == "\xe2\x86" {
			valid = "��"
		}
		if want := "a<" + valid + ">b→"; json.Unmarshal(b.Bytes(), &back) != nil || back[want] != want {
			t.Errorf("%s: %q is %q", name, text, back)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, test := range obeyed {
		f.Add(test)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, IsObeyed) {
			t.Errorf("Clean: %q", got)
		}
		if again := Clean(got); again != got {
			t.Errorf("cleaned again %q is %q", got, again)
		}
		if quoted := Quote(s); strings.ContainsFunc(quoted, IsObeyed) || utf8.RuneCountInString(quoted) > 64 {
			t.Errorf("Quote: %s", quoted)
		}
		want := strings.NewReplacer(`\n`, "\n", `\t`, "\t")
		if strings.ContainsAny(s, `\`) {
			return
		}
		if whole := guarded(t, false, s); whole != want.Replace(got) {
			t.Errorf("Writer: %q, Clean: %q", whole, got)
		}
	})
}
