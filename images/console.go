package images

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mami-project/labctl/host"
)

// What of a guest's words is kept: a guest may say any amount of anything.
const (
	unreadMost  = 64 << 10 // that nobody waited for yet
	patternMost = 512      // the longest text that a pattern has to match
)

// console is the dialogue with a guest over its serial line. Its far end writes
// what the guest says to it and ends it when the machine ends.
type console struct {
	keys io.Writer // to the guest

	mu     sync.Mutex
	unread []byte // what the guest has said since the last match
	seen   int    // so much of it was searched
	said   []byte // the last of what it has said, for errors
	ended  error  // why nothing will follow
	news   chan struct{}
}

func newConsole(keys io.Writer) *console {
	return &console{keys: keys, news: make(chan struct{}, 1)}
}

// Write takes what the guest says.
func (c *console) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unread = append(c.unread, text...)
	if over := len(c.unread) - unreadMost; over > 0 {
		c.unread = append(c.unread[:0], c.unread[over:]...)
		c.seen = max(0, c.seen-over)
	}
	c.said = append(c.said, text...)
	if over := len(c.said) - unreadMost; over > 0 {
		c.said = append(c.said[:0], c.said[over:]...)
	}
	c.wake()
	return len(text), nil
}

// end says that the guest will say no more.
func (c *console) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = err
	c.wake()
}

func (c *console) wake() {
	select {
	case c.news <- struct{}{}:
	default: // it is awake
	}
}

// endTime is how long a machine that reads no keys any more may take to end.
var endTime = 20 * time.Second // tests have less patience

// nothing matches no text.
var nothing = regexp.MustCompile(`[^\s\S]`)

// send types text. What is to come of it stands in the error.
func (c *console) send(ctx context.Context, what, text string) error {
	_, err := io.WriteString(c.keys, text)
	if err == nil {
		return nil
	}
	// nobody reads the keys of a machine that ends, and its end says why
	if _, _, end := c.expect(ctx, what, nothing, endTime); !errors.Is(end, context.DeadlineExceeded) {
		return end
	}
	return c.fault(fmt.Sprintf("%v, before %s", err, what), err)
}

// expect waits until the guest has said what matches the pattern, at most so long,
// and returns what it said before and the parts of the match. what is waited for
// stands in the error.
func (c *console) expect(ctx context.Context, what string, pattern *regexp.Regexp, most time.Duration) (before string, match []string, err error) {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	for {
		before, match, ended := c.search(pattern)
		switch {
		case match != nil:
			return before, match, nil
		case ended != nil:
			return "", nil, c.fault(fmt.Sprintf("the machine ended (%v) before %s", ended, what), ended)
		}
		select {
		case <-c.news:
		case <-ctx.Done():
			return "", nil, context.Cause(ctx)
		case <-deadline.C:
			return "", nil, c.fault(fmt.Sprintf("waited %v for %s", most, what), context.DeadlineExceeded)
		}
	}
}

// search looks for the pattern in what was not searched yet, and takes it and all before it.
func (c *console) search(pattern *regexp.Regexp) (before string, match []string, ended error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := max(0, c.seen-patternMost)
	at := pattern.FindSubmatchIndex(c.unread[from:])
	if at == nil {
		c.seen = len(c.unread)
		return "", nil, c.ended
	}
	for i := 0; i < len(at); i += 2 {
		part := ""
		if at[i] >= 0 {
			part = string(c.unread[from+at[i] : from+at[i+1]])
		}
		match = append(match, part)
	}
	before = string(c.unread[:from+at[0]])
	c.unread, c.seen = c.unread[from+at[1]:], 0
	return before, match, nil
}

// fault is an error with the last lines of the console.
func (c *console) fault(what string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return consoleFault{what, lastSaid(c.said, 8), err}
}

// consoleFault is a dialogue that did not go on.
type consoleFault struct {
	what, said string
	err        error
}

func (f consoleFault) Unwrap() error { return f.err }

func (f consoleFault) Error() string {
	if f.said == "" {
		return f.what + "; the serial console said nothing"
	}
	return f.what + "; the last lines of its serial console:\n    " + strings.ReplaceAll(f.said, "\n", "\n    ")
}

// lastSaid are the last lines of a guest's words, fit to be printed.
func lastSaid(said []byte, lines int) string {
	const line = 200 // bytes, of which a terminal shows a few rows
	text := host.Excerpt(escapes.ReplaceAll(said, nil))
	var last []string
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if len(l) > line {
			l = strings.ToValidUTF8(l[:line], "") + "…"
		}
		if l != "" {
			last = append(last, l)
		}
	}
	return strings.Join(last[max(0, len(last)-lines):], "\n")
}

// escapes are a terminal's orders, of which shells and progress bars are full.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`)

// errStatus is a command in the guest that failed.
var errStatus = errors.New("failed")

// run gives the guest's shell a script, waits for its end, at most so long, and
// returns what it printed. Its first command that fails ends it, with an error.
// The shell may echo what it is given, in pieces: the mark of the end does not
// stand in it as it is printed; and it is part of the one command that the shell
// reads before it begins, so that no program of the script takes it for an answer.
// Where what the script says matches asks, it waits for an answer which nobody
// will give: an error.
func (c *console) run(ctx context.Context, what, script string, asks *regexp.Regexp, most time.Duration) (string, error) {
	mark := "labctl-" + rand.Text()
	half := len(mark) / 2
	end := "the end of: " + what
	if err := c.send(ctx, end, fmt.Sprintf("(set -e\n%s\n); echo %s''%s $?\n", strings.TrimSuffix(script, "\n"), mark[:half], mark[half:])); err != nil {
		return "", err
	}
	pattern := mark + ` ([0-9]{1,3})\r?\n`
	if asks != nil {
		pattern += `|` + asks.String()
	}
	said, match, err := c.expect(ctx, end, regexp.MustCompile(pattern), most)
	if err != nil {
		return "", err
	}
	if match[1] == "" {
		return "", c.fault(what+": it asks what no answer was prepared for", errStatus)
	}
	if status, _ := strconv.Atoi(match[1]); status != 0 {
		return "", c.fault(fmt.Sprintf("%s: exit status %d", what, status), errStatus)
	}
	return said, nil
}

// linesOf finds the lines of a script's output that begin with the key, and
// returns the rest of each.
func linesOf(said, key string) []string {
	var rests []string
	for line := range bytes.Lines(escapes.ReplaceAll([]byte(said), nil)) {
		if rest, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte(key)); ok {
			rests = append(rests, host.Printable(bytes.TrimSpace(rest)))
		}
	}
	return rests
}
