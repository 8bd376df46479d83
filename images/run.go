package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/mami-project/labctl/host"
)

// packageOf is the Debian package that brings a program we run.
var packageOf = map[string]string{
	"debugfs":             "e2fsprogs",
	"e2fsck":              "e2fsprogs",
	"mke2fs":              "e2fsprogs",
	"mmdebstrap":          "mmdebstrap",
	"qemu-img":            "qemu-utils",
	"qemu-storage-daemon": "qemu-system-common",
	"qemu-system-x86_64":  "qemu-system-x86",
	"resize2fs":           "e2fsprogs",
	"sfdisk":              "fdisk",
	"sh":                  "dash",
	"tar":                 "tar",
	"xz":                  "xz-utils",
}

// command is a program that ends with labctl, whatever ends it.
func command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := host.Tool(name)
	if err != nil {
		return nil, host.Unfit{
			What: fmt.Sprintf("%s is not installed", name),
			Fix:  "apt-get install " + packageOf[name],
		}
	}
	c := exec.CommandContext(ctx, path, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c, nil
}

// run runs a program to its end.
func run(ctx context.Context, name string, args ...string) error {
	c, err := command(ctx, name, args...)
	if err != nil {
		return err
	}
	_, err = finish(ctx, c)
	return err
}

// finish runs c to its end and returns what it wrote on its standard output; its
// last words are in the error.
func finish(ctx context.Context, c *exec.Cmd) (string, error) {
	// the death signal comes when the thread that forked ends
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out, diag bytes.Buffer
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &diag
	}
	if err := c.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if strings.Contains(diag.String(), "No space left on device") {
			err = syscall.ENOSPC
		}
		return out.String(), failed{filepath.Base(c.Path), err, lastLines(out.String()+"\n"+diag.String(), 4)}
	}
	return out.String(), nil
}

// failed is a program's failure.
type failed struct {
	program string
	err     error
	said    string
}

func (f failed) Unwrap() error { return f.err }

func (f failed) Error() string {
	if f.said == "" {
		return fmt.Sprintf("%s: %v", f.program, f.err)
	}
	return fmt.Sprintf("%s: %v: %s", f.program, f.err, f.said)
}

// exitCode is the exit code of the program that err is about, -1 if it is not about one.
func exitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

func lastLines(s string, n int) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
