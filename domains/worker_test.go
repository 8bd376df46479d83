package domains

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// perl is a real worker, whose port is a socket. In what it is something is replaced by something else, in pairs.
func perl(t *testing.T, replaced ...string) (*Worker, *exec.Cmd) {
	t.Helper()
	replaced = append(replaced, "open my $port, '+<:raw', port(shift)", "open my $port, '+<&=', 3")
	for i := 0; i < len(replaced); i += 2 {
		if strings.Count(worker, replaced[i]) != 1 {
			t.Fatalf("worker.pl does not say %q once", replaced[i])
		}
	}
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	ours, its := os.NewFile(uintptr(ends[0]), "ours"), os.NewFile(uintptr(ends[1]), "its")
	defer func() { _, _ = ours.Close(), its.Close() }()
	cmd := exec.CommandContext(t.Context(), "perl", "-Mstrict", "-Mwarnings=FATAL,all", "-e", strings.NewReplacer(replaced...).Replace(worker))
	cmd.ExtraFiles = []*os.File{its}
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	c, err := net.FileConn(ours)
	must(t, err)
	t.Cleanup(func() {
		_ = c.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return newWorker(c), cmd
}

func TestWorkerSends(t *testing.T) {
	w, _ := perl(t)
	for _, address := range []string{"127.0.0.1", "::1"} {
		c, err := net.ListenPacket("udp", net.JoinHostPort(address, "0"))
		if err != nil && address == "::1" {
			continue // this machine has no IPv6
		}
		must(t, err)
		defer func() { _ = c.Close() }()
		to := c.LocalAddr().(*net.UDPAddr)
		at := netip.MustParseAddr(address).AsSlice()
		_, err = w.Ask(t.Context(),
			fmt.Sprintf("send %x %x %d 30 some words ", at, at, to.Port),
			fmt.Sprintf("send %x %x %d 5000 some words ", at, at, to.Port))
		must(t, err)
		for _, length := range []int{30, 5000} {
			got := make([]byte, 1<<16)
			must(t, c.SetReadDeadline(time.Now().Add(longWait)))
			n, from, err := c.ReadFrom(got)
			must(t, err)
			if want := fmt.Sprintf("%-*s", length, "some words"); string(got[:n]) != want || !from.(*net.UDPAddr).IP.Equal(to.IP) {
				t.Errorf("from %v came %d bytes, want %d: %q", from, n, length, got[:min(n, 30)])
			}
		}
	}
	_, err := w.Ask(t.Context(), "send c0000201 7f000001 9 30 x")
	says(t, err, "the node's worker: send: from c0000201: Cannot assign requested address")
}

func TestWorkerEnds(t *testing.T) {
	w, cmd := perl(t)
	_, err := w.Ask(t.Context(), "dance")
	says(t, err, "the node's worker: dance: it does not know how")
	_, err = w.Ask(t.Context(), "random 00ff", "end")
	must(t, err)
	must(t, cmd.Wait())
}

// A guest's worker is not trusted.
func TestWorkerLies(t *testing.T) {
	for answer, want := range map[string]string{
		"1 done 0\n":                      "",
		"2 done 0\n":                      "EOF",
		"0 done 3\nxyz1 done 0\n":         "",
		"1 done -1\n":                     "it answered",
		"1 done 5000000\n":                "more than was asked for: 5000000 bytes, of at most 4194304",
		"1 failed 5\n\x1b[2J\x07":         "?[2J",
		"1 done 5\nxx":                    "EOF",
		"":                                "EOF",
		strings.Repeat("x", 1<<20) + "\n": "buffer full",
	} {
		ours, its := net.Pipe()
		go func() {
			asked := bufio.NewReader(its)
			_, _ = asked.ReadString('\n')
			_, _ = asked.ReadString('\n')
			_, _ = io.WriteString(its, answer)
			_ = its.Close()
		}()
		w := Worker{port: ours, answers: bufio.NewReader(ours)}
		_, err := w.Ask(t.Context(), "random 00")
		_ = ours.Close()
		if want == "" {
			must(t, err)
			continue
		}
		says(t, err, want)
		if strings.ContainsAny(err.Error(), "\x1b\x07") {
			t.Errorf("%q would reach a terminal", err)
		}
	}
}

func TestWorkerIsNotWaitedForLongerThanWanted(t *testing.T) {
	ours, its := net.Pipe()
	defer func() { _ = its.Close() }()
	w := Worker{port: ours, answers: bufio.NewReader(ours)}
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		_, _ = bufio.NewReader(its).ReadString('\n')
		cancel(cause)
	}()
	if _, err := w.Ask(ctx, "random 00"); !errors.Is(err, cause) {
		t.Errorf("%v, want %v", err, cause)
	}
}

// A worker that nobody waited for is asked again, and its answer is not taken for that of before.
func TestWorkerIsAskedAgain(t *testing.T) {
	w, cmd := perl(t)
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for range 200 {
		if _, err := w.Ask(interrupted, "dance"); !errors.Is(err, context.Canceled) {
			t.Fatalf("it was not interrupted: %v", err)
		}
		_, err := w.Ask(t.Context(), "random 00ff")
		must(t, err)
	}
	// by another labctl, after one that was killed as it asked
	_, err := io.WriteString(w.port, "1 dance\n2 random 00\n3 en")
	must(t, err)
	other := newWorker(w.port)
	_, err = other.Ask(t.Context(), "random 00")
	must(t, err)
	_, err = other.Ask(t.Context(), "end")
	must(t, err)
	must(t, cmd.Wait())
}
