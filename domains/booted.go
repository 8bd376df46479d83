package domains

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mami-project/labctl/host"
)

// guestAlpine is the guest whose service manager is OpenRC; all others have systemd.
const guestAlpine = "alpine"

// hasBooted waits for the service manager's own word: the agent answers long before.
func hasBooted(ctx context.Context, m Machine) error {
	if m.Guest == guestAlpine {
		return m.hasBootedOpenRC(ctx)
	}
	r, err := m.agent().Exec(ctx, nil, "systemctl", "is-system-running", "--wait")
	if err != nil {
		return err
	}
	state := host.Excerpt(r.Out)
	if state == "running" {
		return nil
	}
	failed, err := m.agent().Exec(ctx, nil, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
	if err != nil {
		return err
	}
	return notRunning(state, host.Excerpt(r.Err), host.Excerpt(failed.Out))
}

// running is nil where the service manager says that the system runs, now.
func (m Machine) running(ctx context.Context) error {
	if m.Guest == guestAlpine {
		state, failed, err := m.openRC(ctx, 0)
		if err != nil || state == "running" && failed == "" {
			return err
		}
		return notRunningOpenRC(state, failed)
	}
	r, err := m.agent().Exec(ctx, nil, "systemctl", "is-system-running")
	if err != nil {
		return err
	}
	if state := host.Excerpt(r.Out); state != "running" {
		return fmt.Errorf("the system is %s", state)
	}
	return nil
}

// notRunning is that the service manager calls the system something else than
// running: said is what it said beside that, failed are its failed units.
func notRunning(state, said, failed string) error {
	err := errors.New(strings.TrimSpace("the system is " + state + " " + said))
	if failed == "" {
		return err
	}
	return hinted{
		fmt.Errorf("%w; failed units:\n    %s", err, strings.ReplaceAll(failed, "\n", "\n    ")),
		"labctl exec NODE -- systemctl --failed lists them; once they are mended, labctl exec NODE -- systemctl reset-failed",
	}
}

// askTime is how long one question waits in the node for its boot's end (s): to
// be asked often would slow the boot down.
const askTime = 10

// hasBootedOpenRC waits until the last runlevel has been entered, and all that it starts has started.
func (m Machine) hasBootedOpenRC(ctx context.Context) error {
	var failed string
	err := until(ctx, func() (bool, error) {
		var state string
		var err error
		state, failed, err = m.openRC(ctx, askTime)
		return state == "running", err
	})
	if err != nil || failed == "" {
		return err
	}
	return notRunningOpenRC("running", failed)
}

// openRC asks the service manager how far the boot is, or waits some seconds for
// its end: running, or starting LEVEL. failed are the services that do not run
// and should, a line each.
func (m Machine) openRC(ctx context.Context, seconds int) (state, failed string, err error) {
	out, err := m.agent().Bash(ctx, openRCScript(seconds))
	if err != nil {
		return "", "", err
	}
	state, failed, _ = strings.Cut(host.Excerpt(out), "\n")
	return state, failed, nil
}

// openRCScript asks what OpenRC notes of itself: the level that it enters (a line without an end), a
// folder that is there while it starts or stops services, one with the services
// that failed; those of a supervisor's that gave up it only tells by rc-status.
func openRCScript(seconds int) string {
	return fmt.Sprintf(`
at() { level=; read -r level </run/openrc/softlevel; [ "$level" = default ] && [ ! -e /run/openrc/rc.starting ]; } 2>/dev/null
exec {never}<> <(:)
until at; do
	[ $SECONDS -lt %d ] || { echo "starting ${level:-sysinit}"; exit; }
	read -rt 0.1 -u $never || :
done
echo running
{ ls /run/openrc/failed; rc-status --nocolor --crashed; } 2>/dev/null | sort -u || :`, seconds)
}

// notRunningOpenRC is that services do not run, or that the boot goes on.
func notRunningOpenRC(state, failed string) error {
	if failed == "" {
		return fmt.Errorf("the system is %s", state)
	}
	return hinted{
		fmt.Errorf("services have failed:\n    %s", strings.ReplaceAll(failed, "\n", "\n    ")),
		"labctl exec NODE -- rc-status --all lists them, and labctl exec NODE -- rc-service SERVICE restart starts one again",
	}
}
