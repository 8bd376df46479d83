//go:build e2e

package domains

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// The kernel's words are put where they would be printed: what follows is real.
func TestResetOfARunningMachine(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h, err := host.Connect("", host.DefaultDir)
		must(t, err)
		defer h.Close()
		m := Machine{
			On: h, Node: topology.Node{Name: "anew", Lab: demoTag().Lab, Object: "labctl.trafic.anew"}, Tag: demoTag(),
			Boot: Boot{Accel: topology.AccelTCG, Console: filepath.Join("/run", "anew.log")},
		}
		d, err := h.DomainDefineXML(fmt.Sprintf(`<domain type="qemu"><name>%s</name><memory unit="MiB">32</memory>
<os><type arch="x86_64">hvm</type><bios useserial="yes"/></os><devices><serial type="pty"><log file="%s" append="off"/></serial></devices></domain>`, m.Node.Object, m.Boot.Console))
		must(t, err)
		defer func() { _ = d.Free() }()
		must(t, d.Create())
		number, err := d.GetID()
		must(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), 5*longWait) // it starts three times
		defer cancel()
		starts := 0
		require(t, requirement{what: "its firmware speaks", when: always, met: func(ctx context.Context, m Machine) error {
			starts++
			must(t, until(ctx, func() (bool, error) {
				text, err := os.ReadFile(m.Boot.Console)
				return strings.Contains(string(text), "SeaBIOS"), err
			}))
			if starts == 3 {
				return nil
			}
			f, err := os.OpenFile(m.Boot.Console, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString(panicOfTimer)
			must(t, err)
			must(t, f.Close())
			return never.met(ctx, m)
		}})
		must(t, m.Wait(ctx, func(what string) { t.Log(time.Now().Format(time.TimeOnly), what) }))
		if now, err := d.GetID(); now != number || err != nil {
			t.Errorf("QEMU was %d, and is %d: its taps are others: %v", number, now, err)
		}
		if m.Panicked() {
			t.Error("what the machine printed before is kept")
		}
	})
}
