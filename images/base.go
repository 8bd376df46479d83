package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// CommandLine is what the kernel of a base image is started with. Links keep the
// kernel's names, as no udev is there to rename them; the kernel's tests of its own
// ciphers would take a tenth of a boot.
const CommandLine = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 audit=0 cryptomgr.notests"

// The files of a base image.
const (
	diskFile     = "disk.qcow2"
	kernelFile   = "kernel"
	initrdFile   = "initrd"
	manifestFile = "manifest.json"
)

// Base is a base image in the cache.
type Base struct {
	Dir string // its own folder
	Manifest
}

// Manifest is what is known of a base image; it stands beside its files.
type Manifest struct {
	Format      int               `json:"format"`
	Recipe      string            `json:"recipe"`           // or the name that a lab's file gives a ready image
	Digest      string            `json:"digest"`           // of the recipe and its inputs, or of a ready image and how it is used
	Keys        map[string]any    `json:"keys,omitempty"`   // the recipe whole, by its keys
	Inputs      map[string]Input  `json:"inputs,omitempty"` // what came from outside beside packages, by its place in the image
	Epoch       int64             `json:"epoch,omitempty"`  // the time of all that was made: seconds since 1970
	Source      string            `json:"source,omitempty"` // SHA-256 of the ready image that was brought; "" where a recipe made it
	System      string            `json:"system,omitempty"`
	Release     string            `json:"release,omitempty"`
	Guest       string            `json:"guest"`          // GuestDebian, GuestAlpine or GuestCloudInit
	Configure   string            `json:"configure"`      // ConfigureDisk, ConfigureSeed or ConfigureAgent
	Boot        string            `json:"boot"`           // BootKernel, BootBIOS or BootUEFI
	Root        *Partition        `json:"root,omitempty"` // nil: the root file system is on the whole disk, or of no concern
	Kernel      string            `json:"kernel"`         // the kernel's release
	CommandLine string            `json:"commandLine"`    // what the kernel is started with
	DiskBytes   int64             `json:"diskBytes"`      // what the disk holds when unpacked: the least a node's disk can have
	Files       map[string]Sum    `json:"files"`
	Packages    map[string]string `json:"packages"` // versions by name
}

// Input is something from outside which went into a base image.
type Input struct {
	From string `json:"from"` // as the recipe has it
	Sum
}

// Sum identifies the content of a file.
type Sum struct {
	SHA256 string `json:"sha256"` // hexadecimal
	Bytes  int64  `json:"bytes"`
}

// Disk is the path of the base's disk, a QCOW2 image: overlays stand on it, nothing writes to it.
func (b Base) Disk() string { return filepath.Join(b.Dir, diskFile) }

// KernelPath is the path of the kernel that machines of this base boot directly.
func (b Base) KernelPath() string { return filepath.Join(b.Dir, kernelFile) }

// InitrdPath is the path of the kernel's initrd.
func (b Base) InitrdPath() string { return filepath.Join(b.Dir, initrdFile) }

// ID is the name of the base's folder in the cache.
func (b Base) ID() string { return filepath.Base(b.Dir) }

// Bytes is what the base takes of the host's disk.
func (b Base) Bytes() int64 {
	var n int64
	for _, f := range b.Files {
		n += f.Bytes
	}
	return n
}

// NotBuilt says that the cache holds no base image of a recipe or of a ready image.
type NotBuilt struct {
	Recipe string // or the name of the ready image
	Path   string // of the ready image; "" for a recipe
}

func (e NotBuilt) Error() string {
	if e.Path != "" {
		return fmt.Sprintf("the image %s (%s) is not in the cache\n  labctl up imports it", e.Recipe, e.Path)
	}
	return fmt.Sprintf("the base image %s is not built\n  labctl image build %s", e.Recipe, e.Recipe)
}

// Corrupt says that a base image in the cache is not what was built.
type Corrupt struct{ Recipe, File, What string }

func (e Corrupt) Error() string {
	remedy := "labctl image prune" // no recipe makes it any more
	switch r, err := BuiltIn(e.Recipe); {
	case err != nil:
		remedy += ", then labctl up, which makes or imports it again"
	case r.ID() == filepath.Base(filepath.Dir(e.File)):
		remedy = "labctl image build " + e.Recipe
	}
	return fmt.Sprintf("the base image %s is corrupt: %s %s\n  %s", e.Recipe, e.File, e.What, remedy)
}

