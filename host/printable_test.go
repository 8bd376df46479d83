package host

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"a b\tc\nd":                   "a b\tc\nd",
		"a\r\nb":                      "a\nb",
		"\x1b[31mred\x1b[0m":          "?[31mred?[0m",
		"\x1b]0;title\x07":            "?]0;title?",
		"\u009b31m":                   "?31m", // C1: the same escape in one character
		"\x00\x7f":                    "??",
		"\u202eabc":                   "?abc", // turns the reading direction round
		"größer → 試験":                 "größer → 試験",
		"\xff\x9b31m\xc3":             "\ufffd\ufffd31m\ufffd",
		"\u200bzero width\u2028 line": "?zero width? line",
	} {
		if got := Printable([]byte(in)); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestExcerptIsTheEnd(t *testing.T) {
	got := Excerpt([]byte("begin " + strings.Repeat("x", 10_000) + " end\r\n\n"))
	if strings.Contains(got, "begin") || !strings.HasSuffix(got, "x end") || len(got) > excerptMost || len(got) < excerptMost-4 {
		t.Errorf("%d bytes: %.20q … %.20q", len(got), got, got[max(0, len(got)-20):])
	}
	if got := Excerpt([]byte("  short \n")); got != "short" {
		t.Errorf("%q", got)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add([]byte("\x1b[31m\u009b\xff\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, s := range []string{Printable(text), Excerpt(text)} {
			if !utf8.ValidString(s) {
				t.Errorf("%q is not UTF-8", s)
			}
			for _, r := range s {
				if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
					t.Errorf("%q holds %q", s, r)
				}
			}
		}
		if n := utf8.RuneCountInString(Excerpt(text)); n > excerptMost {
			t.Errorf("an excerpt of %d characters", n)
		}
	})
}
