package flows

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/topology"
)

// TestBadFiles holds the messages for every kind of mistake, in files and in folders of them.
func TestBadFiles(t *testing.T) {
	all, err := filepath.Glob("testdata/bad/*")
	if err != nil || len(all) == 0 {
		t.Fatal("no bad files:", err)
	}
	for _, path := range all {
		if strings.HasSuffix(path, ".out") {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			_, err := Load(path)
			ps, ok := errors.AsType[topology.Problems](err)
			if !ok {
				t.Fatalf("got %v, want Problems", err)
			}
			for _, p := range ps {
				if p.Hint == "" || p.Line < 1 || strings.ContainsAny(p.Msg+p.Hint, "\n\x1b") {
					t.Errorf("no hint, no line, or several: %#v", p)
				}
				for _, leak := range []string{"flows.", "!!", "unmarshal", "Inf"} {
					if strings.Contains(p.Msg+p.Hint, leak) {
						t.Errorf("%q stands in: %s", leak, p)
					}
				}
			}
			golden(t, "testdata/bad/"+name+".out", err.Error()+"\n")
		})
	}
}

// load reads files of a folder made for this test: names and texts in turn.
func load(t *testing.T, files ...string) ([]Flow, error) {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		file := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	flows, err := Load(dir)
	for i, f := range flows {
		flows[i].File = strings.TrimPrefix(f.File, dir+"/")
	}
	return flows, err
}

// flow is the text of a flow file.
func flow(label, port, at, config string) string {
	return "label: " + label + "\nclient: {at: [" + at + "], config: {server-address: s, server-port: " + port + ", " + config + "}}\nserver: {at: [0s], config: {server-port: " + port + "}}\n"
}

// TestLoadFolder: every file below counts, by its place, and what begins with a dot does not.
func TestLoadFolder(t *testing.T) {
	flows, err := load(t,
		"b.yaml", flow("b", "2", "0s", ""), "a/z.yaml", flow("z", "3", "0s", ""), "a/README.md", "no flow",
		".git/x.yaml", "no flow", ".x.yaml", "no flow", "c.yaml", "total-bandwidth: 1MB\ntotal-time: 5s\nflows: [{kind: scavenger, percent-bandwidth: 100, ports-range: 7-9}]\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range flows {
		got = append(got, f.File+" "+f.Label)
	}
	if diff := cmp.Diff([]string{"a/z.yaml z", "b.yaml b", "c.yaml scavenger"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestLoadRefuses what is there and is not read.
func TestLoadRefuses(t *testing.T) {
	many := []string{}
	for i := range mostFiles + 1 {
		many = append(many, "f"+time.Duration(i).String()+".yaml", "x")
	}
	mix := func(label, ports string) string {
		return "total-bandwidth: 80MB\ntotal-time: 5s\nflows: [{kind: web-page, percent-bandwidth: 99, ports-range: " + ports + ", props: {label: " + label + "}}]\n"
	}
	days := "total-bandwidth: 13MB\ntotal-time: 24h\nflows: [{kind: web-page, percent-bandwidth: 100, ports-range: 1-1000}]\n"
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"no flows": {[]string{"README.md", ""}, "there are no flows in the folder"},
		"yml":      {[]string{"a.yml", ""}, "the file's name ends in .yml"},
		"large":    {[]string{"a.yaml", strings.Repeat("#", largestFile+1)}, "the file has 8 MiB"},
		"files":    {many, "1001 files"},
		"flows":    {[]string{"a.yaml", mix("a", "1-1000"), "b.yaml", mix("b", "1001-2000")}, "1240 flows"},
		"starts":   {[]string{"a.yaml", days}, "more than 100000 starts, up to those of flow web-page-012"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.files...)
			if _, ok := errors.AsType[topology.Problems](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.300v, want %s", err, c.want)
			}
		})
	}
	if _, err := Load("testdata/nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestLoadTraficsSets: the files of one kind share a label there, and their names tell them apart.
func TestLoadTraficsSets(t *testing.T) {
	text := func(port, at string) string {
		return "\n\nlabel: &l abr-video\n\nport: &p " + port + "\n\ninstances: &i 1\n\nclient:\n  at:\n    - " + at + "\n  config:\n" +
			"    server-address: iperf-server\n    server-port: *p\n    title: *l\n    bytes: 1.8M\n    parallel: *i\n    reverse: true\n    report-interval-s: 0.200000\n" +
			"server:\n  at:\n    - 0s\n  config:\n    server-port: *p\n    report-interval-s: 0.200000\n"
	}
	flows, err := load(t, "abr-video-0.yaml", text("5400", "3s"), "abr-video-1.yaml", text("5401", "8s"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Flow{}
	for i, label := range []string{"abr-video-0", "abr-video-1"} {
		common := Config{Port: 5400 + i, ReportInterval: 0.2}
		want = append(want, Flow{
			Label: label, Class: "abr-video", File: label + ".yaml", Line: 3,
			Client: Client{
				At:           []time.Duration{[]time.Duration{3 * time.Second, 8 * time.Second}[i]},
				ClientConfig: ClientConfig{Config: common, ServerAddress: "iperf-server", Title: "abr-video", Bytes: "1.8M", Parallel: 1, Reverse: new(true)},
			},
			Server: Server{ServerConfig: ServerConfig{Config: common}},
		})
	}
	if diff := cmp.Diff(want, flows); diff != "" {
		t.Error(diff)
	}
}

func TestClassOf(t *testing.T) {
	for label, want := range map[string]string{"abr-video-12": "abr-video", "web_3": "web", "lola5000": "lola", "greedy": "greedy", "7": "7", "a-1-2": "a-1"} {
		if got := classOf(label); got != want {
			t.Errorf("class of %s is %s, want %s", label, got, want)
		}
	}
}

// TestWrittenIsRead: a flow's file is read as that flow, whatever its keys.
func TestWrittenIsRead(t *testing.T) {
	flows, err := Load("testdata/good", "mixes/load-90.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flows {
		text, err := f.YAML()
		if err != nil {
			t.Fatal(err)
		}
		got, doc := parseFlow(f.File, text)
		if doc.Err() != nil {
			t.Errorf("%v in\n%s", doc.Err(), text)
		}
		f.Line = 1
		if diff := cmp.Diff(f, got); diff != "" {
			t.Errorf("%s\n%s", diff, text)
		}
	}
}

// TestMixIsReproducible: what is by chance is the same each time, with or without
// other kinds, and another by another seed.
func TestMixIsReproducible(t *testing.T) {
	text := func(more string) string {
		return "total-bandwidth: 3MB\ntotal-time: 60s\n" + more + "flows:\n  - {kind: web-page, percent-bandwidth: 50%, ports-range: 5500-5599}\n"
	}
	starts := func(text string) (all []time.Duration) {
		flows, err := load(t, "mix.yaml", text)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range Schedule(flows) {
			all = append(all, s.After)
		}
		return all
	}
	a, b, other := starts(text("")), starts(text("")+"  - {kind: scavenger, percent-bandwidth: 10%, ports-range: 5200-5299}\n"), starts(text("seed: 2\n"))
	if !slices.Equal(a, b[1:]) {
		t.Errorf("%v\n%v", a, b)
	}
	if slices.Equal(a, other) {
		t.Error("the seed changes nothing")
	}
}
