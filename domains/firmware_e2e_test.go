//go:build e2e

package domains

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// A machine with a UEFI has the firmware's variables in a file, which goes with it,
// also when it has been found by its mark only.
func TestUEFIVariablesGoWithTheMachine(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h, err := host.Connect("", host.DefaultDir)
		must(t, err)
		t.Cleanup(h.Close)
		dir := h.LabDir(demoTag().Lab)
		must(t, os.MkdirAll(dir, 0o755))
		disk := filepath.Join(dir, "empty.qcow2")
		must(t, exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", disk, "1M").Run())
		m := Machine{
			On: h, Tag: demoTag(),
			Node: topology.Node{Name: "empty", Lab: demoTag().Lab, Object: "labctl.trafic.empty", UUID: topology.UUID("test", "empty"), CPUs: 1, MemoryMiB: 64},
			Boot: Boot{Disk: disk, Console: filepath.Join(dir, "empty.console"), NVRAM: filepath.Join(dir, "empty.nvram"), Accel: topology.AccelTCG},
		}
		m.Boot.UEFI, err = host.UEFI()
		must(t, err)
		for name, destroy := range map[string]func() error{
			"known": func() error { return m.Destroy(t.Context()) },
			"found": func() error {
				found, err := Find(h)
				if err != nil || len(found) != 1 {
					t.Fatal(found, err)
				}
				return found[0].Destroy(t.Context())
			},
		} {
			must(t, m.Create(t.Context()))
			state(t, m, host.Present)
			if _, err := os.Stat(m.Boot.NVRAM); err != nil {
				t.Error(err)
			}
			must(t, destroy())
			state(t, m, host.Absent)
			if _, err := os.Stat(m.Boot.NVRAM); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the variables are left, or %v", name, err)
			}
		}
	})
}
