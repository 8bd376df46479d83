package domains

import (
	"os/exec"
	"strings"
	"testing"
)

func run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", command, err, out)
	}
	return string(out)
}

func TestLacks(t *testing.T) {
	must := []string{"bash", "dumpcap", "socat"}
	says(t, lacks(must, nil))
	says(t, lacks(must, []string{"dumpcap", "socat", "\x1b[31m"}), "the image lacks dumpcap (of tshark), socat")
	says(t, lacks(must, []string{"\x1b[31m"}))
}

// What changes a delivery makes it another.
func TestDigestOfADelivery(t *testing.T) {
	seen := map[string]string{}
	for name, d := range map[string]Delivery{
		"one":            {Files: delivered, Apply: "true", Arguments: []string{"a", "b"}},
		"other files":    {Files: delivered[1:], Apply: "true", Arguments: []string{"a", "b"}},
		"another script": {Files: delivered, Apply: "false", Arguments: []string{"a", "b"}},
		"other words":    {Files: delivered, Apply: "true", Arguments: []string{"ab"}},
	} {
		archive, err := pack(d.Files)
		if err != nil {
			t.Fatal(err)
		}
		digest := d.digest(archive)
		if before, ok := seen[digest]; ok {
			t.Errorf("%s and %s are the same", name, before)
		}
		seen[digest] = name
		if len(strings.TrimSpace(digest)) != 64 {
			t.Errorf("%q", digest)
		}
	}
}

func TestRefusingAgents(t *testing.T) {
	for said, want := range map[string]bool{
		"guest agent command failed: unable to execute QEMU agent command 'guest-exec': The command guest-exec has been disabled for this instance":       true,
		"guest agent command failed: unable to execute QEMU agent command 'guest-exec': Command guest-exec has been disabled: the command is not allowed": true,
		"internal error: unable to execute QEMU agent command 'guest-exec': The command guest-exec has not been found":                                    true,
		"failed to open file '/etc/labctl/configured' (mode: 'r'): No such file or directory":                                                             false,
	} {
		if refuses.MatchString(said) != want {
			t.Errorf("%q: %v", said, !want)
		}
	}
}
