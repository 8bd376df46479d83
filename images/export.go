package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// export shows the content of a disk image as a plain file, until it is closed:
// a storage daemon of ours serves it by FUSE, mounted in a namespace of the
// daemon's own, so that no mount outlives it, however we end.
type export struct {
	Path   string // the plain file
	daemon *exec.Cmd
	ended  chan error
	diag   bytes.Buffer
	point  string
}

// How long the daemon may take to serve; it takes hundredths of a second.
const exportTime = 30 * time.Second

// openExport serves the QCOW2 image disk of that size, for writing.
func openExport(ctx context.Context, disk string, size int64) (*export, error) {
	return serve(ctx, disk, part{Bytes: size, writable: true})
}

// part is what an export shows of a disk: bytes from Start on.
type part struct {
	Start, Bytes int64
	writable     bool
}

// serve exports a part of the QCOW2 image disk.
func serve(ctx context.Context, disk string, p part) (*export, error) {
	e := &export{point: disk + ".raw", ended: make(chan error, 1)}
	if err := os.WriteFile(e.point, nil, 0o600); err != nil {
		return nil, err
	}
	c, err := command(ctx, "qemu-storage-daemon",
		// flushed once, at the end
		"--blockdev", "driver=file,node-name=file,cache.no-flush=on,filename="+escape(disk)+p.readOnly(),
		"--blockdev", "driver=qcow2,node-name=disk,file=file,cache.no-flush=on,discard=unmap,detect-zeroes=unmap"+p.readOnly(),
		"--blockdev", fmt.Sprintf("driver=raw,node-name=part,file=disk,cache.no-flush=on,discard=unmap,detect-zeroes=unmap,offset=%d,size=%d", p.Start, p.Bytes)+p.readOnly(),
		"--export", "type=fuse,id=part,node-name=part,writable="+onOff(p.writable)+",mountpoint="+escape(e.point))
	if err != nil {
		return nil, errors.Join(err, os.Remove(e.point))
	}
	c.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = exportTime
	c.Stderr = &e.diag
	e.daemon = c
	started := make(chan error)
	go func() {
		// the death signal comes when the thread that forked ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			e.ended <- c.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(err, os.Remove(e.point))
	}
	e.Path = fmt.Sprintf("/proc/%d/root%s", c.Process.Pid, e.point)
	if err := e.served(ctx, p.Bytes); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// readOnly is what has QEMU open an image for reading only, in its option syntax.
func (p part) readOnly() string { return ",read-only=" + onOff(!p.writable) }

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// served waits until the plain file has the disk's size.
func (e *export) served(ctx context.Context, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, exportTime)
	defer cancel()
	for {
		if i, err := os.Stat(e.Path); err == nil && i.Size() == size {
			return nil
		}
		select {
		case err := <-e.ended:
			e.ended <- err
			return errors.New("the export of the disk ended before it was served")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Close ends the daemon and waits until it has written everything.
func (e *export) Close() error {
	_ = e.daemon.Process.Signal(syscall.SIGTERM) // it may have ended
	err := <-e.ended
	if err != nil {
		err = failed{"qemu-storage-daemon", err, lastLines(e.diag.String(), 3)}
	}
	return errors.Join(err, remove(e.point))
}

// escape is a path in QEMU's option syntax.
func escape(path string) string {
	return string(bytes.ReplaceAll([]byte(path), []byte(","), []byte(",,")))
}
