//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

const clocksLab = `
name: clocks
image: debian-slim
networks:
  control: {subnet: 10.9.1.0/24, uplink: none}
  test: {sides: [a, b], subnet: 10.9.2.0/24}
nodes:
  one: {memory: 256MiB, nics: [{network: control, address: 10.9.1.10}, {network: test, side: a, address: 10.9.2.10}]}
  two: {memory: 256MiB, nics: [{network: control, address: 10.9.1.11}, {network: test, side: b, address: 10.9.2.11}]}
  three: {memory: 256MiB, nics: [{network: control, address: 10.9.1.12}]}
`

func TestClocks(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		start := time.Now()
		must(t, "up", write(t, "lab.yaml", clocksLab))
		t.Logf("up %v", time.Since(start))
		h, err := host.Connect("", host.DefaultDir)
		fatal(t, err)
		defer h.Close()
		b, err := lab.Open(h, "clocks")
		fatal(t, err)
		start = time.Now()
		t.Logf("%+v", b.WaitClocks(t.Context(), timed(t)))
		t.Logf("agreed %v", time.Since(start))
		for _, n := range []string{"one", "two", "three"} {
			t.Log(in(t, n, "cat /sys/devices/system/clocksource/clocksource0/*; systemctl status labctl-clock chrony; ps aux | grep chron; chronyc -n tracking; chronyc -n sources; chronyc sourcestats; journalctl -b -u labctl-clock | tail -20; systemd-analyze; systemd-analyze blame | head; ls -la /run/chrony; ss -lun"))
		}
		for time.Since(start) < 90*time.Second {
			from := time.Now()
			all := b.Clocks(t.Context())
			s := fmt.Sprintf("%.1f took %v: ", time.Since(start).Seconds(), time.Since(from))
			for _, o := range all {
				s += fmt.Sprintf(" %s %.3f±%.3f (%s%s)", o.Node, o.Milli, o.Uncertainty, o.Source, o.Failed)
			}
			t.Log(s)
			time.Sleep(time.Second)
		}
		_ = slices.Max[[]int]
		must(t, "down")
	})
}
