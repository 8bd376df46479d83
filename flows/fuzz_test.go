package flows

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/mami-project/labctl/topology"
)

// FuzzLoadFlows: whatever a file holds, it is refused with Problems, or its flows can
// be run: their arguments are the options that labctl means, and their files are they.
func FuzzLoadFlows(f *testing.F) {
	for _, pattern := range []string{"mixes/*.yaml", "testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(pattern, err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var l loaded
		l.add("fuzz.yaml", src)
		l.check()
		if err := l.err(); err != nil {
			if ps, ok := errors.AsType[topology.Problems](err); !ok || len(ps) == 0 {
				t.Fatalf("not Problems: %v", err)
			}
			return
		}
		if len(l.flows) == 0 {
			t.Fatal("neither a flow nor a mistake")
		}
		Warnings(l.flows, Path{Up: 1e6, Down: 1e6})
		for _, flow := range l.flows {
			checkRunnable(t, flow)
		}
		if got := Schedule(l.flows); len(got) == 0 {
			t.Error("nothing starts")
		}
	})
}

// Options of iperf3's that stand alone, and those that have a value.
var (
	alone = []string{
		"--json", "--server", "--version4", "--version6", "--forceflush", "--one-off", "--udp", "--reverse", "--no-delay", "--zerocopy", "--udp-counters-64bit",
	}
	valued = []string{
		"--client", "--port", "--bind", "--interval", "--time", "--bytes", "--blockcount", "--omit", "--bitrate", "--fq-rate", "--length", "--window",
		"--parallel", "--cport", "--connect-timeout", "--pacing-timer", "--set-mss", "--congestion", "--tos", "--title",
	}
)

func checkRunnable(t *testing.T, f Flow) {
	if !fileName.MatchString(f.Label) || f.Class == "" || f.Line < 1 || len(f.Client.At) == 0 || f.Server.At > f.Client.At[0] || f.Client.Port != f.Server.Port {
		t.Errorf("%#v", f)
	}
	for _, args := range [][]string{f.ClientArgs(client4, server4), f.ServerArgs(server6)} {
		for i := 0; i < len(args); i++ {
			switch a := args[i]; {
			case slices.Contains(alone, a):
			case slices.Contains(valued, a) && i+1 < len(args):
				i++
				if v := args[i]; v == "" || strings.HasPrefix(v, "-") || strings.ContainsFunc(v, unicode.IsControl) {
					t.Errorf("%s is %q", a, v)
				}
			default:
				t.Errorf("%q in %q", a, args)
			}
		}
	}
	text, err := f.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if got, doc := parseFlow("again.yaml", text); doc.Err() != nil || !slices.Equal(got.ClientArgs(client4, server4), f.ClientArgs(client4, server4)) || !slices.Equal(got.Client.At, f.Client.At) {
		t.Errorf("%v\n%s", doc.Err(), text)
	}
}
