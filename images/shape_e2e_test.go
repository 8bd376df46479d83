//go:build e2e

package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestShapeInGuest runs the tests of networks/shape that need a kernel with netem,
// fq_codel and pie, which a node's has and the host's may not.
func TestShapeInGuest(t *testing.T) {
	program := filepath.Join(t.TempDir(), "shape.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "guest", "-ldflags", "-s -w", "-o", program, "../networks/shape")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	l := builtInLab(t)
	n, k, b := node(t, l, "iperf-client"), madeKeys(t, l), cached(t, "debian-slim")
	d := Disk{
		Node: n.Name, Path: filepath.Join(t.TempDir(), "disk.qcow2"), Base: b, Bytes: n.DiskBytes,
		Files: func() ([]File, error) {
			files, err := filesFor(l, n, k, b)
			return append(files, File{Path: "/root/shape.test", Mode: 0o755, Data: data}), err
		},
	}
	if err := d.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := launch(t, n, []string{"hubport,hubid=0", "hubport,hubid=1"}, append(loader(t, b), "-drive", "if=virtio,format=qcow2,file="+d.Path)...)
	m.ready()
	tests := strings.Fields(m.sh("cd /root && ./shape.test -test.list '^TestGuest'"))
	if len(tests) < 5 {
		t.Fatalf("its tests are %q", tests)
	}
	for _, test := range tests {
		passes := false
		for try := 0; !passes && try < 5; try++ { // they measure, and a machine whose host is busy stands still now and then
			out := m.sh("cd /root && ./shape.test -test.v -test.run '^" + test + "$'; echo status $?")
			t.Log(out)
			passes = strings.HasSuffix(out, "status 0")
		}
		if !passes {
			t.Errorf("%s fails", test)
		}
	}
}
