package flows

import (
	"os"
	"testing"
)

// TestExamples: the flows and expectations of the example for CI are read, nothing is
// said against them, and each expectation is of a flow.
func TestExamples(t *testing.T) {
	fs, err := Load("../examples/ci/flows")
	if err != nil || len(fs) < 2 {
		t.Fatalf("%d flows, %v", len(fs), err)
	}
	if w := Warnings(fs, Path{}); len(w) > 0 {
		t.Error(w)
	}
	const file = "../examples/ci/expect.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	expected, err := LoadExpectations(file, text)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]bool{}
	for _, f := range fs {
		of[f.Label] = true
	}
	for _, e := range expected {
		if !of[e.Of] {
			t.Errorf("something is expected of %s, which is no flow", e.Of)
		}
	}
}
