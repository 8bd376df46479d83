package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mami-project/labctl/flows"
)

// readRun reads a run's folder, without its series.
func readRun(dir string) (flows.Run, error) {
	run := flows.Run{Dir: dir}
	content, err := os.ReadFile(filepath.Join(dir, flows.ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return run, fmt.Errorf("%s is not a run's folder: it has no %s\n  labctl run says where a run's folder is", dir, flows.ManifestFile)
	}
	if err == nil {
		err = json.Unmarshal(content, &run.Manifest)
	}
	if err != nil {
		return run, fmt.Errorf("%s: %w", filepath.Join(dir, flows.ManifestFile), err)
	}
	if run.Manifest.Format != flows.Format {
		return run, fmt.Errorf("%s has format %d, expected %d\n  a newer labctl wrote it: use that one", dir, run.Manifest.Format, flows.Format)
	}
	content, err = os.ReadFile(filepath.Join(dir, flows.ResultsFile))
	if err == nil {
		err = json.Unmarshal(content, &run.Results)
	}
	return run, err
}
