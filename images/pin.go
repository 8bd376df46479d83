package images

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Epoch is the time that everything in a base image bears, in seconds since 1970,
// whatever the clock says: the same inputs give the same image, bit for bit.
const Epoch = 1735689600 // 2025-01-01

// sourceDate tells programs the time to write into what they make.
func sourceDate() string { return "SOURCE_DATE_EPOCH=" + strconv.Itoa(Epoch) }

// fakeTime is the same for e2fsprogs.
func fakeTime() string { return "E2FSPROGS_FAKE_TIME=" + strconv.Itoa(Epoch) }

// traces are what packages and commands leave of when and where they ran.
var traces = []string{
	"var/log/*", "tmp/*", "run/*", "var/tmp/*", "var/backups/*",
	"var/cache/apt/*", "var/cache/debconf/*-old", "var/cache/ldconfig/*", "var/lib/apt/lists/*", "var/lib/dpkg/*-old",
	"var/lib/systemd/random-seed", "etc/.pwd.lock", "etc/machine-id", "root/.bash_history",
}

// tidy removes the traces; of /var/log the folders stay, which services want.
func tidy(root *os.Root) error {
	for _, pattern := range traces {
		found, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return err
		}
		for _, p := range found {
			if path.Dir(p) == "var/log" {
				err = emptyFolder(root, p)
			} else {
				err = root.RemoveAll(p)
			}
			if err != nil {
				return err
			}
		}
	}
	return root.WriteFile("etc/machine-id", nil, 0o444) // each node gets its own
}

// emptyFolder removes all files in the folder p, or what is at p if it is none.
func emptyFolder(root *os.Root, p string) error {
	if i, err := root.Lstat(p); err != nil || !i.IsDir() {
		return errors.Join(err, root.RemoveAll(p))
	}
	return fs.WalkDir(root.FS(), p, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return root.Remove(p)
	})
}

// pinTimes gives every inode of the ext4 file system in disk, just made by mke2fs,
// the same times: mke2fs takes the time of a file's last change from this host.
func pinTimes(ctx context.Context, disk string) error {
	used, err := usedInodes(ctx, disk)
	if err != nil {
		return err
	}
	var script bytes.Buffer
	for i := 1; i <= used; i++ {
		for _, field := range []string{"atime", "ctime", "mtime", "crtime"} {
			fmt.Fprintf(&script, "sif <%d> %s @%d\n", i, field, Epoch)
		}
	}
	c, err := command(ctx, "debugfs", "-w", "-f", "-", disk)
	if err != nil {
		return err
	}
	c.Env = append(os.Environ(), fakeTime())
	c.Stdin = &script
	_, err = finish(ctx, c)
	return err
}

// usedInodes is the number of inodes in use: mke2fs takes them one after the other.
func usedInodes(ctx context.Context, disk string) (int, error) {
	out, err := debugfs(ctx, disk, "", "show_super_stats -h\n")
	if err != nil {
		return 0, err
	}
	value := make(map[string]int)
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		key, text, _ := strings.Cut(lines.Text(), ":")
		if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
			value[key] = n
		}
	}
	if value["Inode count"] == 0 {
		return 0, errors.New("debugfs does not tell the number of inodes")
	}
	return value["Inode count"] - value["Free inodes"], lines.Err()
}
