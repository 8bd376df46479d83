package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

func TestReadAccount(t *testing.T) {
	for name, test := range map[string]struct {
		words string
		want  Account
		ok    bool
	}{
		"ended": {
			"Capturing on 'eth1'\nFile: -\nPackets captured: 1204\n" +
				"Packets received/dropped on interface 'eth1': 1204/7 (pcap:3/dumpcap:4/flushed:0/ps_ifdrop:0) (99.4%)\n",
			Account{Written: 1204, Received: 1204, Dropped: 7},
			true,
		},
		"nothing came":      {"Packets captured: 0\nPackets received/dropped on interface 'eth1': 0/0 (pcap:0/dumpcap:0/flushed:0/ps_ifdrop:0) (0.0%)\n", Account{}, true},
		"a name of a link":  {"Packets captured: 1\nPackets received/dropped on interface 'my link': 2/1 (x)\n", Account{Written: 1, Received: 2, Dropped: 1}, true},
		"too many to count": {"Packets captured: 99999999999999999999999\nPackets received/dropped on interface 'e': 1/0\n", Account{Written: 1<<64 - 1, Received: 1}, true},
		"a bad filter":      {"dumpcap: Invalid capture filter \"foo\" for interface 'eth1'.\n", Account{}, false},
		"cut short":         {"Packets captured: 1204\n", Account{}, false},
		"nothing":           {"", Account{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := readAccount(test.words)
			if got != test.want || ok != test.ok {
				t.Errorf("%+v, %v; want %+v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestAccountOfTheMirror(t *testing.T) {
	counters := func(sent, received, failed, dropped uint64) networks.Counters {
		return networks.Counters{Sent: networks.Copied{Frames: sent, Failed: failed}, Received: networks.Copied{Frames: received}, Dropped: dropped}
	}
	a := Account{Written: 5}
	a.addMirror(counters(10, 20, 1, 3), counters(15, 27, 6, 7)) // what the NIC had no room for, the mirror counts too
	if want := (Account{Mirrored: 12, NotCopied: 1, TapDrops: 4, Written: 5}); a != want {
		t.Errorf("%+v, want %+v", a, want)
	}
	// the kernel counts frames modulo 2³²
	a.addMirror(counters(1<<32-2, 0, 0, 0), counters(3, 0, 0, 0))
	if a.Mirrored != 5 {
		t.Errorf("%d frames over the top, want 5", a.Mirrored)
	}
	var back Account
	if err := json.Unmarshal([]byte(a.JSON()), &back); err != nil || back != a || strings.Contains(a.JSON(), "\n") {
		t.Errorf("%s came back as %+v, %v", a.JSON(), back, err)
	}
	for _, n := range []string{"5 frames written", "mirrored 5"} {
		if !strings.Contains(a.String(), n) {
			t.Errorf("%q is not in %q", n, a)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, text := range []string{"", "udp port 9", "it's", `"$HOME" $(reboot) \ ;&|`, "a\nb", "'"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("%q came out as %q, %v", text, out, err)
		}
	}
}

func TestCaptureScript(t *testing.T) {
	nic, _ := mustNode(t, loadDefault(t), "tshark").Capture()
	plain := captureScript(nic, CaptureWanted{}, "/run/pid")
	isShell(t, plain)
	if !strings.HasSuffix(plain, `dumpcap -q -P -B 64 -i "$link" -w - & echo $! >/run/pid; wait $!; s=$?; rm /run/pid; exit $s`) || !strings.Contains(plain, nic.MAC.String()) {
		t.Error(plain)
	}
	full := captureScript(nic, CaptureWanted{Filter: "host 'x'", Count: 3, Duration: 90 * time.Second}, "/run/pid")
	isShell(t, full)
	if !strings.HasSuffix(full, `dumpcap -q -P -B 64 -i "$link" -f 'host '\''x'\''' -c 3 -a duration:90 -w - & echo $! >/run/pid; wait $!; s=$?; rm /run/pid; exit $s`) {
		t.Error(full)
	}
}

// What became of dumpcap is what became of the script.
func TestCaptureScriptEndsAsDumpcap(t *testing.T) {
	nic, _ := mustNode(t, loadDefault(t), "tshark").Capture()
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, want := range []int{0, 1, 42} {
		must(t, os.WriteFile(filepath.Join(bin, "dumpcap"), fmt.Appendf(nil, "#!/bin/sh\nexit %d\n", want), 0o700))
		pidFile := filepath.Join(t.TempDir(), "pid")
		cmd := exec.CommandContext(t.Context(), "bash", "-c", captureScript(nic, CaptureWanted{}, pidFile))
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("exit status %d, want %d", got, want)
		}
		if _, err := os.Stat(pidFile); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the pid file is left: %v", err)
		}
	}
}

func TestAccountBesideErrors(t *testing.T) {
	const spoke = "Packets captured: 3\nPackets received/dropped on interface 'eth1': 3/0 (x)\n"
	broken := errors.New("exit status 2")
	for name, test := range map[string]struct {
		words   string
		err     error
		account bool
		want    string // "" for no error
	}{
		"ended":                    {spoke, nil, true, ""},
		"failed at the end":        {"disk full\n" + spoke, broken, true, "exit status 2: disk full"},
		"failed at once":           {"no such device\n", broken, false, "exit status 2: no such device"},
		"ended without an account": {"\x1bodd\n", nil, false, "dumpcap ended without its account: ?odd"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := account([]byte(test.words), test.err)
			if (a != nil) != test.account || a != nil && a.Written != 3 {
				t.Errorf("%+v", a)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("%v lost its cause", err)
			}
		})
	}
}

func mustNode(t *testing.T, l topology.Lab, name string) topology.Node {
	t.Helper()
	n, ok := l.Node(name)
	if !ok {
		t.Fatalf("no node %s", name)
	}
	return n
}

func TestCapturing(t *testing.T) {
	b := Build{On: newHost(t), Lab: loadDefault(t)}
	for _, name := range []string{"", "tshark"} {
		n, nic, err := b.capturing(name)
		if err != nil || n.Name != "tshark" || nic.Mirror != "iperf-client" {
			t.Errorf("%q: %s, %+v, %v", name, n.Name, nic, err)
		}
		if m := b.mirrorInto(nic); m.Node != "iperf-client" || m.To != nic.Link {
			t.Errorf("%+v", m)
		}
	}
	if _, _, err := b.capturing("influxdb"); err == nil || !strings.Contains(err.Error(), "--node") {
		t.Errorf("%v", err)
	}
}
