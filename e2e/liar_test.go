//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// orders are what a terminal may obey: an escape, its one-character form, and a
// turn of the reading direction.
var orders = []string{"\x1b]", "\x07", "\u009b", "\u202e"}

// evil prints all of them in a shell.
const evil = `printf '\033]0;evil\007\302\23331m\342\200\256'`

// onATerminal is what labctl prints on a terminal.
func onATerminal(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("script", "-qec", os.Getenv(binary)+" "+strings.Join(args, " "), "/dev/null")
	out, _ := cmd.CombinedOutput()
	t.Logf("labctl %s on a terminal: %q", strings.Join(args, " "), out)
	return string(out)
}

// harmless fails the test where a terminal would obey the text.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	for _, o := range orders {
		if strings.Contains(text, o) {
			t.Errorf("%s: %q reaches the terminal", what, o)
		}
	}
}

func wordsOnATerminal(t *testing.T) {
	script := write(t, "evil.sh", evil+"; "+evil+" >&2")
	must(t, "cp", "--lab", "red", script, "one:/root/evil.sh")
	out := onATerminal(t, "exec", "--lab", "red", "one", "--", "sh", "/root/evil.sh")
	harmless(t, "exec", out)
	if strings.Count(out, "evil") != 2 {
		t.Errorf("exec prints %q", out)
	}
}

// liar is a guest agent that keeps to the protocol as far as it must to be heard.
const liar = `for port in /sys/class/virtio-ports/*; do
	[ "$(cat $port/name)" != org.qemu.guest_agent.0 ] || exec 3<>/dev/${port##*/}
done
say() { printf '%s\n' "$1" >&3; }
many() { printf '{"return": ['; yes '{},' | head -$1 | tr -d '\n'; printf '{}]}\n'; }
order=$'\e]0;evil\a\302\23331m\342\200\256'
while :; do
	IFS= read -r line <&3 || { sleep 0.1; continue; }
	case $line in
	*guest-sync*) id=${line##*\"id\":}; say "{\"return\": ${id%%[!0-9]*}}"; continue ;;
	esac
	case $1 in
	refuses) say '{"error": {"class": "GenericError", "desc": "\u001b]0;evil\u0007\u009b31m\u202e"}}' ;;
	noise) while :; do printf '%s' "$order"; done >&3 ;;
	much) many 400000 >&3 ;;
	wrong) say '{"return": "\u001b]0;evil\u0007\u009b31m\u202e"}' ;;
	silent) ;;
	never) case $line in *guest-exec\"*) say '{"return": {"pid": 1}}' ;; *) say '{"return": {"exited": false}}' ;; esac ;;
	esac
done
`

// aNodeLies replaces a node's agent by one that lies in each way there is: labctl
// ends in its time, with an error that a terminal can be shown.
func aNodeLies(t *testing.T) {
	must(t, "cp", "--lab", "red", write(t, "liar", liar), "one:/root/liar")
	must(t, "ssh", "--lab", "red", "one", "--", "systemctl stop qemu-guest-agent; "+evil+" >/dev/ttyS0")
	commands := map[string][]string{
		"status": {"status", "--lab", "red"},
		"verify": {"verify", "--lab", "red", "--timeout", "5s"},
		"up":     {"up", "--timeout", "5s", smallLab(t, "red")},
		"exec":   {"exec", "--lab", "red", "one", "--", "true"},
	}
	for _, lie := range []struct{ way, to, says string }{
		{"refuses", "status verify up exec", "?]0;evil?"},
		{"noise", "status verify", ""},
		{"much", "status verify exec", "more than was asked for"},
		{"wrong", "status verify up exec", "guest-exec answered"},
		{"silent", "status verify", ""},
		{"never", "status verify up", "not ready after 5s"}, // exec may take as long as its command does
	} {
		t.Run(lie.way, func(t *testing.T) {
			must(t, "ssh", "--lab", "red", "one", "--", "setsid bash /root/liar "+lie.way+" </dev/null >/dev/null 2>&1 & echo $! >/root/liar.pid")
			defer must(t, "ssh", "--lab", "red", "one", "--", "kill -9 $(cat /root/liar.pid); until ! pgrep -f '^bash /root/liar'; do sleep 0.1; done")
			said := ""
			for name := range strings.FieldsSeq(lie.to) {
				start := time.Now()
				r := labctl(t, commands[name]...)
				for range 5 { // the channel is let go of now and then
					if !strings.Contains(r.err, "is not connected") {
						break
					}
					start = time.Now()
					r = labctl(t, commands[name]...)
				}
				if took := time.Since(start); took > 90*time.Second {
					t.Errorf("%s took %v", name, took)
				}
				harmless(t, name, r.out+r.err)
				if most := 32 << 10; len(r.out)+len(r.err) > most {
					t.Errorf("%s printed %d bytes", name, len(r.out)+len(r.err))
				}
				if name != "status" && r.code == 0 {
					t.Errorf("%s believes it", name)
				}
				if strings.Contains(r.err, "is not connected") {
					t.Errorf("%s does not hear it: this test shows nothing", name)
				}
				said += r.err
			}
			if !strings.Contains(said, lie.says) {
				t.Errorf("nobody says %q", lie.says)
			}
			if lie.way == "refuses" {
				harmless(t, "verify on a terminal", onATerminal(t, commands["verify"]...))
			}
		})
	}
}
