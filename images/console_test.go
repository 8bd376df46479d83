package images

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fakeGuest is the far end of a console.
type fakeGuest struct {
	*console
	typed *bufio.Reader // what was typed
}

func newFakeGuest(t *testing.T) fakeGuest {
	r, w := io.Pipe()
	t.Cleanup(func() { _ = r.Close() })
	return fakeGuest{newConsole(w), bufio.NewReader(r)}
}

// says writes the text in pieces of n bytes, all of it at once for 0.
func (g fakeGuest) says(text string, n int) {
	if n == 0 {
		n = max(1, len(text))
	}
	for len(text) > 0 {
		k := min(n, len(text))
		_, _ = g.Write([]byte(text[:k]))
		text = text[k:]
	}
}

// script reads a script with its end, and returns it and the mark which a shell would print.
func (g fakeGuest) script() (script, mark string) {
	var b strings.Builder
	for {
		line, err := g.typed.ReadString('\n')
		b.WriteString(line)
		if parts := endOfScript.FindStringSubmatch(line); parts != nil {
			return b.String(), parts[1] + parts[2]
		}
		if err != nil {
			return b.String(), ""
		}
	}
}

var endOfScript = regexp.MustCompile(`^\); echo (labctl-[A-Z0-9]*)''([A-Z0-9]+) \$\?\n$`)

const soon = time.Minute // a deadline that no test waits for

func TestConsoleExpect(t *testing.T) {
	for name, c := range map[string]struct {
		says          string
		pieces        int
		pattern       string
		before, match string
	}{
		"at once":                   {"Welcome\r\nlocalhost login: ", 0, `login: `, "Welcome\r\nlocalhost ", "login: "},
		"byte by byte":              {"Welcome\r\nlocalhost login: ", 1, `login: `, "Welcome\r\nlocalhost ", "login: "},
		"behind more than is kept":  {strings.Repeat("x", 3*unreadMost) + "login: ", 1000, `login: `, strings.Repeat("x", unreadMost-7), "login: "},
		"among control characters":  {"\x00\xff\x1b[2Jlogin: \x00", 3, `login: `, "\x00\xff\x1b[2J", "login: "},
		"with the kernel behind it": {"login: [    9.1] random: crng init done\r\n", 5, `login: `, "", "login: "},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGuest(t)
			go g.says(c.says, c.pieces)
			before, match, err := g.expect(t.Context(), "a login", regexp.MustCompile(c.pattern), soon)
			if err != nil || match[0] != c.match || (len(before) < unreadMost/2 && before != c.before) || len(before) > unreadMost {
				t.Errorf("%d bytes, %q, %v", len(before), match, err)
			}
		})
	}
}

