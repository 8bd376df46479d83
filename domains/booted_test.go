package domains

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOpenRCScript asks as a node would be asked, of what OpenRC notes at each stage of a boot.
func TestOpenRCScript(t *testing.T) {
	for name, test := range map[string]struct {
		noted map[string]string // by path; folders end in /
		want  string
	}{
		"before OpenRC":      {nil, "starting sysinit"},
		"boot":               {map[string]string{"softlevel": "boot"}, "starting boot"},
		"starting services":  {map[string]string{"softlevel": "default", "rc.starting/": ""}, "starting default"},
		"booted":             {map[string]string{"softlevel": "default", "failed/": ""}, "running"},
		"booted, two failed": {map[string]string{"softlevel": "default", "failed/sshd": "", "failed/influxdb": ""}, "running\ninfluxdb\nsshd"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for path, text := range test.noted {
				at := filepath.Join(dir, path)
				err := os.MkdirAll(filepath.Dir(at), 0o755)
				if strings.HasSuffix(path, "/") {
					err = os.MkdirAll(at, 0o755)
				} else if err == nil {
					err = os.WriteFile(at, []byte(text), 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command("bash", "-c", strings.ReplaceAll(openRCScript(0), "/run/openrc", dir)).Output()
			if got := strings.TrimSpace(string(out)); err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestNotRunningOpenRC(t *testing.T) {
	r := requirements[slices.IndexFunc(requirements, func(r requirement) bool { return r.what == "the system has booted" })]
	r.met = func(context.Context, Machine) error { return notRunningOpenRC("running", "influxdb\nsshd") }
	require(t, r)
	err := waiting(t).Wait(t.Context(), func(string) {})
	says(t, err, "waiting until the system has booted: services have failed:\n    influxdb\n    sshd", "labctl exec tshark -- rc-status --all")
}
