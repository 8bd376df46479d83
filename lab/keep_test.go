package lab

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/images"
)

// A guest that holds a device of the host boots where the others go on; another failure means
// that nothing is kept.
func TestSaveInto(t *testing.T) {
	held := domains.Held{Devices: []string{"0000:3b:00.0"}}
	for name, test := range map[string]struct {
		fail       map[string]error // by node; "": all
		saved, err string
		warned     bool
	}{
		"all go well":     {nil, "iperf-client iperf-server tshark influxdb", "", false},
		"one is held":     {map[string]error{"tshark": held}, "iperf-client iperf-server influxdb", "", true},
		"one fails":       {map[string]error{"tshark": errBroken}, "iperf-client iperf-server influxdb", "save machine/tshark: broken", false},
		"all of them are": {map[string]error{"": held}, "", "no node can be saved", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := configuredBy(t, images.ConfigureDisk)
			d, err := b.kept().Begin(b.Lab.Name, "k", nil)
			must(t, err)
			tell, notes := told()
			err = b.saveInto(d, tell, func(m domains.Machine) error {
				return errors.Join(test.fail[""], test.fail[m.Node.Name])
			})
			if test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) {
				t.Errorf("%v, want %q", err, test.err)
			}
			var saved []string
			for _, n := range b.Lab.Nodes {
				if d.Has(n.Name) {
					saved = append(saved, n.Name)
				}
			}
			if got := strings.Join(saved, " "); got != test.saved {
				t.Errorf("saved are %q, want %q", got, test.saved)
			}
			if warned := slices.ContainsFunc(notes(), func(n string) bool {
				return strings.HasPrefix(n, "!node tshark is not saved") && strings.Contains(n, "let go of 0000:3b:00.0")
			}); warned != test.warned {
				t.Errorf("told: %q", notes())
			}
		})
	}
}