// TestConsoleGoesOn finds what was said behind a match, said before it was waited for.
func TestConsoleGoesOn(t *testing.T) {
	g := newFakeGuest(t)
	g.says("login: Password: # ", 0)
	for _, p := range []string{`login: `, `Password: `, `# `} {
		if _, _, err := g.expect(t.Context(), p, regexp.MustCompile(p), soon); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConsoleFaults(t *testing.T) {
	interrupted, interrupt := context.WithCancelCause(t.Context())
	interrupt(errors.New("the disk is full"))
	for name, c := range map[string]struct {
		ctx   context.Context
		says  string
		ends  error
		most  time.Duration
		want  []string
		never string
	}{
		"a deadline says what for":   {t.Context(), "Booting\r\nmodprobe: no sd\r\n", nil, time.Millisecond, []string{"waited 1ms for a login", "\n    Booting\n    modprobe: no sd"}, ""},
		"of a silent machine":        {t.Context(), "", nil, time.Millisecond, []string{"waited 1ms for a login", "said nothing"}, ""},
		"a dead machine":             {t.Context(), "Kernel panic\r\n", errors.New("killed"), soon, []string{"the machine ended (killed) before a login", "Kernel panic"}, ""},
		"an interruption":            {interrupted, "", nil, soon, []string{"the disk is full"}, ""},
		"nothing hostile is printed": {t.Context(), "\x1b]0;owned\x07\x1b[31mred\x1b[0m \x9b5n\xff\u202e" + strings.Repeat("y", 3000) + "\r\nlast\r\n", nil, time.Millisecond, []string{"red", "…", "last"}, "\x1b\x07\u009b\u202e\r"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGuest(t)
			g.says(c.says, 7)
			if c.ends != nil {
				g.end(c.ends)
			}
			_, _, err := g.expect(c.ctx, "a login", regexp.MustCompile(`login: `), c.most)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			if strings.ContainsAny(err.Error(), c.never) || len(err.Error()) > 3000 {
				t.Errorf("%d bytes: %q", len(err.Error()), err)
			}
		})
	}
}

// TestConsoleDies ends a wait that has begun.
func TestConsoleDies(t *testing.T) {
	g := newFakeGuest(t)
	go g.end(io.EOF)
	if _, _, err := g.expect(t.Context(), "a login", regexp.MustCompile(`login: `), soon); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestConsoleRun(t *testing.T) {
	question := regexp.MustCompile(`\(y/n\)`)
	for name, c := range map[string]struct {
		answers func(script, mark string) string
		want    string // of the output
		err     string
	}{
		"what it prints":          {func(_, mark string) string { return "3.22.1\r\n" + mark + " 0\r\n" }, "3.22.1\r\n", ""},
		"its echo is not its end": {func(s, mark string) string { return crlf(s) + "out\r\n" + mark + " 0\r\n" }, "out\r\n", ""},
		"nor is an echo that breaks lines": {func(s, mark string) string {
			return strings.ReplaceAll(s, "''", "''\r\n") + mark[:9] + " 0\r\nout\r\n" + mark + " 0\r\n"
		}, "out\r\n", ""},
		"nor the mark of another script": {func(_, mark string) string { return "labctl-OTHER 0\r\nout\r\n" + mark + " 0\r\n" }, "out\r\n", ""},
		"a script that fails":            {func(_, mark string) string { return "no such disk\r\n" + mark + " 3\r\n" }, "", "install: exit status 3"},
		"a question":                     {func(_, _ string) string { return "Erase the above disk(s) and continue? (y/n) [n] " }, "", "install: it asks what no answer was prepared for"},
		"a status that is none":          {func(_, mark string) string { return mark + " 99999999\r\n" + mark + " 0\r\n" }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGuest(t)
			go func() {
				script, mark := g.script()
				if !strings.HasPrefix(script, "(set -e\nsetup-alpine\n); echo ") {
					g.end(fmt.Errorf("it was given %q", script))
				}
				g.says(c.answers(script, mark), 3)
			}()
			said, err := g.run(t.Context(), "install", "setup-alpine\n", question, soon)
			if c.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), c.err) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || !strings.HasSuffix(said, c.want) {
				t.Errorf("%q, %v", said, err)
			}
		})
	}
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n> ") }

// TestConsoleRunOfTheDead types to a machine that has ended, whose end is known a little later or never.
func TestConsoleRunOfTheDead(t *testing.T) {
	long := endTime
	t.Cleanup(func() { endTime = long })
	r, w := io.Pipe()
	_ = r.Close()
	c := newConsole(w)
	endTime = time.Millisecond
	_, err := c.run(t.Context(), "install", "setup-alpine", nil, soon)
	if want := "io: read/write on closed pipe, before the end of: install; the serial console said nothing"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	endTime = soon
	time.AfterFunc(10*time.Millisecond, func() { c.end(errors.New("killed")) })
	_, err = c.run(t.Context(), "install", "setup-alpine", nil, soon)
	if want := "the machine ended (killed) before the end of: install"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestLinesOf(t *testing.T) {
	got := linesOf("\x1b[6n# echo la''cks: $p\r\nlacks: go\r\n\x1b[1mlacks: \x1b]0;x\x07\r\nslacks: make\r\n", "lacks: ")
	if fmt.Sprint(got) != "[go ?]0;x?]" {
		t.Errorf("got %q", got)
	}
}
