package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

func TestExitCode(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"done":                            {t.Context(), nil, exitDone},
		"done in spite of an interrupt":   {interrupted, nil, exitDone},
		"failed":                          {t.Context(), broken, exitFailed},
		"another program's":               {t.Context(), status(42), 42},
		"another program's, interrupted":  {interrupted, status(42), 42},
		"interrupted":                     {interrupted, broken, exitInterrupted},
		"usage":                           {t.Context(), usage{"flags go before arguments"}, exitUsage},
		"a bad file":                      {t.Context(), topology.Problems{{Msg: "m"}}, exitBadFile},
		"a host that is not fit":          {t.Context(), host.Unfits{{What: "no room"}}, exitUnfit},
		"one reason that it is not":       {t.Context(), host.Unfit{What: "no libvirt"}, exitUnfit},
		"not in time":                     {t.Context(), lab.TimedOut{After: time.Second}, exitTimedOut},
		"a deadline":                      {t.Context(), context.DeadlineExceeded, exitTimedOut},
		"a lab that changed":              {t.Context(), lab.Changed{Lab: "x"}, exitFailed},
		"a lab that is not there":         {t.Context(), lab.Unknown{Lab: "x"}, exitFailed},
		"a lab that is not all gone":      {t.Context(), lab.Left{Lab: "x"}, exitFailed},
		"the host's reason beside others": {t.Context(), errors.Join(broken, host.Unfits{{}}), exitUnfit},
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{test.err, wrapped(test.err)} {
				if got := exitCode(test.ctx, err); got != test.want {
					t.Errorf("%d of %v, want %d", got, err, test.want)
				}
			}
		})
	}
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("create network/a: %w", err)
}
