package flows

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestJUnit(t *testing.T) {
	r := ran(t)
	r.Manifest.Captures = []Account{{Node: "tshark", Of: "client", Mirrored: Frames{Frames: 10}, Written: Frames{Frames: 9}, Failed: "disk full"}}
	r.Manifest.Before = []Offset{{Node: "client", Milli: 0.2, Uncertainty: 0.1}}
	r.Manifest.After = []Offset{{Node: "client", Milli: -1.5, Uncertainty: 0.1}, {Node: "server", Failed: "the agent is lost"}}
	r.Manifest.Stored = &Stored{Database: "trafic", Points: 10, Counted: 9}
	r.Results[2].Failed = "a <guest's> word\x00\x1b[31m"
	es, err := LoadExpectations("e.yaml", []byte(`flow: {udp-*: {loss: "<= 1%"}}`))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := JUnit(&b, r, es.Judge(r)); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/junit.xml", b.String())
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestJUnitOfAnUntrustedRun(t *testing.T) {
	var b strings.Builder
	r := Run{Manifest: Manifest{State: Interrupted, Wrong: []string{"7 frames are missing"}}}
	if err := JUnit(&b, r, nil); err != nil {
		t.Fatal(err)
	}
	for _, expected := range []string{"has not come to its end: interrupted", "not to be trusted: 7 frames are missing", `failures="1" errors="0" skipped="3"`} {
		if !strings.Contains(b.String(), expected) {
			t.Errorf("no %q in\n%s", expected, b.String())
		}
	}
}
