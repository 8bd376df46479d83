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
	Mirror string // of the recipe's system: a URI, or of Alpine a folder; "" for the host's own sources, or Alpine's
}

// systemNames are the systems of recipes as users see them.
var systemNames = map[string]string{GuestDebian: "Debian", GuestAlpine: "Alpine"}

// building marks the folder in which a base image is made; List does not see it.
const building = ".building-"

// Build returns the base image of a recipe, built into the cache dir unless it is
// there already and whole. tell is called with each step. It needs root and a
// package mirror. An interrupted build leaves nothing; of two builds at once the
// second waits for the first, and both wait for a Hold before they replace a base.
func Build(ctx context.Context, dir string, r Recipe, o Options, tell func(string)) (Base, error) {
	return enter(ctx, dir, r.ID(), "image build "+r.Name, tell,
		func() (Base, error) { return Open(ctx, dir, r) },
		func(work string) (Base, error) {
			b, err := build(ctx, work, r, o, tell)
			if err != nil {
				err = fmt.Errorf("build the base image %s: %w", r.Name, err)
			}
			return b, err
		})
}

// enter returns the base image of that ID, which find finds whole in the cache dir
// or create makes, in a folder beside its place. Of two at once the second waits for
// the first. What fails or is interrupted leaves nothing.
func enter(ctx context.Context, dir, id, doing string, tell func(string), find func() (Base, error), create func(work string) (Base, error)) (Base, error) {
	unlock, err := host.Lock(ctx, "images", doing, func(holder string) { tell("waiting for " + holder) })
	if err != nil {
		return Base{}, err
	}
	defer unlock()

	b, err := find()
	if err == nil {
		tell(b.Recipe + " is there already")
		return b, nil
	}
	if !errors.As(err, new(NotBuilt)) && !errors.As(err, new(Corrupt)) {
		return Base{}, err
	}
	final := filepath.Join(dir, id)
	if err := unused(dir, final); err != nil {
		return Base{}, err
	}
	work, err := newWork(dir, id)
	if err != nil {
		return Base{}, err
	}
	if b, err = create(work); err != nil {
		return Base{}, errors.Join(err, os.RemoveAll(work))
	}
	b.Dir = final
	if err := replace(ctx, final, work, tell); err != nil {
		return Base{}, errors.Join(err, os.RemoveAll(work))
	}
	return b, nil
}

// newWork makes the folder in the cache dir in which a base image is made. Under the
// lock, what is being built is left over from a dead process, and goes.
func newWork(dir, id string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	stale, err := filepath.Glob(filepath.Join(dir, building+"*"))
	for _, s := range stale {
		err = errors.Join(err, os.RemoveAll(s))
	}
	work := filepath.Join(dir, building+id)
	return work, errors.Join(err, os.Mkdir(work, 0o755))
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
	tell("installing " + systemNames[r.System] + " " + r.Release + ", the recipe's packages and what they need")
	if err := install(ctx, tree, r, o); err != nil {
		return Base{}, err
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return Base{}, err
	}
	defer root.Close()
	m, err := r.manifest()
	if err != nil {
		return Base{}, err
	}
	added, err := customise(ctx, root, r, tell)
	if err != nil {
		return Base{}, err
	}
	if len(added) > 0 { // as it reads back
		m.Inputs = added
	}
	if m.Packages, err = packages(root, r); err != nil {
		return Base{}, err
	}
	tell("making the kernel, the initrd and the disk")
	b := Base{Dir: work, Manifest: m}
	if b.Kernel, err = takeKernel(ctx, root, b.KernelPath(), b.InitrdPath()); err != nil {
		return Base{}, err
	}
	if b.DiskBytes, err = makeDisk(ctx, tree, b.Disk(), r.Digest()); err != nil {
		return Base{}, err
	}
	if err := errors.Join(os.RemoveAll(tree), os.RemoveAll(filepath.Join(work, "tmp"))); err != nil {
		return Base{}, err
	}
	return seal(ctx, b)
}

// seal makes a folder with the files of a base image into one: their sums go into
// the manifest, those that are not there yet, and all gets to the disk.
func seal(ctx context.Context, b Base) (Base, error) {
	if b.Files == nil {
		b.Files = make(map[string]Sum)
	}
	for _, f := range b.needs() {
		path := filepath.Join(b.Dir, f)
		if _, known := b.Files[f]; !known {
			var err error
			if b.Files[f], err = sum(ctx, path); err != nil {
				return Base{}, err
			}
		}
		if err := errors.Join(os.Chmod(path, 0o444), host.Sync(path)); err != nil {
			return Base{}, err
		}
	}
	return b, writeManifest(b)
}

// manifest is what is known of the base image before it is built.
func (r Recipe) manifest() (Manifest, error) {
	keys, err := r.keys()
	return Manifest{
		Format: Format, Recipe: r.Name, Digest: r.Digest(), Keys: keys, Epoch: Epoch, System: r.System, Release: r.Release,
		Guest: r.System, Configure: ConfigureDisk, Boot: BootKernel, CommandLine: CommandLine,
	}, err
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
	c, err := command(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "root", "-m", "1", "-U", id,
		"-E", "hash_seed="+id+",root_owner=0:0,lazy_itable_init=0,nodiscard", "-d", tree, raw, fmt.Sprintf("%dk", size>>10))
	if err != nil {
		return 0, err
	}
	c.Env = append(os.Environ(), fakeTime())
	if _, err := finish(ctx, c); err != nil {
		return 0, err
	}
	if err := pinTimes(ctx, raw); err != nil {
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
		size := i.Size()
		if d.IsDir() { // that differs with the file system
			size = 1
		}
		n += (size+4095)&^4095 + 256 // blocks and the inode
		return nil
	})
	return n, err
}

// packages reads the versions of the packages installed in the tree.
func packages(root *os.Root, r Recipe) (map[string]string, error) {
	if r.System == GuestAlpine {
		db, err := readInstalled(root)
		return db.versions, err
	}
	text, err := root.ReadFile("var/lib/dpkg/status")
	return dpkgVersions(text), err
}

// dpkgVersions reads the versions of what is installed out of dpkg's status file.
func dpkgVersions(text []byte) map[string]string {
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
	return versions
}
