package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Options are what a build may be told beside its recipe.
type Options struct {
	Mirror string // the URI of a Debian mirror; "" for the host's own sources
}

// building marks the folder in which a base image is made; List does not see it.
const building = ".building-"

// Build returns the base image of a recipe, built into the cache dir unless it is
// there already and whole. tell is called with each step. It needs root and a
// package mirror. An interrupted build leaves nothing; of two builds at once the
// second waits for the first, and both wait for a Hold before they replace a base.
func Build(ctx context.Context, dir string, r Recipe, o Options, tell func(string)) (Base, error) {
	unlock, err := host.Lock(ctx, "images", "image build "+r.Name, func(holder string) { tell("waiting for " + holder) })
	if err != nil {
		return Base{}, err
	}
	defer unlock()

	b, err := Open(ctx, dir, r)
	if err == nil {
		tell(r.Name + " is built already")
		return b, nil
	}
	if !errors.As(err, new(NotBuilt)) && !errors.As(err, new(Corrupt)) {
		return Base{}, err
	}
	final := filepath.Join(dir, r.ID())
	if err := unused(dir, final); err != nil {
		return Base{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Base{}, err
	}
	// under the lock, what is being built is left over from a dead process
	stale, err := filepath.Glob(filepath.Join(dir, building+"*"))
	for _, s := range stale {
		err = errors.Join(err, os.RemoveAll(s))
	}
	if err != nil {
		return Base{}, err
	}
	work := filepath.Join(dir, building+r.ID())
	if err := os.Mkdir(work, 0o755); err != nil {
		return Base{}, err
	}
	b, err = build(ctx, work, r, o, tell)
	if err != nil {
		return Base{}, errors.Join(fmt.Errorf("build the base image %s: %w", r.Name, err), os.RemoveAll(work))
	}
	b.Dir = final
	if err := replace(ctx, final, work, tell); err != nil {
		return Base{}, errors.Join(err, os.RemoveAll(work))
	}
	return b, nil
}

// replace puts the folder work in final's place, on which no disk may have come to
// stand meanwhile.
func replace(ctx context.Context, final, work string, tell func(string)) error {
	dir := filepath.Dir(final)
	release, err := holdAlone(ctx, dir, tell)
	if err != nil {
		return err
	}
	defer release()
	if err := unused(dir, final); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(final), os.Rename(work, final)); err != nil {
		return err
	}
	return host.Sync(dir)
}

// build makes the base image in the folder work.
func build(ctx context.Context, work string, r Recipe, o Options, tell func(string)) (Base, error) {
	tree := filepath.Join(work, "root")
	tell("installing Debian " + r.Release + ", the recipe's packages and what they need")
	if err := install(ctx, tree, r, o); err != nil {
		return Base{}, err
	}
	tell("making the kernel, the initrd and the disk")
	root, err := os.OpenRoot(tree)
	if err != nil {
		return Base{}, err
	}
	defer root.Close()
	m := Manifest{Format: Format, Recipe: r.Name, Digest: r.Digest(), System: r.System, Release: r.Release, Guest: r.System, Configure: ConfigureDisk, Boot: BootKernel, CommandLine: CommandLine}
	if m.Packages, err = packages(root); err != nil {
		return Base{}, err
	}
	if err := customise(root, r); err != nil {
		return Base{}, err
	}
	b := Base{Dir: work, Manifest: m}
	if b.Kernel, err = takeKernel(ctx, root, b.KernelPath(), b.InitrdPath()); err != nil {
		return Base{}, err
	}
	if b.DiskBytes, err = makeDisk(ctx, tree, b.Disk(), r.Digest()); err != nil {
		return Base{}, err
	}
	if err := os.RemoveAll(tree); err != nil {
		return Base{}, err
	}
	b.Files = make(map[string]Sum)
	for _, f := range []string{diskFile, kernelFile, initrdFile} {
		path := filepath.Join(work, f)
		if b.Files[f], err = sum(ctx, path); err != nil {
			return Base{}, err
		}
		if err := errors.Join(os.Chmod(path, 0o444), host.Sync(path)); err != nil {
			return Base{}, err
		}
	}
	return b, writeManifest(b)
}

// writeManifest writes what makes a folder a base image, last.
func writeManifest(b Base) error {
	text, err := json.MarshalIndent(b.Manifest, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(b.Dir, manifestFile)
	return errors.Join(os.WriteFile(path, append(text, '\n'), 0o444), host.Sync(path), host.Sync(b.Dir))
}

// makeDisk makes the disk image from the tree: one ext4 file system on the whole
// disk, which needs no partition table as no firmware boots from it. Compressed
// it is a third of the size, and a boot takes 5 % more of the processor. It
// returns the disk's size.
func makeDisk(ctx context.Context, tree, disk, digest string) (int64, error) {
	used, err := treeBytes(tree)
	if err != nil {
		return 0, err
	}
	const step = 256 << 20
	size := (used*5/4/step + 1) * step // room for the file system's own tables
	raw := disk + ".raw"
	defer os.Remove(raw)
	// fixed, so that the same tree gives the same disk
	id := topology.UUID("image", digest)
	err = run(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "root", "-m", "1", "-U", id,
		"-E", "hash_seed="+id+",root_owner=0:0,lazy_itable_init=0,nodiscard", "-d", tree, raw, fmt.Sprintf("%dk", size>>10))
	if err != nil {
		return 0, err
	}
	err = run(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd", raw, disk)
	return size, err
}

// treeBytes is about what the files under dir take.
func treeBytes(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		n += (i.Size()+4095)&^4095 + 256 // blocks and the inode
		return nil
	})
	return n, err
}

// packages reads the versions of the packages installed in the tree.
func packages(root *os.Root) (map[string]string, error) {
	text, err := root.ReadFile("var/lib/dpkg/status")
	if err != nil {
		return nil, err
	}
	versions := make(map[string]string)
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		field := make(map[string]string)
		for line := range strings.Lines(stanza) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if _, ok := field[key]; !ok {
				field[key] = value
			}
		}
		if field["Status"] == "install ok installed" {
			versions[field["Package"]] = field["Version"]
		}
	}
	return versions, nil
}
