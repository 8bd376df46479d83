package topology

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocument: what lab files do not use is read as strictly: numbers with a
// fraction, and keys that hold anchors alone.
func TestDocument(t *testing.T) {
	type file struct {
		Number float64  `yaml:"number"`
		Kept   float64  `yaml:"kept"`
		Any    any      `yaml:"any"`
		_      struct{} `yaml:",scratch"`
	}
	for src, want := range map[string]struct {
		number float64
		err    string
	}{
		"number: 0.25":                          {0.25, ""},
		"number: 3":                             {3, ""},
		"any: [1, {a: b}]\nnumber: 1e3":         {1000, ""},
		"held: &h 2.5\nnumber: *h":              {2.5, ""},
		"number: three":                         {7, "f.yaml:1: number is three\n  expected a number, without quotes"},
		"number: '3'":                           {7, "f.yaml:1: number is 3\n  expected a number, without quotes"},
		"any: 1\nnumber: .inf":                  {7, "f.yaml:2: number is .inf\n  expected a number, without quotes"},
		"number: .nan":                          {7, "f.yaml:1: number is .nan\n  expected a number, without quotes"},
		"number: [1]":                           {7, "f.yaml:1: number is a list\n  expected a single value"},
		"held: 1\nnumber: 1":                    {1, "f.yaml:1: unknown key held\n  keys: any, kept, number"},
		"held: {deep: &h 2}\nnumber: *h\nany: ": {2, "f.yaml:1: unknown key held\n  keys: any, kept, number"},
	} {
		f := file{Number: 7, Kept: 1.5}
		doc := ReadDocument("f.yaml", []byte(src), "test", "", &f)
		got := ""
		if err := doc.Err(); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(want.err, got); diff != "" || f.Number != want.number || f.Kept != 1.5 {
			t.Errorf("%q is %v and %v, want %v and 1.5 %s", src, f.Number, f.Kept, want.number, diff)
		}
	}
}

func TestDocumentLine(t *testing.T) {
	var f struct {
		A []string `yaml:"a"`
	}
	doc := ReadDocument("f.yaml", []byte("\na:\n  - x\n  - y\n"), "test", "", &f)
	for want, path := range map[int][]any{2: {"a"}, 3: {"a", 0}, 4: {"a", 1}} {
		if got := doc.Line(path...); got != want {
			t.Errorf("%v is on line %d, want %d", path, got, want)
		}
	}
	if got := ReadDocument("f.yaml", nil, "test", "", &f).Line("a"); got != 1 {
		t.Errorf("an empty file has a line %d", got)
	}
}
