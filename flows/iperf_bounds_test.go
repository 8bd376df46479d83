package flows

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	testStart = `{"start":{"cookie":"c","connecting_to":{},"test_start":{"protocol":"TCP","num_streams":1,"reverse":1}},`
	testSum   = `"streams":[{"sender":false}],"sum":{"start":0,"end":1,"seconds":1,"bytes":5`
)

func TestReadTestsRefuses(t *testing.T) {
	interval := func(sum string) string { return testStart + `"intervals":[{` + sum + `}]}` }
	for src, expected := range map[string]string{
		"":                         "iperf3 wrote nothing",
		" \n":                      "iperf3 wrote nothing",
		"iperf3: error - no route": "no route",
		"Usage: iperf3 [-s|-c host] [options]\niperf3: parameter error - block size too large\n": "parameter error - block size too large",
		"\x1b[31mbang":                             "[31mbang",
		`[1]`:                                      "[1]",
		testStart:                                  "cut short",
		interval(testSum + `}`)[:180]:              "cut short",
		testStart + `"intervals":[`:                "cut short",
		testStart + `"intervals":{}}`:              "expected [",
		`{"start":5}`:                              "start in iperf3's JSON",
		`{"end":[]}`:                               "end in iperf3's JSON",
		`{"error":{}}`:                             "error in iperf3's JSON",
		interval(`"streams":[]`):                   "has no sum",
		interval(testSum + `,"retransmits":-1}`):   "-1 is not a number between 0 and 1e+15",
		interval(testSum + `,"jitter_ms":null}`):   "null is not a number",
		interval(testSum + `,"retransmits":1e16}`): "1e16 is not a number",
		interval(testSum + `,"jitter_ms":"5"}`):    `"5" is not a number`,
		interval(testSum + `,"jitter_ms":NaN}`):    "invalid character 'N'",
		interval(testSum + `,"x":"` + strings.Repeat("x", largestPart) + `"}`):        "expected at most 1048576",
		interval(`"streams":[` + strings.Repeat("{},", mostStreams) + `{}],"sum":{}`): "129 streams",
		strings.Replace(testStart, `"num_streams":1`, `"num_streams":129`, 1):         "129 streams",
		strings.Replace(testStart, "TCP", "SCTP", 1):                                  "a test of sctp, expected tcp or udp",
		strings.Replace(testStart, `"reverse":1`, `"bidir":1`, 1):                     "bidirectional",
		strings.Repeat("{}", mostTests+1):                                             "more than 10000 tests",
	} {
		tests, err := ReadTests(strings.NewReader(src))
		if err == nil || !strings.Contains(err.Error(), expected) {
			t.Errorf("%.100s: %v, expected %q", src, err, expected)
		}
		if strings.HasPrefix(src, "{") && len(tests) == 0 {
			t.Errorf("%.100s: the test is left out", src)
		}
	}
}

func TestReadTestsIsBounded(t *testing.T) {
	for expected, src := range map[string]string{
		"more than 200000 intervals": testStart + `"intervals":[` + strings.Repeat(`{"sum":{}},`, mostIntervals+1),
		"more than 64 MiB":           strings.Repeat(" ", largestOutput+1),
	} {
		if _, err := ReadTests(strings.NewReader(src)); err == nil || !strings.Contains(err.Error(), expected) {
			t.Errorf("%v, expected %q", err, expected)
		}
	}
}

func TestCutShortKeepsWhatThereIs(t *testing.T) {
	src, err := io.ReadAll(sample(t, "3.12", "sequence.server"))
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(src), `"retransmits"`)
	tests, err := ReadTests(strings.NewReader(string(src[:at])))
	if err == nil || len(tests) != 4 {
		t.Fatalf("%d tests, %v", len(tests), err)
	}
	for i, x := range tests {
		if cut := i == 3; (x.Error != "") != cut || len(x.Intervals) == 0 || x.Cookie == "" {
			t.Errorf("test %d: %q with %d intervals", i, x.Error, len(x.Intervals))
		}
	}
}

// At any place where iperf3's output may end, it is read as far as it goes, and told to be cut short.
func TestCutAnywhere(t *testing.T) {
	src, err := io.ReadAll(sample(t, "3.18", "udp-reverse.client"))
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.TrimSpace(string(src))
	for n := 0; n < len(whole); n += 11 {
		if x := ReadTest(strings.NewReader(whole[:n])); x.Error == "" {
			t.Fatalf("cut at %d, it is taken for whole", n)
		}
	}
}

func TestSeveralTestsOfAClient(t *testing.T) {
	if x := ReadTest(sample(t, "3.12", "sequence.server")); !strings.Contains(x.Error, "5 tests, expected one") {
		t.Error(x.Error)
	}
}

func FuzzReadTests(f *testing.F) {
	files, err := filepath.Glob("testdata/iperf/*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		tests, err := ReadTests(strings.NewReader(string(src)))
		if err == nil && len(tests) == 0 {
			t.Error("nothing was read, without an error")
		}
		for i := range tests {
			x := &tests[i]
			last := 0.0
			for _, i := range x.Intervals {
				if i.Bytes < 0 || i.Seconds < 0 || i.At < last || i.At > largest {
					t.Errorf("interval %+v", i)
				}
				last = i.At
			}
			Combine(flowOf("tcp-reverse"), Start{}, 0, 1, x, Match(*x, tests))
			Combine(flowOf("udp-upload"), Start{}, 0, 1, x, Match(*x, tests))
		}
	})
}
