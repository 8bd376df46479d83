//go:build e2e

package hosttest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

func TestNestedHost(t *testing.T) {
	hosttest.Nested(t, hosttest.NestedHost{Images: true}, func(t *testing.T) {
		for _, check := range []struct {
			name string
			run  func(*testing.T)
		}{
			{"links", hasLinks},
			{"groups", hasGroups},
			{"libvirt", hasKVM},
			{"images", hasImages},
			{"cables", hasCables},
			{"virtual functions", hasFunctions},
			{"clock", hasClock},
			{"snapshot", hasSnapshot},
		} {
			t.Run(check.name, check.run)
		}
	})
}

func hasLinks(t *testing.T) {
	for nic, want := range map[string][2]string{
		"nic1": {"0000:01:00.0", "52:54:00:aa:00:01"},
		"nic2": {"0000:02:00.0", "52:54:00:aa:00:02"},
		"nic3": {"0000:03:00.0", "52:54:00:aa:00:03"},
		"nic4": {"0000:04:00.0", "52:54:00:aa:00:04"},
		"nic5": {"0000:05:00.0", "52:54:00:aa:00:05"},
		"nic6": {"0000:05:00.1", "52:54:00:aa:00:06"},
	} {
		device, err := os.Readlink("/sys/class/net/" + nic + "/device")
		if err != nil {
			t.Error(err)
		}
		if got := [2]string{filepath.Base(device), read(t, "/sys/class/net/"+nic+"/address")}; got != want {
			t.Errorf("%s is %q, want %q", nic, got, want)
		}
	}
}

func hasGroups(t *testing.T) {
	for device, want := range map[string][]string{
		"0000:01:00.0": {"0000:01:00.0"},
		"0000:02:00.0": {"0000:02:00.0"},
		"0000:03:00.0": {"0000:03:00.0"},
		"0000:04:00.0": {"0000:04:00.0"},
		"0000:05:00.0": {"0000:05:00.0", "0000:05:00.1"},
	} {
		if got := group(t, device); !slices.Equal(got, want) {
			t.Errorf("the group of %s is %q, want %q", device, got, want)
		}
	}
	if !remaps(t) {
		t.Error("interrupts are not remapped")
	}
}

func hasKVM(t *testing.T) {
	h, err := host.Connect("", host.DefaultDir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if ok, why, err := h.KVM(); !ok {
		t.Errorf("no KVM: %s, %v", why, err)
	}
}

func hasImages(t *testing.T) {
	bash(t, "for disk in /var/lib/labctl/images/debian-slim-*/disk.qcow2; do qemu-img check $disk; done")
}

// hasCables sends frames over each cable, from one network namespace to another.
func hasCables(t *testing.T) {
	for _, cable := range [][2]string{{"nic1", "nic2"}, {"nic3", "nic4"}, {"nic5", "nic6"}} {
		bash(t, strings.NewReplacer("ONE", cable[0], "TWO", cable[1]).Replace(`
			for end in ONE TWO; do
				ip netns add $end
				ip link set $end netns $end
				ip -n $end address add 192.0.2.${end#nic}/24 dev $end
				ip -n $end link set $end up
			done
			address=TWO tries=0
			until ip netns exec ONE ping -c 1 -W 10 192.0.2.${address#nic}; do # a link takes its time to be there
				[ $((++tries)) -lt 60 ]
				sleep 1
			done
			for end in ONE TWO; do
				ip -n $end link set $end netns 1
				ip netns delete $end
			done`))
	}
}

func hasFunctions(t *testing.T) {
	const number = "/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs"
	bash(t, "echo 2 > "+number)
	defer bash(t, "echo 0 > "+number)
	for _, function := range []string{"0000:03:10.0", "0000:03:10.2"} {
		if got := group(t, function); !slices.Equal(got, []string{function}) {
			t.Errorf("the group of %s is %q, want it alone", function, got)
		}
		var links []string
		for end := time.Now().Add(3 * time.Minute); len(links) == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			var err error
			if links, err = filepath.Glob("/sys/bus/pci/devices/" + function + "/net/*"); err != nil {
				t.Fatal(err)
			}
		}
		if len(links) != 1 {
			t.Errorf("the links of %s are %q, want one", function, links)
		}
	}
}

