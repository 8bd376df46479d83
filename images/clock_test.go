package images

import (
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/topology"
)

// spreadLab has nodes that meet over two networks, two that meet no other, and one on none.
const spreadLab = `
name: spread
networks:
  left: {subnet: 10.9.1.0/24, uplink: none}
  right: {subnet: 10.9.2.0/24, uplink: none}
  far: {subnet: 10.9.3.0/24, uplink: none}
  test: {sides: [a, b], subnet: 10.9.4.0/24}
nodes:
  r: {nics: [{network: right, address: 10.9.2.10}, {network: test, side: a}]}
  l: {nics: [{network: left, address: 10.9.1.11}, {network: test, side: b}]}
  both: {nics: [{network: left, address: 10.9.1.12}, {network: right, address: 10.9.2.12}]}
  far1: {nics: [{network: far, address: 10.9.3.13}]}
  far2: {nics: [{network: far, address: 10.9.3.14}]}
  none: {nics: [{network: test, side: a}]}
`

func spread(t *testing.T) topology.Lab {
	t.Helper()
	f, err := topology.Load("lab.yaml", []byte(spreadLab), topology.Known{Recipes: Recipes()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Nodes that a network joins have one time, and nobody asks anyone but the lab's nodes.
func TestTimeComesFromOneNode(t *testing.T) {
	want := map[string]netip.Addr{
		"both": netip.MustParseAddr("10.9.2.10"),
		"l":    netip.MustParseAddr("10.9.1.12"),
		"far2": netip.MustParseAddr("10.9.3.13"),
	}
	if got := timeFrom(spread(t)); !maps.Equal(got, want) {
		t.Errorf("time comes from %v", got)
	}
}

func TestChronyConf(t *testing.T) {
	l := spread(t)
	const all = "# one node of the lab serves its time to the others, and none asks outside\n"
	const steps = "makestep 0.0005 10\nmaxslewrate 1000\ncmdport 0\n"
	for name, want := range map[string]string{
		"r":    all + "local stratum 8\n" + steps + "allow 10.9.2.0/24\nbindaddress 10.9.2.10\n",
		"both": all + "server 10.9.2.10 iburst minpoll 0 maxpoll 0 xleave\n" + steps + "allow 10.9.1.0/24\nallow 10.9.2.0/24\n",
	} {
		if diff := cmp.Diff(want, string(chronyConf(l, node(t, l, name)))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if files := clockFiles(l, node(t, l, "none"), GuestDebian); len(files) > 0 {
		t.Errorf("a node that no network without sides reaches gets %s", show(files))
	}
}

// The script finds KVM's clock among others; without it or without chronyd nothing fails.
func TestClockScript(t *testing.T) {
	const withKVM = "modprobe -q ptp_kvm\nchronyd -n include /etc/chrony/labctl.conf refclock PHC /dev/ptp1 refid KVM poll 0 dpoll -2 prefer\n"
	for name, test := range map[string]struct {
		sources string
		clocks  map[string]string // by device
		without bool              // chronyd
		want    string
	}{
		"emulated":        {"tsc hpet acpi_pm", nil, false, "chronyd -n include /etc/chrony/labctl.conf\n"},
		"another's clock": {"tsc hpet acpi_pm", map[string]string{"ptp0": "e1000e"}, false, "chronyd -n include /etc/chrony/labctl.conf\n"},
		"KVM":             {"kvm-clock tsc", map[string]string{"ptp0": "e1000e", "ptp1": "KVM virtual PTP"}, false, withKVM},
		"no chronyd":      {"kvm-clock tsc", nil, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			put := func(path, text string) {
				t.Helper()
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			put("sys/devices/system/clocksource/clocksource0/available_clocksource", test.sources+"\n")
			for device, named := range test.clocks {
				put("sys/class/ptp/"+device+"/clock_name", named+"\n")
			}
			if put("sbin/modprobe", "#!/bin/sh\necho modprobe \"$@\"\n"); !test.without {
				put("sbin/chronyd", "#!/bin/sh\necho chronyd \"$@\"\n")
			}
			script := strings.ReplaceAll(string(clockScript), "/sys/", root+"/sys/")
			script = strings.Replace(script, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PATH="+root+"/sbin", 1)
			out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput()
			if err != nil || string(out) != test.want {
				t.Errorf("%v, it ran\n%s", err, out)
			}
		})
	}
}
