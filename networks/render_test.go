package networks

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host/hosttest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRender(t *testing.T) {
	all := segments(nil, demo("trafic", "10.7"), tagOf("trafic"))
	for _, s := range append(all, segments(nil, ovsDemo(), tagOf("trafic"))[2]) {
		name := strings.TrimPrefix(s.String(), "network/")
		if s.Segment.OVS {
			name += ".ovs"
		}
		t.Run(name, func(t *testing.T) {
			x, err := Render(s.Network, s.Segment, s.Tag)
			must(t, err)
			got, err := x.Marshal()
			must(t, err)
			golden := filepath.Join("testdata", name+".xml")
			if *update {
				must(t, os.WriteFile(golden, []byte(got+"\n"), 0o644))
			}
			want, err := os.ReadFile(golden)
			must(t, err)
			if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
				t.Errorf("%s (-want +got; -update rewrites it):\n%s", golden, diff)
			}
			// libvirt ignores what it does not know, unless told to validate.
			if _, err := hosttest.New(t).NetworkDefineXMLFlags(got, libvirt.NETWORK_DEFINE_VALIDATE); err != nil {
				t.Error(err)
			}
		})
	}
}
