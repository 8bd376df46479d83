package domains

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRender(t *testing.T) {
	for _, n := range demo(t).Nodes {
		for _, accel := range []string{topology.AccelTCG, topology.AccelKVM} {
			name := n.Name + "." + accel
			t.Run(name, func(t *testing.T) {
				d, err := Render(n, Boot{
					Disk:    "/labs/trafic/" + n.Name + ".qcow2",
					Kernel:  "/images/debian/kernel",
					Initrd:  "/images/debian/initrd",
					Cmdline: "root=/dev/vda rw console=ttyS0",
					Console: "/labs/trafic/" + n.Name + ".console",
					Accel:   accel,
				}, demoTag())
				must(t, err)
				got, err := d.Marshal()
				must(t, err)
				golden := filepath.Join("testdata", name+".xml")
				if *update {
					must(t, os.MkdirAll("testdata", 0o755))
					must(t, os.WriteFile(golden, []byte(got+"\n"), 0o644))
				}
				want, err := os.ReadFile(golden)
				must(t, err)
				if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
					t.Errorf("%s (-want +got; -update rewrites it):\n%s", golden, diff)
				}
				// libvirt ignores what it does not know, unless told to validate.
				if _, err := hosttest.New(t).DomainDefineXMLFlags(got, libvirt.DOMAIN_DEFINE_VALIDATE); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
