package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// inject writes files into the ext4 file system in disk and reads them back.
// scratch is an empty folder for what passes between.
func inject(ctx context.Context, disk, scratch string, files []File) error {
	there, labelled, err := look(ctx, disk, files)
	if err != nil {
		return err
	}
	script, err := writeScript(scratch, files, there)
	if err != nil {
		return err
	}
	var labels map[string][]byte
	if labelled {
		if labels, err = newLabels(ctx, disk, scratch, files, there); err != nil {
			return err
		}
		more, err := labelScript(scratch, labels)
		if err != nil {
			return err
		}
		script += more
	}
	if _, err := debugfs(ctx, disk, scratch, script, "-w"); err != nil {
		return err
	}
	// its exit code does not tell whether it wrote: look
	return errors.Join(readBack(ctx, disk, scratch, files), checkLabels(ctx, disk, scratch, labels))
}

// look tells which of the files and of the folders above them are in disk, and
// whether files there have security labels.
func look(ctx context.Context, disk string, files []File) (there map[string]bool, labelled bool, err error) {
	there = make(map[string]bool)
	var b strings.Builder
	askLabel := "ea_get / " + labelName
	fmt.Fprintln(&b, askLabel)
	for _, f := range files {
		if err := errors.Join(plainPath(f.Path), plainLink(f)); err != nil {
			return nil, false, err
		}
		for _, p := range append(parents(f.Path), f.Path) {
			if _, asked := there[p]; !asked {
				there[p] = false
				fmt.Fprintf(&b, "stat %s\n", p)
			}
		}
	}
	out, err := debugfs(ctx, disk, "", b.String())
	if err != nil {
		return nil, false, err
	}
	said := answers(out)
	for p := range there {
		there[p] = strings.Contains(said["stat "+p], "Inode:")
	}
	return there, strings.Contains(said[askLabel], labelName), nil
}

// writeScript returns debugfs's commands that write the files, whose contents it
// leaves in scratch. there are the paths in use: making a folder that is there
// damages the file system.
func writeScript(scratch string, files []File, there map[string]bool) (string, error) {
	var b strings.Builder
	made := maps.Clone(there)
	for i, f := range files {
		for _, dir := range parents(f.Path) {
			if !made[dir] {
				made[dir] = true
				fmt.Fprintf(&b, "mkdir %s\n", dir)
			}
		}
		if there[f.Path] {
			fmt.Fprintf(&b, "rm %s\n", f.Path)
		}
		if f.Link != "" {
			fmt.Fprintf(&b, "symlink %s %s\n", f.Path, f.Link)
			continue
		}
		in := fmt.Sprintf("%d.in", i)
		if err := os.WriteFile(filepath.Join(scratch, in), f.Data, 0o600); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "write %s %s\n", in, f.Path)
		fmt.Fprintf(&b, "sif %s mode 0100%03o\nsif %s uid 0\nsif %s gid 0\n", f.Path, f.Mode.Perm(), f.Path, f.Path)
	}
	return b.String(), nil
}

// readBack compares the files in disk with what was to be written.
func readBack(ctx context.Context, disk, scratch string, files []File) error {
	var b strings.Builder
	for i, f := range files {
		fmt.Fprintf(&b, "stat %s\n", f.Path)
		if f.Link != "" {
			fmt.Fprintf(&b, "stat %s\n", f.Link)
		} else {
			fmt.Fprintf(&b, "dump %s %d.out\n", f.Path, i)
		}
	}
	out, err := debugfs(ctx, disk, scratch, b.String())
	if err != nil {
		return err
	}
	said := answers(out)
	var errs []error
	for i, f := range files {
		got := said["stat "+f.Path]
		if f.Link != "" {
			errs = append(errs, checkLink(f, got, said["stat "+f.Link]))
			continue
		}
		data, err := os.ReadFile(filepath.Join(scratch, fmt.Sprintf("%d.out", i)))
		if err != nil || !bytes.Equal(data, f.Data) || !hasMode(got, f) {
			errs = append(errs, fmt.Errorf("%s reads back other than written", f.Path))
		}
	}
	return errors.Join(errs...)
}

func checkLink(f File, got, target string) error {
	if f.Link != nowhere && !strings.Contains(target, "Inode:") {
		return fmt.Errorf("the image has no %s", f.Link)
	}
	if !strings.Contains(got, `link dest: "`+f.Link+`"`) {
		return fmt.Errorf("%s reads back other than written", f.Path)
	}
	return nil
}

var statLine = regexp.MustCompile(`Type: regular +Mode: +(\d+)(?s:.*?)User: +(\d+) +Group: +(\d+)`)

// hasMode looks in debugfs's stat whether a file has its permissions and is root's.
func hasMode(stat string, f File) bool {
	m := statLine.FindStringSubmatch(stat)
	if m == nil {
		return false
	}
	mode, err := strconv.ParseUint(m[1], 8, 32)
	return err == nil && mode == uint64(f.Mode.Perm()) && m[2] == "0" && m[3] == "0"
}

// debugfs runs commands on the file system in disk and returns what it prints.
func debugfs(ctx context.Context, disk, dir, script string, args ...string) (string, error) {
	c, err := command(ctx, "debugfs", append(args, "-f", "-", disk)...)
	if err != nil {
		return "", err
	}
	c.Dir = dir
	c.Stdin = strings.NewReader(script)
	return finish(ctx, c)
}

// answers splits what debugfs prints by its commands.
func answers(out string) map[string]string {
	said := make(map[string]string)
	for part := range strings.SplitSeq("\n"+out, "\ndebugfs: ") {
		command, answer, _ := strings.Cut(part, "\n")
		said[command] = answer
	}
	return said
}

// debugfsPath is a path that is one word of debugfs's, on one line as long as it reads.
var debugfsPath = regexp.MustCompile(`^/[A-Za-z0-9._@+:/-]{0,99}$`)

// plainPath refuses what debugfs's commands cannot name.
func plainPath(p string) error {
	if !debugfsPath.MatchString(p) {
		return fmt.Errorf("%q is no absolute path without spaces, quotes and the like", p)
	}
	return nil
}

func plainLink(f File) error {
	if f.Link == "" {
		return nil
	}
	return plainPath(f.Link)
}

// parents are the folders above an absolute path, the outermost first.
func parents(p string) []string {
	dir := path.Dir(p)
	if dir == "/" {
		return nil
	}
	return append(parents(dir), dir)
}
