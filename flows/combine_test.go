package flows

import (
	"strings"
	"testing"
)

func TestMatchIsByCookie(t *testing.T) {
	server, err := ReadTests(sample(t, "3.12", "sequence.server"))
	if err != nil || len(server) != 5 {
		t.Fatal(len(server), err)
	}
	client := ReadTest(sample(t, "3.12", "sequence-2.client"))
	if got := Match(client, server); got != &server[1] {
		t.Errorf("%+v", got)
	}
	// A server that is ended without a test says so, without a cookie: as does a client refused.
	if got := Match(Test{}, server); got != nil {
		t.Errorf("%+v", got)
	}
}

func TestCombineTellsWhy(t *testing.T) {
	views := func() (client, server Test) {
		client = ReadTest(sample(t, "3.12", "tcp-reverse.client"))
		server = ReadTest(sample(t, "3.12", "tcp-reverse.server"))
		return client, server
	}
	for _, c := range []struct {
		expected string
		change   func(f *Flow, client, server *Test)
	}{
		{"", func(*Flow, *Test, *Test) {}},
		{"ended before the test began", func(_ *Flow, c, _ *Test) { c.Cookie = "" }},
		{"ended before the test began", func(_ *Flow, c, _ *Test) { c.Protocol = "" }},
		{"iperf3's server: the disk is full", func(_ *Flow, _, s *Test) { s.Error = "the disk is full" }},
		{"broke off", func(_ *Flow, c, _ *Test) { c.Whole = false }},
		{"broke off", func(_ *Flow, _, s *Test) { s.Whole = false }},
		{"not of the two ends", func(_ *Flow, _, s *Test) { s.Cookie = "other" }},
		{"not of the two ends", func(_ *Flow, c, s *Test) { *s = *c }},
		{"another test than the flow: tcp, from server to client", func(f *Flow, _, _ *Test) { f.Client.UDP = true }},
		{"another test than the flow", func(f *Flow, _, _ *Test) { f.Client.Reverse = new(bool) }},
		{"no data was received", func(_ *Flow, c, _ *Test) { c.Received.Bytes = 0 }},
		{"2 intervals of 1.01 s in all, expected 4 of 2 s", func(f *Flow, _, _ *Test) { f.Client.Seconds = 2 }},
		{"", func(f *Flow, _, _ *Test) { f.Client.ReportInterval = 0.25 }}, // two late ones cover the time of four
		{"expected 10 of 1 s", func(f *Flow, _, _ *Test) { f.Client.ReportInterval = 0.1 }},
		{"expected 20 of 10 s", func(f *Flow, _, _ *Test) { f.Client.Seconds = 0 }},
		{"the server counts 224133119 bytes, and told the client of 224133120", func(_ *Flow, _, s *Test) { s.Sent.Bytes-- }},
		{"1024 received; 74317542 bytes may be under way", func(_ *Flow, c, _ *Test) { c.Received.Bytes = 1024 }},
		{"224133121 received", func(_ *Flow, c, _ *Test) { c.Received.Bytes = 224133121 }},
		{"", func(_ *Flow, c, s *Test) { c.Received.Bytes, c.Omit, s.Omit = 224133121, 1, 1 }},
	} {
		f := flowOf("tcp-reverse")
		client, server := views()
		c.change(&f, &client, &server)
		got := Combine(f, Start{}, 0, 1, &client, &server).Failed
		if !strings.Contains(got, c.expected) || (got == "") != (c.expected == "") {
			t.Errorf("%q, expected %q", got, c.expected)
		}
	}
	client, server := views()
	if got := Combine(flowOf("tcp-reverse"), Start{}, 0, 1, &client, nil); !strings.Contains(got.Failed, "its view is missing") || got.Received == 0 || len(got.Series) == 0 {
		t.Errorf("without server: %+v", got)
	}
	if got := Combine(flowOf("tcp-reverse"), Start{}, 0, 1, nil, &server); !strings.Contains(got.Failed, "client has not said anything") || got.Sent == 0 {
		t.Errorf("without client: %+v", got)
	}
}

func TestSeriesOfDifferentReportIntervals(t *testing.T) {
	receiver := Test{Protocol: TCP, Intervals: []Interval{{At: 0, Seconds: 1}, {At: 1, Seconds: 1}, {At: 2, Seconds: 1}, {At: 3, Seconds: 1}}}
	often := Test{Intervals: make([]Interval, 9)} // the last one past the receiver's end
	for i := range often.Intervals {
		often.Intervals[i] = Interval{At: float64(i) / 2, Seconds: 0.5, Retransmits: 1, RTT: float64(i)}
	}
	got := series(&receiver, &often, 10)
	for i, expected := range []Interval{
		{At: 10, Seconds: 1, Retransmits: 2, RTT: 1},
		{At: 11, Seconds: 1, Retransmits: 2, RTT: 3},
		{At: 12, Seconds: 1, Retransmits: 2, RTT: 5},
		{At: 13, Seconds: 1, Retransmits: 3, RTT: 8},
	} {
		if got[i] != expected {
			t.Errorf("often: %+v, expected %+v", got[i], expected)
		}
	}
	seldom := Test{Intervals: []Interval{{At: 0, Seconds: 2.5, Retransmits: 4, RTT: 7}, {At: 2.5, Seconds: 1.5, Retransmits: 1, RTT: 9}}}
	got = series(&receiver, &seldom, 0)
	for i, expected := range []Interval{
		{At: 0, Seconds: 1, RTT: 7},
		{At: 1, Seconds: 1, Retransmits: 4, RTT: 7},
		{At: 2, Seconds: 1, RTT: 7},
		{At: 3, Seconds: 1, Retransmits: 1, RTT: 9},
	} {
		if got[i] != expected {
			t.Errorf("seldom: %+v, expected %+v", got[i], expected)
		}
	}
	if receiver.Intervals[0].Retransmits != 0 {
		t.Error("the receiver's own intervals were changed")
	}
}
