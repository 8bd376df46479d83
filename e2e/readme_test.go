//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
)

// TestReadme types what README says a newcomer types, in its order, and holds
// its list of commands and its small lab to what labctl knows.
func TestReadme(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		text, err := os.ReadFile("../README.md")
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(stateLimit, "10GiB") // as it is by itself
		isClean := clean(t)
		mine, _ := filepath.Glob("../runs/*") // of who runs the tests
		typed := 0
		for _, block := range blocks(string(text), "console") {
			for line := range strings.Lines(block) {
				line = strings.TrimSpace(strings.TrimPrefix(line, "# "))
				if line == "make check" {
					continue // this test is part of it
				}
				typed++
				t.Logf("# %s", line)
				t.Log(sh(t, "cd ..; "+line))
			}
		}
		if typed < 10 {
			t.Errorf("README has %d commands", typed)
		}
		sh(t, "cd ..; rm frames.pcap client-hosts lab.yaml")
		runs, _ := filepath.Glob("../runs/*")
		for _, run := range runs {
			if !slices.Contains(mine, run) {
				sh(t, "grep -q '<svg' "+run+"/report.html; rm -r "+run)
			}
		}
		if len(runs) <= len(mine) {
			t.Error("no run was kept")
		}
		sh(t, "rmdir --ignore-fail-on-non-empty ../runs")
		isClean()

		yamls := blocks(string(text), "yaml")
		lab := write(t, "lab.yaml", yamls[slices.IndexFunc(yamls, func(y string) bool { return strings.HasPrefix(y, "name:") })])
		must(t, "up", lab)
		if out := must(t, "plan", example(t, "two-nodes.yaml")); !strings.Contains(out, "nothing to do") {
			t.Errorf("the example is another lab than README's: %s", out)
		}
		must(t, "down", lab)
		isClean()
		help := must(t, "help")
		for _, command := range []string{"up", "down", "reset", "plan", "graph", "status", "list", "gc", "check", "doctor", "ssh", "exec", "console", "cp", "capture", "verify", "impair", "run", "report", "flows", "image", "init", "schema", "version", "completion"} {
			if !strings.Contains(help, "   "+command) || !strings.Contains(string(text), command) {
				t.Errorf("command %s is not in README and help", command)
			}
		}
	})
}

// blocks are the contents of a text's fenced blocks of a language.
func blocks(text, language string) []string {
	var found []string
	for _, part := range strings.Split(text, "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		found = append(found, block)
	}
	return found
}
