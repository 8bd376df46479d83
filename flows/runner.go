package flows

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Experiment is traffic between two nodes: iperf3's servers on the one, its clients
// on the other, bound to their measurement addresses.
type Experiment struct {
	Flows          []Flow
	Client, Server Guest
	From, To       netip.Addr    // the client's address, and the server's
	Grace          time.Duration // how long after the last that is planned clients may still run
	Tell           func(string)  // of progress
}

// name is what a start is called in its node's folder.
func (s Start) name() string { return fmt.Sprintf("%d.%d", s.Flow, s.Nth) }

// Listen starts the servers, and returns once each listens.
func (e Experiment) Listen(ctx context.Context) error {
	out, err := e.Server.Bash(ctx, serverScript(e.Flows, e.To))
	if err == nil {
		return nil
	}
	index, why, _ := strings.Cut(string(out), " ")
	if i, nerr := strconv.Atoi(index); nerr == nil && i >= 0 && i < len(e.Flows) {
		return fmt.Errorf("the server of flow %s does not start: %s", e.Flows[i].Label, strings.TrimSpace(why))
	}
	return fmt.Errorf("start the servers: %w", err)
}

// How often the client is asked how far it is, which takes of its time.
const progressEvery = 2 * time.Second

// Overdue says that clients still ran when their time was over.
type Overdue struct{ After time.Duration }

func (o Overdue) Error() string {
	return fmt.Sprintf("flows still ran %s after the run's beginning, and were ended", o.After.Round(time.Second))
}

// Send starts the clients by their schedule and waits for the end of the last. It
// returns the run's zero instant by the client's clock; the zero Time where it never
// came to it. However it ends, no client runs any more, unless the node is lost.
func (e Experiment) Send(ctx context.Context) (zero time.Time, err error) {
	starts := Schedule(e.Flows)
	out, err := e.Client.Bash(ctx, clientScript(e.Flows, starts, e.From, e.To))
	if err != nil {
		return time.Time{}, fmt.Errorf("start the clients: %w", err)
	}
	us, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("start the clients: %q is no instant", out)
	}
	defer func() {
		if err != nil {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			_, serr := e.Client.Bash(stopping, stopScript)
			err = errors.Join(err, serr)
		}
	}()
	return time.UnixMicro(us), e.await(ctx, e.deadline(starts), len(starts))
}

// How long the clients may take to be ended.
const stopTime = time.Minute

// deadline is how long after its beginning all of a run has ended.
func (e Experiment) deadline(starts []Start) time.Duration {
	var last time.Duration
	for _, s := range starts {
		lasts, _ := e.Flows[s.Flow].Lasts()
		last = max(last, s.After+lasts)
	}
	return last + e.Grace
}

// await waits until all starts have ended.
func (e Experiment) await(ctx context.Context, deadline time.Duration, starts int) error {
	over := time.After(deadline + leadTime*time.Microsecond)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for told := -1; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over:
			return Overdue{deadline}
		case <-tick.C:
		}
		out, err := e.Client.Bash(ctx, progressScript)
		if err != nil {
			return fmt.Errorf("the client is lost: %w", err)
		}
		number, state, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		n, err := strconv.Atoi(number)
		switch {
		case err != nil:
			return fmt.Errorf("the client is lost: it says %q of its flows", out)
		case state == "done":
			return nil
		case state == "gone":
			return errors.New("the client has lost its flows: was it restarted, or its processes killed?")
		case n != told:
			e.Tell(fmt.Sprintf("%d of %d starts have ended", n, starts))
			told = n
		}
	}
}

// End ends the servers, and removes what the run made in both nodes.
func (e Experiment) End(ctx context.Context) error {
	_, serr := e.Server.Bash(ctx, forgetScript)
	_, cerr := e.Client.Bash(ctx, forgetScript)
	return errors.Join(serr, cerr)
}
