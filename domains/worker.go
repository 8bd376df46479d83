package domains

import (
	"bufio"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
)

// worker is Perl; the part of it that each Debian has is enough.
//
//go:embed worker.pl
var worker string

// workerChannel is the name under which a node's worker is found, and finds its port.
const workerChannel = "labctl.worker"

// The most that a worker says at once (bytes), how long it may take for it, and how often one that is
// started is looked at, which takes the guest's time, and after how many looks one that does not end is told to.
const (
	saysMost    = 4 << 20
	workerTime  = 30 * time.Second
	workerFails = time.Second
	leftLooks   = 5
)

// Worker is the host's end of a node's worker, which is asked for one thing after another.
// What it answers is a guest's word: bounded in size, and never run on the host.
type Worker struct {
	port    net.Conn
	answers *bufio.Reader
	asked   int // by number, from one that no other labctl began with: answers to that may still come
}

func newWorker(port net.Conn) *Worker {
	return &Worker{port: port, answers: bufio.NewReader(port), asked: rand.IntN(1 << 30)}
}

// StartWorker starts a worker in the machine, which waits to be asked: worker.pl says for what.
// A node whose image has no Perl gets none (nil), and nor does one whose machine has no port for it.
func (m Machine) StartWorker(ctx context.Context) (*Worker, error) {
	a := m.agent()
	port, err := a.freeWorkerPort(ctx)
	if port == nil || err != nil {
		return nil, err
	}
	pid, err := a.Start(ctx, []byte(worker), "perl", "-", workerChannel)
	if isRefused(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w, err := dialWorker(ctx, port)
	if err != nil {
		return nil, err
	}
	asking, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { stop(a.ends(asking, pid)) })
	_, err = w.Ask(asking, "random 00") // its answer is that it is there
	stop(nil)
	watching.Wait()
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	return w, nil
}

// freeWorkerPort waits until no worker has the node's port open: not the one before, which takes its time to
// end, and drops then what it was not asked for; nor one that a labctl left which was killed. It is nil
// where the machine has no port.
func (a Agent) freeWorkerPort(ctx context.Context) (*libvirtxml.DomainChannel, error) {
	for look := 1; ; look++ {
		port, err := a.workerPort()
		if port == nil || err != nil || port.Target.VirtIO.State != "connected" {
			return port, err
		}
		if look == leftLooks {
			if err := a.endWorker(ctx); err != nil {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

// Close hangs up.
func (w *Worker) Close() error { return w.port.Close() }

// EndWorker ends the machine's worker.
func (m Machine) EndWorker(ctx context.Context) error { return m.agent().endWorker(ctx) }

func (a Agent) endWorker(ctx context.Context) error {
	w, err := a.Worker(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	_, err = w.Ask(ctx, "end")
	return err
}

// ends waits for the end of a process that is not to end, and says how it did.
func (a Agent) ends(ctx context.Context, pid int) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(workerFails):
		}
		if r, ended, err := a.Ended(ctx, pid); err != nil || ended {
			return cmp.Or(err, r.Failed())
		}
	}
}

// Worker connects with the node's worker.
func (a Agent) Worker(ctx context.Context) (*Worker, error) {
	port, err := a.workerPort()
	if err != nil {
		return nil, err
	}
	if port == nil {
		return nil, errNoWorkerPort
	}
	return dialWorker(ctx, port)
}

func dialWorker(ctx context.Context, port *libvirtxml.DomainChannel) (*Worker, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", port.Source.UNIX.Path)
	if err != nil {
		return nil, fmt.Errorf("connect with the node's worker: %w", err)
	}
	return newWorker(c), nil
}

var errNoWorkerPort = errors.New("the node has no port for a worker")

// workerPort is the port that the running machine has for its worker, a socket on the host; nil where it has none.
func (a Agent) workerPort() (*libvirtxml.DomainChannel, error) {
	d, err := a.On.LookupDomainByName(a.Node.Object)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Free() }()
	is, err := describe(d)
	if err != nil {
		return nil, err
	}
	for i, c := range is.Devices.Channels {
		if c.Target != nil && c.Target.VirtIO != nil && c.Target.VirtIO.Name == workerChannel && c.Source != nil && c.Source.UNIX != nil {
			return &is.Devices.Channels[i], nil
		}
	}
	return nil, nil
}

// Ask has the worker do those things, and returns what it says of the last. It ends with ctx; the worker
// can be asked again then.
func (w *Worker) Ask(ctx context.Context, things ...string) (says []byte, err error) {
	if len(things) == 0 {
		return nil, nil
	}
	if err := w.port.SetDeadline(time.Now().Add(workerTime)); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = w.port.SetDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-ended // or it would end what is asked next
		}
	}()
	var lines strings.Builder
	lines.WriteByte('\n') // behind what was not said to the end
	first := w.asked
	for _, thing := range things {
		w.asked++
		fmt.Fprintf(&lines, "%d %s\n", w.asked, thing)
	}
	if _, err := io.WriteString(w.port, lines.String()); err != nil {
		return nil, w.failed(ctx, things[0], err)
	}
	for i, thing := range things {
		if says, err = w.answer(first + i + 1); err != nil {
			return nil, w.failed(ctx, thing, err)
		}
	}
	return says, nil
}

func (w *Worker) failed(ctx context.Context, thing string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	verb, _, _ := strings.Cut(thing, " ")
	return fmt.Errorf("the node's worker: %s: %w", verb, err)
}

// answer reads the answer to one thing. Others are to what nobody waited for to the end.
func (w *Worker) answer(id int) ([]byte, error) {
	for {
		got, how, says, err := w.next()
		switch {
		case err != nil:
			return nil, err
		case got != id:
			continue
		case how != "done":
			return nil, errors.New(host.Excerpt(says))
		}
		return says, nil
	}
}

// next reads an answer.
func (w *Worker) next() (id int, how string, says []byte, err error) {
	line, err := w.answers.ReadSlice('\n')
	if err != nil {
		return 0, "", nil, err
	}
	var bytes int
	if _, err := fmt.Sscanf(string(line), "%d %s %d\n", &id, &how, &bytes); err != nil || bytes < 0 {
		return 0, "", nil, fmt.Errorf("it answered %s", host.Excerpt(line))
	}
	if bytes > saysMost {
		return 0, "", nil, fmt.Errorf("%w: %d bytes, of at most %d", errTooMuch, bytes, saysMost)
	}
	says = make([]byte, bytes)
	_, err = io.ReadFull(w.answers, says)
	return id, how, says, err
}
