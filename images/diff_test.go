package images

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	is := func() Manifest {
		return Manifest{
			Recipe: "mine", Digest: "00", Kernel: "6.1", DiskBytes: 1, Root: &Partition{Number: 1},
			Keys:     map[string]any{"release": "bookworm", "packages": []any{"bash", "jq"}, "files": []any{map[string]any{"path": "/a"}}},
			Packages: map[string]string{"bash": "5.2", "jq": "1.6"},
			Inputs:   map[string]Input{"/srv/a": {"./a", Sum{"aa", 1}}},
			Files:    map[string]Sum{"disk.qcow2": {"dd", 5}},
		}
	}
	if same, err := Diff(is(), is()); len(same) > 0 || err != nil {
		t.Errorf("the same differs: %v, %v", same, err)
	}
	m := is()
	m.Digest, m.Kernel, m.Root = "11", "6.2", nil
	m.Keys["release"], m.Keys["packages"], m.Keys["trafic"] = "trixie", []any{"bash", "curl"}, "./trafic"
	m.Packages = map[string]string{"bash": "5.3", "curl": "8.0"}
	m.Inputs["/srv/a"] = Input{"./a", Sum{"ab", 2}}
	m.Files["kernel"] = Sum{"ff", 6}
	changes, err := Diff(is(), m)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	want := []string{
		"~ image digest 00 -> 11",
		"~ image kernel 6.1 -> 6.2",
		`- image root {"number":1,"start":0,"bytes":0,"fs":"","last":false}`,
		"+ recipe packages curl",
		"- recipe packages jq",
		"~ recipe release bookworm -> trixie",
		"+ recipe trafic ./trafic",
		"~ package bash 5.2 -> 5.3",
		"+ package curl 8.0",
		"- package jq 1.6",
		"~ input /srv/a ./a (aa, 1 bytes) -> ./a (ab, 2 bytes)",
		"+ file kernel ff, 6 bytes",
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(lines, "\n")); diff != "" {
		t.Error(diff)
	}
}
