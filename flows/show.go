package flows

import (
	"fmt"
	"strings"
	"time"
)

// Sends is what one start of the flow sends, in words.
func (f Flow) Sends() string {
	c := f.Client
	s := c.Bytes + " bytes"
	switch lasts, _ := f.Lasts(); {
	case c.Blocks != "":
		s = c.Blocks + " blocks"
	case c.Bytes == "":
		s = lasts.String()
	}
	if rate := f.rate(); rate > 0 {
		s += " at " + showRate(rate)
	}
	if c.Parallel > 1 {
		s += fmt.Sprintf(" in %d streams", c.Parallel)
	}
	return s
}

// Summary is what flows come to, in a line.
func Summary(flows []Flow) string {
	schedule := Schedule(flows)
	var last time.Duration
	if len(schedule) > 0 {
		last = schedule[len(schedule)-1].After
	}
	offers := []string{}
	for _, d := range []struct {
		upload bool
		name   string
	}{{false, "to clients"}, {true, "to servers"}} {
		if bits, _, _ := Peak(flows, d.upload); bits > 0 {
			offers = append(offers, fmt.Sprintf("up to %s %s", showRate(bits), d.name))
		}
	}
	s := fmt.Sprintf("%d flows, %d starts, the last after %s", len(flows), len(schedule), last)
	if len(offers) > 0 {
		s += "; they offer " + strings.Join(offers, " and ")
	}
	return s
}
