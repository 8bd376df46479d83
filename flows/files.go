package flows

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write writes the files that hold the run, its manifest last. Each is written beside
// and renamed, so that there is never half a file.
func (r Run) Write() error {
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{SeriesFile, r.writeSeries},
		{SummaryFile, r.writeSummary},
		{ResultsFile, func(w io.Writer) error { return writeJSON(w, notNil(r.Results)) }},
		{ManifestFile, func(w io.Writer) error { return writeJSON(w, r.Manifest) }},
	} {
		if err := writeFile(filepath.Join(r.Dir, f.name), f.write); err != nil {
			return err
		}
	}
	return nil
}

// notNil is a list that JSON does not write as null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeFile puts a file in its place when it is whole and on the disk.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone where it was renamed
	w := bufio.NewWriterSize(f, 1<<16)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// ReadRun reads a run's folder. Of a run that has not come to its end it reads what there is.
func ReadRun(dir string) (Run, error) {
	r := Run{Dir: dir}
	err := readJSON(filepath.Join(dir, ManifestFile), &r.Manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return Run{}, fmt.Errorf("%s is not a run's folder: it has no %s\n  labctl run makes runs/LAB-TIME", dir, ManifestFile)
	}
	if err != nil {
		return Run{}, err
	}
	if f := r.Manifest.Format; f < 1 || f > Format {
		return Run{}, fmt.Errorf("%s has format %d, expected %d\n  it was written by another labctl: use that one", dir, f, Format)
	}
	err = readJSON(filepath.Join(dir, ResultsFile), &r.Results)
	if err == nil {
		err = r.readSeries()
	}
	if errors.Is(err, fs.ErrNotExist) {
		if s := r.Manifest.State; s == Running || s == Interrupted {
			return r, nil
		}
		return Run{}, fmt.Errorf("%s is incomplete: %w", dir, err)
	}
	if err != nil {
		return Run{}, err
	}
	return r, nil
}

func readJSON(path string, into any) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(src, into); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}
