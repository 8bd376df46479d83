package images

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// labelName is the extended attribute that SELinux keeps a file's label in.
const labelName = "security.selinux"

// newLabels are the labels that the files, and the folders made for them, are to
// have, by path: that of the file which they replace, or of the folder which they
// are put into. there are the paths in use.
func newLabels(ctx context.Context, disk, scratch string, files []File, there map[string]bool) (map[string][]byte, error) {
	from := make(map[string]string) // where each path's label is from
	for _, f := range files {
		above := "/"
		for _, p := range append(parents(f.Path), f.Path) {
			switch {
			case there[p] && p == f.Path:
				from[p] = p
			case there[p]:
				above = p
			default:
				from[p] = above
			}
		}
	}
	of, err := readLabels(ctx, disk, scratch, slices.Sorted(maps.Values(from)))
	if err != nil {
		return nil, err
	}
	labels := make(map[string][]byte)
	for p, source := range from {
		if label, ok := of[source]; ok {
			labels[p] = label
		}
	}
	return labels, nil
}

// readLabels reads the labels of sorted paths, of those that have one.
func readLabels(ctx context.Context, disk, scratch string, paths []string) (map[string][]byte, error) {
	paths = slices.Compact(paths)
	var script strings.Builder
	for i, p := range paths {
		fmt.Fprintf(&script, "ea_get -f %d.label %s %s\n", i, p, labelName)
	}
	if _, err := debugfs(ctx, disk, scratch, script.String()); err != nil {
		return nil, err
	}
	labels := make(map[string][]byte)
	for i, p := range paths {
		label, err := os.ReadFile(filepath.Join(scratch, fmt.Sprintf("%d.label", i)))
		if err != nil {
			return nil, err
		}
		if len(label) > 0 {
			labels[p] = label
		}
	}
	return labels, nil
}

// labelScript returns debugfs's commands that set the labels, which it leaves in scratch.
func labelScript(scratch string, labels map[string][]byte) (string, error) {
	var b strings.Builder
	for i, p := range slices.Sorted(maps.Keys(labels)) {
		in := fmt.Sprintf("%d.newlabel", i)
		if err := os.WriteFile(filepath.Join(scratch, in), labels[p], 0o600); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "ea_set -f %s %s %s\n", in, p, labelName)
	}
	return b.String(), nil
}

// checkLabels reads the labels back.
func checkLabels(ctx context.Context, disk, scratch string, want map[string][]byte) error {
	if len(want) == 0 {
		return nil
	}
	got, err := readLabels(ctx, disk, scratch, slices.Sorted(maps.Keys(want)))
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if !bytes.Equal(got[p], want[p]) {
			return fmt.Errorf("the security label of %s reads back other than written: %q", p, got[p])
		}
	}
	return nil
}
