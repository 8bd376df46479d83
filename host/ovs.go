package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Open vSwitch keeps in a database what is to be, and ovs-vswitchd makes it so.
// ovs-vsctl writes there, a transaction a call, and waits until that has been done.

// How long ovs-vswitchd may take for it (seconds). One that is dead takes for ever.
const ovsTime = "30"

const (
	ovsInstall = "apt-get install openvswitch-switch (Fedora: dnf install openvswitch), or write bridge: linux"
	ovsStart   = "systemctl start openvswitch-switch (Fedora: openvswitch); its log is in /var/log/openvswitch"
)

// NoOVS is that the host has no Open vSwitch.
var NoOVS = Unfit{"there is no ovs-vsctl on PATH: this host has no Open vSwitch", ovsInstall}

// OVSRow is a record of Open vSwitch's database, as far as it was asked for. A map's
// value stands under "COLUMN:KEY"; sets and UUIDs are words.
type OVSRow map[string][]string

// One is a column's only word; "" where it has none.
func (r OVSRow) One(column string) string { return strings.Join(r[column], " ") }

// OVS has Open vSwitch carry out commands of ovs-vsctl, all or none of them, parted
// by "--". One that is not there, or does not, is an Unfit.
func OVS(ctx context.Context, commands ...string) error {
	if err := vswitchdAnswers(ctx); err != nil {
		return err
	}
	_, err := ovs(ctx, commands...)
	return err
}

// OVSRows are the records of a table that fulfil a condition, as "name=br0". There are
// none where the host has no Open vSwitch, or it is off.
func OVSRows(ctx context.Context, table, condition string, columns ...string) ([]OVSRow, error) {
	said, err := ovs(ctx, "--format=json", "--columns="+strings.Join(columns, ","), "find", table, condition)
	if errors.As(err, new(Unfit)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readOVS(said)
}

// OVSRuns is nil where Open vSwitch is there and runs; else an Unfit, or why ctx has ended.
func OVSRuns(ctx context.Context) error {
	if _, err := ovs(ctx, "show"); err != nil {
		return err
	}
	return vswitchdAnswers(ctx)
}

// vswitchdAnswers asks ovs-vswitchd itself: the database takes what is written while nobody acts on it.
func vswitchdAnswers(ctx context.Context) error {
	appctl, err := Tool("ovs-appctl")
	if err != nil {
		return NoOVS
	}
	said, err := exec.CommandContext(ctx, appctl, "--timeout="+ovsTime, "--target=ovs-vswitchd", "version").CombinedOutput()
	if err != nil {
		return orCause(ctx, Unfit{"ovs-vswitchd does not answer: " + lastLine(said, err), ovsStart})
	}
	return nil
}

func ovs(ctx context.Context, commands ...string) ([]byte, error) {
	vsctl, err := Tool("ovs-vsctl")
	if err != nil {
		return nil, NoOVS
	}
	var said, complained bytes.Buffer
	cmd := exec.CommandContext(ctx, vsctl, append([]string{"--timeout=" + ovsTime}, commands...)...)
	cmd.Stdout, cmd.Stderr = &said, &complained
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if err == nil {
		return said.Bytes(), nil
	}
	what := lastLine(complained.Bytes(), err)
	switch {
	case strings.Contains(what, "database connection failed"):
		err = Unfit{"Open vSwitch is off: " + what, ovsStart}
	case ended(err) == syscall.SIGALRM:
		err = Unfit{"ovs-vswitchd has not done in " + ovsTime + " seconds what it was to do", ovsStart}
	default:
		err = errors.New(what)
	}
	return nil, orCause(ctx, err)
}

// ended is the signal that has ended a program; 0 where none has.
func ended(err error) syscall.Signal {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}

// orCause is why ctx has ended, where it has; else err.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// lastLine is what a program said last; or how it ended, where it said nothing.
func lastLine(said []byte, err error) string {
	said = bytes.TrimSpace(said)
	if len(said) == 0 {
		return err.Error()
	}
	return Printable(said[bytes.LastIndexByte(said, '\n')+1:])
}

// readOVS reads what ovs-vsctl tells as JSON (RFC 7047, section 5.1).
func readOVS(said []byte) ([]OVSRow, error) {
	var table struct {
		Headings []string
		Data     [][]any
	}
	if err := json.Unmarshal(said, &table); err != nil {
		return nil, fmt.Errorf("read what ovs-vsctl tells: %w", err)
	}
	var rows []OVSRow
	for _, values := range table.Data {
		row := OVSRow{}
		for i, v := range values[:min(len(values), len(table.Headings))] {
			row.add(table.Headings[i], v)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// add adds a value: an atom, ["uuid", U], ["set", [atom…]], or ["map", [[key, atom]…]].
func (r OVSRow) add(column string, value any) {
	kind, of := tagged(value)
	members, _ := of.([]any)
	switch kind {
	case "uuid":
		r[column] = append(r[column], fmt.Sprint(of))
	case "set":
		for _, member := range members {
			r.add(column, member)
		}
	case "map":
		for _, member := range members {
			if pair, ok := member.([]any); ok && len(pair) == 2 {
				r.add(fmt.Sprintf("%s:%v", column, pair[0]), pair[1])
			}
		}
	default:
		r[column] = append(r[column], fmt.Sprint(value))
	}
}

// tagged parts ["uuid", U] and the like; "" for an atom.
func tagged(value any) (string, any) {
	pair, ok := value.([]any)
	if !ok || len(pair) != 2 {
		return "", nil
	}
	kind, _ := pair[0].(string)
	return kind, pair[1]
}