// hasClock looks whether it is later than when the test was built: the host was saved before.
func hasClock(t *testing.T) {
	binary, err := os.Stat(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if now := time.Now(); now.Before(binary.ModTime()) {
		t.Errorf("it is %v, before the test was built, %v", now, binary.ModTime())
	}
}

func hasSnapshot(t *testing.T) {
	before := hosttest.Baseline(t)
	hosttest.Foreign(t)
	if diff := hosttest.Diff(before, hosttest.Snapshot(t)); !strings.Contains(diff, "+ network labctl.foreign.lan") {
		t.Errorf("a network that came is not seen:\n%s", diff)
	}
}

func TestNestedHostWithoutIOMMU(t *testing.T) {
	for _, test := range []struct {
		iommu          hosttest.IOMMU
		table, isolate bool // firmware shows an IOMMU; devices are in groups
	}{
		{hosttest.IOMMUNone, false, false},
		{hosttest.IOMMUOff, true, false},
		{hosttest.IOMMUNoRemapping, true, true},
	} {
		t.Run(string(test.iommu), func(t *testing.T) {
			hosttest.Nested(t, hosttest.NestedHost{IOMMU: test.iommu}, func(t *testing.T) {
				hasLinks(t)
				hasKVM(t)
				if _, err := os.Stat("/sys/firmware/acpi/tables/DMAR"); (err == nil) != test.table {
					t.Errorf("the table of IOMMUs: %v, want it: %v", err, test.table)
				}
				if got := group(t, "0000:01:00.0"); (len(got) > 0) != test.isolate {
					t.Errorf("the group of a NIC is %q, want one: %v", got, test.isolate)
				}
				if test.isolate && remaps(t) {
					t.Error("interrupts are remapped")
				}
			})
		})
	}
}

func TestNestedHostByHand(t *testing.T) {
	for _, test := range []struct {
		command string
		status  int
		says    string
	}{
		{"echo hello | LABCTL_X=y ./nested-host bash -c 'cat; echo $LABCTL_X; exit 7'", 7, "hello\ny\n"},
		{"./nested-host --with nested-host --copy private-host bash -c 'cd " + here(t) + "; ls -1; echo x >> private-host; echo x >> nested-host'", 1, "nested-host: Read-only file system"},
		{"./nested-host bash -c 'echo c > /proc/sysrq-trigger'", 125, "Kernel panic"},
		{"./nested-host --silent 5 bash -c 'until pkill -STOP -x sleep; do :; done; exec tail -f /dev/null'", 125, "the nested host hangs"}, // it is by sleeping that it is heard of
		{"./nested-host", 125, "a command is missing"},
		{"./nested-host --with nothing true", 125, "nothing: No such file or directory"},
		{"setpriv --reuid=65534 --clear-groups bash nested-host true", 125, "needs root: run it with sudo"},
	} {
		var got int
		var out []byte
		for range 3 { // as Nested tries another host where one died under its command
			cmd := exec.CommandContext(t.Context(), "bash", "-c", test.command)
			out, _ = cmd.CombinedOutput()
			if got = cmd.ProcessState.ExitCode(); got == test.status || got != 125 {
				break
			}
		}
		if got != test.status || !strings.Contains(string(out), test.says) {
			t.Errorf("%s: status %d, want %d and %q:\n%s", test.command, got, test.status, test.says, out)
		}
	}
}

// Whether its command ends or it is killed: no process is left of a nested host, and no file.
func TestNestedHostEnds(t *testing.T) {
	tmp := t.TempDir()
	before := files(t)
	for _, end := range []string{"exit", "kill"} {
		cmd := exec.CommandContext(t.Context(), "./nested-host", "bash", "-c", "echo up; read; touch $TMPDIR/x /x")
		cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
			t.Fatalf("it says %q, %v", line, err)
		}
		processes, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid_for_children", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if running(t, processes) == 0 {
			t.Fatalf("no process in %s", processes)
		}
		if end == "kill" {
			err = cmd.Process.Kill()
		} else {
			_, err = in.Write([]byte("\n"))
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // an error, when it was killed
		for deadline := time.Now().Add(5 * time.Minute); running(t, processes) > 0; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d processes of it live", end, running(t, processes))
			}
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("%s: left in the temporary folder: %v, %v", end, left, err)
		}
		if after := files(t); !slices.Equal(before, after) {
			t.Errorf("%s: files in the cache before and after:\n%q\n%q", end, before, after)
		}
	}
}

// files are those of the built hosts, and what is in the places where a run mounts something.
func files(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*", "*/*", "*/tree/*", "*/tree/run/*", "*/tree/mnt/*", "*/tree/dev/*", "*/tree/proc/*"} {
		found, err := filepath.Glob("/var/cache/labctl/nested/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// running is how many processes are in a namespace.
func running(t *testing.T, namespace string) int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, link := range links {
		if ns, err := os.Readlink(link); err == nil && ns == namespace { // a process may have ended meanwhile
			n++
		}
	}
	return n
}

// group lists the devices in a device's IOMMU group: none where there are no groups.
func group(t *testing.T, device string) []string {
	t.Helper()
	members, err := filepath.Glob("/sys/bus/pci/devices/" + device + "/iommu_group/devices/*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range members {
		members[i] = filepath.Base(members[i])
	}
	return members
}

// remaps says whether the IOMMU remaps interrupts.
func remaps(t *testing.T) bool {
	t.Helper()
	chips, err := filepath.Glob("/sys/kernel/irq/*/chip_name")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(chips, func(chip string) bool { return strings.HasPrefix(read(t, chip), "IR-") })
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(text))
}

func here(t *testing.T) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func bash(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "bash", "-ec", script).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
}
