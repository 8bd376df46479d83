package domains

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestAgentLacks(t *testing.T) {
	all := `{"version":"9.1","supported_commands":[`
	for _, name := range commands {
		all += `{"name":"` + name + `","enabled":true,"success-response":true},`
	}
	all = strings.TrimSuffix(all, ",") + "]}"
	for name, test := range map[string]struct {
		answer string
		want   []string
	}{
		"all":             {all, nil},
		"one is blocked":  {strings.Replace(all, `"guest-exec","enabled":true`, `"guest-exec","enabled":false`, 1), []string{"guest-exec"}},
		"one is unknown":  {strings.Replace(all, `"guest-file-read"`, `"guest-file-seek"`, 1), []string{"guest-file-read"}},
		"nothing is told": {`{}`, commands},
	} {
		var info agentInfo
		if err := json.Unmarshal([]byte(test.answer), &info); err != nil {
			t.Fatal(err)
		}
		if got := info.lacks(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Every command that this package sends is one that doctor asks for, but for those
// that tell the time of a node without a chronyd, and make one that goes on from saved memory another run.
func TestCommandsAreAll(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sent := regexp.MustCompile(`call\(ctx, "(guest-[a-z-]+)"`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sent.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains([]string{"guest-info", "guest-get-time", "guest-set-time", "guest-file-write"}, m[1]) && !slices.Contains(commands, m[1]) {
				t.Errorf("%s sends %s", file, m[1])
			}
		}
	}
}
