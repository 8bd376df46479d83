package topology

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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
		f, _ := decode(root.Content[0], "lab.yaml", read(t, file), &collector{})
		r.check(newChecker(f, known, problems))
		if len(problems.found) == 0 {
			t.Errorf("rule %s finds nothing in %s", r.name, file)
		}
	}
}

// TestLoadEnds: what is small and stands for much is given up on.
func TestLoadEnds(t *testing.T) {
	aliases := "name: x\nnetworks: {n: }\nnodes:\n  a: {nics: &a [" + strings.Repeat("{network: n},", 5_000) + "]}\n"
	laugh := "x0: &x0 [a, a]\n"
	for i := range 1_000 {
		aliases += fmt.Sprintf("  a%d: {nics: *a}\n", i)
		laugh += fmt.Sprintf("x%d: &x%d [*x%d, *x%d]\n", i+1, i+1, i, i)
	}
	lists := "name: x\nnodes:\n  a: {services: &s [" + strings.Repeat("influxdb, ", 1_000) + "]}\n"
	for i := range 1_000 {
		lists += fmt.Sprintf("  a%d: {services: *s}\n", i)
	}
	merges := "networks: &n\n"
	for i := range 1_000 {
		merges += fmt.Sprintf("  n%d:\n", i)
	}
	merges += "nodes: {<<: [" + strings.Repeat("*n, ", 1_000) + "]}\n"
	for name, c := range map[string]struct{ src, want string }{
		"aliases":      {aliases, "the file's aliases stand for too many values"},
		"lists":        {lists, "the file's aliases stand for too many values"},
		"merges":       {merges, "the file's aliases stand for too many values"},
		"laugh":        {laugh, "unknown key x0"},
		"merge circle": {"# " + strings.Repeat("a", largest-100) + "\nname: x\nnodes: &n\n  <<: *n\n  a: {nics: [{network: b}]}\n", "the file's aliases stand for too many values"},
		"deep lists":   {strings.Repeat("[", 20_000), "not YAML: exceeded max depth of 10000"},
		"deep maps":    {strings.Repeat("{a: ", 5_000), "not YAML"},
		"large":        {strings.Repeat(" ", largest+1), "the file has 8 MiB"},
		"many":         {strings.Repeat("k: 1\n", 2_000), "more than 1000 problems"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load("lab.yaml", []byte(c.src), known)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.300v, want %s", err, c.want)
			}
		})
	}
}

// TestLoadIsLinear: eight times the file takes about eight times as long, not 64.
func TestLoadIsLinear(t *testing.T) {
	lines := func(line func(i int) string) func(size int) string {
		return func(size int) string {
			var b strings.Builder
			for i := 0; b.Len() < size; i++ {
				b.WriteString(line(i))
			}
			return b.String()
		}
	}
	for name, c := range map[string]struct {
		begin string
		more  func(size int) string
		end   string
	}{
		"nodes": {"name: x\nnetworks: {n: }\nnodes:\n", lines(func(i int) string {
			return fmt.Sprintf("  a%d: {nics: [{network: n}]}\n", i)
		}), ""},
		"bad nodes": {"nodes:\n", lines(func(i int) string {
			return fmt.Sprintf("  n%d: {nics: [{mirror: m%d}], image: i, memory: 1}\n", i, i)
		}), ""},
		"networks": {"name: x\nnodes: {a: {nics: [{network: n0}]}}\nnetworks:\n", lines(func(i int) string {
			return fmt.Sprintf("  n%d: {subnet: 10.%d.%d.0/24}\n", i, i>>8&255, i&255)
		}), ""},
		"unknown keys": {"", lines(func(i int) string { return fmt.Sprintf("k%d: 1\n", i) }), ""},
		"same key":     {"", lines(func(int) string { return "name: a\n" }), ""},
		"comments":     {"name: x\n", lines(func(int) string { return "# a\n" }), ""},
		"publish": {"name: x\nnodes:\n  a:\n    nics: [{network: n}]\n    publish:\n", lines(func(i int) string {
			return fmt.Sprintf("    - 10.%d.%d.%d:80:80\n    - 80:80\n", i>>16, i>>8&255, i&255)
		}), ""},
		"sides":    {"name: x\nnetworks: {a: {sides: [", lines(func(i int) string { return fmt.Sprintf("a%d, ", i) }), "]}}"},
		"services": {"name: x\nnodes: {a: {services: [", lines(func(int) string { return "influxdb, " }), "]}}"},
		"NICs": {"name: x\nnetworks: {n: }\nnodes: {a: {nics: [", lines(func(int) string {
			return "{network: n}, "
		}), "]}}"},
	} {
		t.Run(name, func(t *testing.T) {
			took := func(size int) time.Duration {
				src := []byte(c.begin + c.more(size) + c.end)
				start := threadTime(t)
				_, _ = Load("lab.yaml", src, known) // mistakes or not
				return threadTime(t) - start
			}
			const tries, most = 8, 24
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			small, large := took(16<<10), took(128<<10)
			for range tries {
				if large < most*small {
					return
				}
				small, large = min(small, took(16<<10)), min(large, took(128<<10))
			}
			t.Errorf("16 KiB take %s, 128 KiB %s", small, large)
		})
	}
}

// threadTime is the processor time of this thread: what else the machine does is not in it.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
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
	l, err := Decide(f, nil, Chosen{})
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
	for _, file := range examples(f) {
		f.Add(read(f, file))
	}
	for _, pattern := range []string{"default.yaml", "testdata/bad/*.yaml"} {
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
		l, err := Decide(file, nil, Chosen{})
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
