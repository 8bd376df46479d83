//go:build e2e

package domains

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// empty is a machine that runs nothing but its firmware.
func empty(t *testing.T) Machine {
	t.Helper()
	h, err := host.Connect("", host.DefaultDir)
	must(t, err)
	t.Cleanup(h.Close)
	n := topology.Node{Name: "empty", Lab: demoTag().Lab, Object: "labctl.trafic.empty"}
	mark, err := demoTag().XML()
	must(t, err)
	d, err := h.DomainDefineXML(fmt.Sprintf(`<domain type="qemu"><name>%s</name><metadata>%s</metadata><memory unit="MiB">32</memory>
<os><type arch="x86_64">hvm</type></os><on_crash>destroy</on_crash><devices><serial type="pty"/></devices></domain>`, n.Object, mark))
	must(t, err)
	must(t, d.Create())
	must(t, d.Free())
	return Machine{On: h, Node: n, Tag: demoTag()}
}

func TestDestroyLeavesNoLog(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		before, err := os.ReadDir(qemuLogDir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		m := empty(t)
		during, err := os.ReadDir(qemuLogDir)
		if err != nil || len(during) != len(before)+1 {
			t.Errorf("logs while it runs: %v, %v", during, err)
		}
		must(t, m.Destroy(t.Context()))
		state(t, m, host.Absent)
		after, err := os.ReadDir(qemuLogDir)
		if err != nil || len(after) != len(before) {
			t.Errorf("logs are left: %v, %v", after, err)
		}
	})
}

// interrupting is a terminal whose user types once and is interrupted then.
type interrupting struct {
	context.Context
	interrupt func()
}

func (i interrupting) Read(b []byte) (int, error) {
	i.interrupt()
	<-i.Done()
	return copy(b, "x"), nil
}

func TestAttachEndsWithItsContext(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		m := empty(t)
		interrupted := errors.New("interrupted")
		attach := func() error {
			ctx, cancel := context.WithCancelCause(t.Context())
			return m.Attach(ctx, interrupting{ctx, func() { cancel(interrupted) }}, io.Discard)
		}
		for i := range 50 {
			ended := make(chan error, 1)
			go func() { ended <- attach() }()
			select {
			case err := <-ended:
				if !errors.Is(err, interrupted) {
					t.Fatalf("time %d: %v", i, err)
				}
			case <-time.After(3 * longWait):
				t.Fatalf("time %d: it still waits", i)
			}
		}
		// the connection serves on, and the end of the machine is the end too
		ended := make(chan error, 1)
		in, typed := io.Pipe()
		t.Cleanup(func() { _ = in.Close() })
		go func() { ended <- m.Attach(t.Context(), in, io.Discard) }()
		_, err := typed.Write([]byte("x"))
		must(t, err)
		must(t, m.Destroy(t.Context()))
		select {
		case err := <-ended:
			t.Log("the machine's end:", err)
		case <-time.After(3 * longWait):
			t.Error("it outlives the machine")
		}
	})
}
