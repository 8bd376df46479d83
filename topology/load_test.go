package topology

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var known = Known{Recipes: []string{"debian", "debian-slim"}}

// golden compares got with a file of testdata, or rewrites it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); go test ./topology -update rewrites it\n%s", file, diff)
	}
}

func badFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad files:", err)
	}
	return files
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// TestBadFiles holds the messages for every kind of mistake.
func TestBadFiles(t *testing.T) {
	for _, file := range badFiles(t) {
		base := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(base, func(t *testing.T) {
			_, err := Load("lab.yaml", read(t, file), known)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v, want Problems", err)
			}
			if !slices.IsSortedFunc(ps, func(a, b Problem) int { return a.Line - b.Line }) {
				t.Error("not sorted by line")
			}
			for _, p := range ps {
				if p.Hint == "" || p.Line < 1 || strings.Contains(p.Msg, "\n") {
					t.Errorf("no hint, no line, or several: %#v", p)
				}
				for _, leak := range []string{"topology.", "Spec", "!!", "unmarshal", "yaml:"} {
					if strings.Contains(p.Msg+p.Hint, leak) {
						t.Errorf("%q stands in: %s", leak, p)
					}
				}
			}
			golden(t, "testdata/bad/"+base+".out", err.Error()+"\n")
		})
	}
}

// TestEveryRuleHasItsPair: a rule is provoked by the bad file of its name.
func TestEveryRuleHasItsPair(t *testing.T) {
	for _, r := range rules {
		file := "testdata/bad/" + r.name + ".yaml"
		var root yaml.Node
		if err := yaml.Unmarshal(read(t, file), &root); err != nil {
			t.Error(err)
			continue
		}
		problems := &collector{file: "lab.yaml"}
		f := decode(root.Content[0], "lab.yaml", read(t, file), &collector{})
		r.check(newChecker(f, known, problems))
		if len(problems.found) == 0 {
			t.Errorf("rule %s finds nothing in %s", r.name, file)
		}
	}
}

// TestLoadIsQuick: no input, however made, takes long.
func TestLoadIsQuick(t *testing.T) {
	const size = 1 << 20
	lines := func(line func(i int) string) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			b.WriteString(line(i))
		}
		return b.String()
	}
	aliases := "name: x\nnetworks: {n: }\nnodes:\n  a: {nics: &a [" + strings.Repeat("{network: n},", 10_000) + "]}\n"
	laugh := "x0: &x0 [a, a]\n"
	for i := 1; i < 60; i++ {
		laugh += fmt.Sprintf("x%d: &x%d [*x%d, *x%d]\n", i, i, i-1, i-1)
	}
	for name, src := range map[string]string{
		"aliases":      aliases + lines(func(i int) string { return fmt.Sprintf("  a%d: {nics: *a}\n", i) }),
		"laugh":        laugh,
		"merge circle": "name: x\nnodes: &n\n  <<: *n\n  a: {nics: [{network: b}]}\n",
		"deep":         strings.Repeat("[", 9_000),
		"deep maps":    strings.Repeat("{a: ", 5_000),
		"unknown keys": lines(func(i int) string { return fmt.Sprintf("k%d: 1\n", i) }),
		"same key":     lines(func(int) string { return "name: a\n" }),
		"comments":     lines(func(int) string { return "# a\n" }),
		"one comment":  "name: x # " + strings.Repeat("a", size),
		"bad nodes":    "nodes:\n" + lines(func(i int) string { return fmt.Sprintf("  n%d: {nics: [{mirror: m%d}], image: i, memory: 1}\n", i, i) }),
		"publish": "name: x\nnodes:\n  a:\n    nics: [{network: n}]\n    publish:\n" +
			lines(func(i int) string {
				return fmt.Sprintf("    - 10.%d.%d.%d:80:80\n    - 80:80\n", i>>16, i>>8&255, i&255)
			}),
		"sides":     "name: x\nnetworks: {a: {sides: [" + lines(func(i int) string { return fmt.Sprintf("a%d, ", i) }) + "]}}",
		"services":  "name: x\nnodes: {a: {services: [" + strings.Repeat("influxdb, ", size/10) + "]}}",
		"too large": strings.Repeat(" ", largest+1),
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, err := Load("lab.yaml", []byte(src), known)
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil {
					t.Error("no problems")
				}
			case <-time.After(time.Minute):
				t.Fatal("it takes too long")
			}
		})
	}
}

// TestAliases: what YAML offers against repetition works.
func TestAliases(t *testing.T) {
	f, err := Load("lab.yaml", []byte(`
name: aliases
networks: {control: }
nodes:
  a: &a
    memory: 1GiB
    nics: &nics [{network: control}]
  b: *a
  c: {<<: *a, memory: 2GiB}
  d: {nics: *nics, cpus: 2}
`), known)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Decide(f, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range l.Nodes {
		got = append(got, fmt.Sprintf("%s %d MiB %d CPUs %s", n.Name, n.MemoryMiB, n.CPUs, n.NICs[0].Network))
	}
	want := []string{"a 1024 MiB 1 CPUs control", "b 1024 MiB 1 CPUs control", "c 2048 MiB 1 CPUs control", "d 512 MiB 2 CPUs control"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSource: a mark can hold the file as it was read.
func TestSource(t *testing.T) {
	name, src := Default()
	f, err := Load(name, src, known)
	if err != nil {
		t.Fatal(err)
	}
	if n, text := f.Source(); n != name || text != string(src) {
		t.Errorf("got %s, %q", n, text)
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"default.yaml", "../examples/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			f.Add(read(f, file))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Load("fuzz.yaml", src, known)
		if err != nil {
			if ps, ok := errors.AsType[Problems](err); !ok || len(ps) == 0 {
				t.Fatalf("not Problems: %v", err)
			}
			return
		}
		l, err := Decide(file, nil, nil)
		if err != nil {
			return
		}
		for _, n := range l.Nodes {
			l.Hosts(n)
		}
		if d := Differences(l, l); d != nil {
			t.Error(d)
		}
	})
}
