package flows

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Times are when starts ran by the client's clock, by their names.
type Times map[string]Ran

// Ran is when one start ran (s since zero), and iperf3's exit status.
type Ran struct {
	Began, Ended float64 // -1 where it did not
	Code         int
}

// Of is when a start ran.
func (t Times) Of(s Start) Ran {
	if r, ok := t[s.name()]; ok {
		return r
	}
	return Ran{-1, -1, 0}
}

// The most that is taken of one file, and of a node in all (bytes): it may lie.
const (
	fileMost = 256 << 20
	nodeMost = 4 << 30
)

// gathered matches the names of what nodes have of a run.
var gathered = regexp.MustCompile(`^((\d{1,4})(\.\d{1,6})?)\.(client|server)\.(json|err)$|^(began|ended)$`)

// Gather copies what both ends printed into a folder, by flows' labels, and reads
// when the starts ran.
func (e Experiment) Gather(ctx context.Context, dir string) (Times, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	times := Times{}
	var errs []error
	for _, end := range []struct {
		name string
		of   Guest
	}{{"client", e.Client}, {"server", e.Server}} {
		if err := e.gather(ctx, end.of, root, times); err != nil {
			errs = append(errs, fmt.Errorf("gather the %s's results: %w", end.name, err))
		}
	}
	return times, errors.Join(errs...)
}

func (e Experiment) gather(ctx context.Context, from Guest, root *os.Root, times Times) error {
	archive, to := io.Pipe()
	fetched := make(chan error, 1)
	go func() {
		err := from.Fetch(ctx, gatherScript, to)
		to.CloseWithError(err)
		fetched <- err
	}()
	err := e.unpack(archive, root, times)
	archive.CloseWithError(err) // ends the fetching, where it goes on
	if ferr := <-fetched; ferr != nil && err == nil {
		err = ferr
	}
	return err
}

// unpack lays out a node's archive.
func (e Experiment) unpack(packed io.Reader, root *os.Root, times Times) error {
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	archive := tar.NewReader(io.LimitReader(plain, nodeMost))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, packed) // what stands behind the end
			return err
		}
		if err != nil {
			return err
		}
		m := gathered.FindStringSubmatch(h.Name)
		if m == nil || h.Typeflag != tar.TypeReg || h.Size > fileMost {
			return fmt.Errorf("it sends %q of %d bytes, which is none of a run", h.Name, h.Size)
		}
		if m[6] != "" {
			if err := times.read(archive, m[6] == "began"); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
			continue
		}
		i, _ := strconv.Atoi(m[2]) // digits only
		if i >= len(e.Flows) {
			return fmt.Errorf("it sends %q of a run of %d flows", h.Name, len(e.Flows))
		}
		if h.Size == 0 && m[5] == "err" {
			continue
		}
		if err := save(root, e.Flows[i].Label+m[3]+"."+m[4]+"."+m[5], archive); err != nil {
			return err
		}
	}
}

func save(root *os.Root, name string, text io.Reader) error {
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, text)
	return errors.Join(err, f.Close())
}

// read reads the lines NAME MICROSECONDS PID or, of those that ended, STATUS.
func (t Times) read(text io.Reader, began bool) error {
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 3 {
			return fmt.Errorf("%q is no line of it", lines.Text())
		}
		us, uerr := strconv.ParseInt(words[1], 10, 64)
		n, nerr := strconv.Atoi(words[2])
		if err := errors.Join(uerr, nerr); err != nil {
			return err
		}
		r, ok := t[words[0]]
		if !ok {
			r = Ran{-1, -1, 0}
		}
		if began {
			r.Began = float64(us) / 1e6
		} else {
			r.Ended, r.Code = float64(us)/1e6, n
		}
		t[words[0]] = r
	}
	return lines.Err()
}

// ClientFile and ServerFile are what a flow's ends printed, in a folder that Gather filled.
func ClientFile(dir string, f Flow, nth int) string {
	return filepath.Join(dir, fmt.Sprintf("%s.%d.client.json", f.Label, nth))
}

// ServerFile is what a flow's server printed, a test for each start.
func ServerFile(dir string, f Flow) string { return filepath.Join(dir, f.Label+".server.json") }
