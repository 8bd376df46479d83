package flows

import (
	"fmt"
	"strings"
	"testing"
)

func TestExpectationsFile(t *testing.T) {
	es, err := LoadExpectations("e.yaml", []byte(`
flow:
  audio-*: {loss: "<= 1%", jitter: "<=500us"}
class:
  greedy: {throughput: ">= 5.5mbit", rtt: "<= 2s", retransmits: "<= 100", failed: 2}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range es {
		got = append(got, fmt.Sprintf("%s (%v %g)", e.Name(), e.Bound.AtLeast, e.Bound.Limit))
	}
	expected := `flow audio-*: loss <= 1% (false 1)
flow audio-*: jitter <=500us (false 0.5)
flow audio-*: failed <= 0 (false 0)
class greedy: throughput >= 5.5mbit (true 5.5e+06)
class greedy: rtt <= 2s (false 2000)
class greedy: retransmits <= 100 (false 100)
class greedy: failed <= 2 (false 2)`
	if s := strings.Join(got, "\n"); s != expected {
		t.Errorf("got\n%s\nexpected\n%s", s, expected)
	}
}

func TestExpectationsFileWithMistakes(t *testing.T) {
	for src, expected := range map[string]string{
		"":                                  "e.yaml:1: ",
		"flow: {}":                          "e.yaml:1: the file expects nothing",
		"flow:\n  a: {}":                    "e.yaml:2: flow a expects nothing",
		"flow:\n  a: {los: 1}":              "e.yaml:2: unknown key los",
		"flow:\n  'a[': {failed: 0}":        `e.yaml:2: flow "a[" is not a pattern`,
		"flow:\n  a:\n    loss: 1%":         `e.yaml:3: loss of flow a is "1%"`,
		"flow:\n  a:\n    loss: '<= 1'":     `e.yaml:3: loss of flow a is "<= 1"`,
		"flow:\n  a:\n    loss: '<= x%'":    `e.yaml:3: loss of flow a is "<= x%"`,
		"flow:\n  a:\n    loss: '<= -1%'":   `e.yaml:3: loss of flow a is "<= -1%"`,
		"flow:\n  a:\n    rtt: '>= 1.2.3s'": `e.yaml:3: rtt of flow a is`,
		"class:\n  a:\n    rtt: '<= 5mbit'": `e.yaml:3: rtt of class a is "<= 5mbit"`,
		"flows:\n  a: {failed: 0}":          "e.yaml:1: unknown key flows",
	} {
		if _, err := LoadExpectations("e.yaml", []byte(src)); err == nil || !strings.Contains(err.Error(), expected) {
			t.Errorf("%q: %v, expected %s", src, err, expected)
		}
	}
}

func TestVerdicts(t *testing.T) {
	r := Run{Results: []Result{
		{Label: "audio-1", Class: "audio", Protocol: UDP, Received: 1_000_000, Seconds: 8, Packets: 100, Lost: 1, Jitter: 2},
		{Label: "audio-2", Class: "audio", Protocol: UDP, Received: 500_000, Seconds: 8, Packets: 100, Lost: 3, Jitter: 1},
		{Label: "greedy", Class: "greedy", Protocol: TCP, Received: 7_000_000, Seconds: 8, RTT: 40, Retransmits: 7},
		{Label: "greedy", Nth: 1, Class: "greedy", Protocol: TCP, Failed: "no data was received"},
		{Label: "dead", Class: "dead", Protocol: TCP, Failed: "no data was received"},
	}}
	for _, c := range []struct {
		src      string
		ok       bool
		expected string
	}{
		{`flow: {audio-*: {throughput: ">= 500kbit"}}`, true, "500kbit, start 1 of audio-2"},
		{`flow: {audio-*: {throughput: ">= 501kbit"}}`, false, "500kbit, start 1 of audio-2"},
		{`flow: {audio-*: {throughput: "<= 999kbit"}}`, false, "1mbit, start 1 of audio-1"},
		{`flow: {"audio-?": {loss: "<= 3%"}}`, true, "3%, start 1 of audio-2"},
		{`class: {audio: {loss: "<= 2.9%"}}`, false, "3%, start 1 of audio-2"},
		{`class: {audio: {jitter: "<= 2ms"}}`, true, "2ms, start 1 of audio-1"},
		{`class: {audio: {rtt: "<= 2ms"}}`, false, "nothing was measured: no start went through, or none has tcp"},
		{`class: {greedy: {rtt: "<= 0.04s"}}`, true, "40ms, start 1 of greedy"},
		{`class: {greedy: {retransmits: "<= 6"}}`, false, "7, start 1 of greedy"},
		{`class: {greedy: {failed: 1}}`, true, "1 of 2 starts, start 2 of greedy: no data was received"},
		{`class: {greedy: {failed: 0}}`, false, "1 of 2 starts, start 2 of greedy: no data was received"},
		{`flow: {dead: {throughput: "<= 1gbit"}}`, false, "nothing was measured: no start went through"},
		{`flow: {video-*: {loss: "<= 100%"}}`, false, "no such flow ran"},
		{`flow: {"*": {rtt: "<= 40ms"}}`, true, "40ms, start 1 of greedy"},
	} {
		es, err := LoadExpectations("e.yaml", []byte(c.src))
		if err != nil {
			t.Fatal(err)
		}
		if v := es.Judge(r)[0]; v.OK != c.ok || v.Got != c.expected {
			t.Errorf("%s: %v, %q; expected %v, %q", c.src, v.OK, v.Got, c.ok, c.expected)
		}
	}
	es, _ := LoadExpectations("e.yaml", []byte(`class: {greedy: {rtt: "<= 1s"}}`))
	if vs := es.Judge(r); len(vs) != 2 || vs[1].OK {
		t.Errorf("a failed start is expected: %+v", vs)
	}
}