// Find returns the base image of a recipe out of the cache dir; its files are not
// read. The error is a NotBuilt or a Corrupt where it is either.
func Find(dir string, r Recipe) (Base, error) {
	return findBase(filepath.Join(dir, r.ID()), r.Digest(), NotBuilt{Recipe: r.argument()})
}

// findBase returns the base image in a folder, which is of that digest; its error is
// missing where there is none.
func findBase(folder, digest string, missing NotBuilt) (Base, error) {
	if _, err := os.Stat(filepath.Join(folder, manifestFile)); errors.Is(err, fs.ErrNotExist) {
		return Base{}, missing
	}
	b, err := readBase(folder)
	if err == nil && b.Digest != digest {
		err = Corrupt{missing.Recipe, filepath.Join(b.Dir, manifestFile), "is of another recipe"}
	}
	return b, err
}

// Open is Find with every file of the base checked.
func Open(ctx context.Context, dir string, r Recipe) (Base, error) {
	b, err := Find(dir, r)
	if err != nil {
		return Base{}, err
	}
	return b, b.Verify(ctx)
}

// List returns the base images in the cache dir, by the names of their folders.
// Those that cannot be read are in the error; the others are returned all the same.
func List(dir string) ([]Base, error) {
	folders, err := folders(dir)
	if err != nil {
		return nil, err
	}
	var bases []Base
	var errs []error
	for _, folder := range folders {
		b, err := readBase(folder)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		bases = append(bases, b)
	}
	return bases, errors.Join(errs...)
}

// isID matches a Recipe.ID: nothing else in the cache is a base image, whole or not.
var isID = regexp.MustCompile(`^[a-z0-9-]+-[0-9a-f]{12}$`)

// folders are the base images' own in the cache dir, by their names.
func folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() && isID.MatchString(e.Name()) {
			folders = append(folders, filepath.Join(dir, e.Name()))
		}
	}
	return folders, nil
}

// readBase reads the manifest of the base image in the folder dir; one that is
// missing or makes no sense is a Corrupt.
func readBase(dir string) (Base, error) {
	b := Base{Dir: dir}
	name := filepath.Base(dir) // RECIPE-DIGEST
	name = name[:max(0, strings.LastIndexByte(name, '-'))]
	path := filepath.Join(dir, manifestFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Base{}, Corrupt{name, path, "is missing"}
	}
	if err != nil {
		return Base{}, err
	}
	if err := json.Unmarshal(text, &b.Manifest); err != nil {
		return Base{}, Corrupt{name, path, "cannot be read: " + err.Error()}
	}
	for _, f := range b.needs() {
		if b.Files[f].SHA256 == "" {
			return Base{}, Corrupt{name, path, "lacks " + f}
		}
	}
	return b, nil
}

// needs are the files that a base image cannot do without.
func (m Manifest) needs() []string {
	if m.Boot == BootBIOS || m.Boot == BootUEFI {
		return []string{diskFile}
	}
	return []string{diskFile, kernelFile, initrdFile}
}

// Verify compares every file of the base with what was built; the error names those that differ.
func (b Base) Verify(ctx context.Context) error {
	names := slices.Sorted(maps.Keys(b.Files))
	errs := make([]error, len(names))
	var g errgroup.Group
	for i, name := range names {
		g.Go(func() error {
			errs[i] = b.verifyFile(ctx, name)
			return nil
		})
	}
	_ = g.Wait() // errs has them all
	return errors.Join(errs...)
}

func (b Base) verifyFile(ctx context.Context, name string) error {
	path := filepath.Join(b.Dir, name)
	got, err := sum(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return Corrupt{b.Recipe, path, "is missing"}
	}
	if err != nil {
		return err
	}
	if got != b.Files[name] {
		return Corrupt{b.Recipe, path, "has changed since it was built"}
	}
	return nil
}

// sum reads a whole file, or until ctx ends.
func sum(ctx context.Context, path string) (Sum, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sum{}, err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 1<<20)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return Sum{}, err
		}
		k, err := f.Read(buf)
		h.Write(buf[:k])
		n += int64(k)
		if err == io.EOF {
			return Sum{hex.EncodeToString(h.Sum(nil)), n}, nil
		}
		if err != nil {
			return Sum{}, err
		}
	}
}
