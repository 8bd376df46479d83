package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// takeKernel moves the tree's kernel to kernel, unpacked, writes an initrd for it
// to initrd, and empties the tree's /boot, since a machine boots from those two. It
// returns the kernel's release.
func takeKernel(ctx context.Context, root *os.Root, kernel, initrd string) (string, error) {
	entries, err := fs.ReadDir(root.FS(), "boot")
	if err != nil {
		return "", err
	}
	image := ""
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vmlinuz-") {
			image = e.Name() // the newest, as names are sorted: there is one
		}
	}
	if image == "" {
		return "", errors.New("no kernel among the packages: a recipe needs one, as linux-image-amd64 of Debian, linux-virt of Alpine")
	}
	release, err := kernelRelease(root, strings.TrimPrefix(image, "vmlinuz-"))
	if err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(root.Name(), "boot", image), kernel); err != nil {
		return "", err
	}
	for _, e := range entries {
		if err := root.RemoveAll("boot/" + e.Name()); err != nil {
			return "", err
		}
	}
	if err := unpackKernel(ctx, kernel); err != nil {
		return "", err
	}
	f, err := os.Create(initrd)
	if err != nil {
		return "", err
	}
	return release, errors.Join(writeInitrd(f, root, release), f.Close())
}

// kernelRelease is the release of the kernel whose image has that name: Debian
// names it by its release, Alpine by its flavour only.
func kernelRelease(root *os.Root, name string) (string, error) {
	releases, err := fs.ReadDir(root.FS(), "lib/modules")
	if err != nil {
		return "", err
	}
	for _, r := range releases {
		if r.Name() == name || strings.HasSuffix(r.Name(), "-"+name) {
			return r.Name(), nil
		}
	}
	return "", fmt.Errorf("the kernel vmlinuz-%s has no modules in /lib/modules", name)
}

// unpackKernel replaces a kernel packed with xz by what is packed in it, which QEMU
// starts as well, by its PVH entry: under software emulation a machine would unpack
// it for three seconds at each boot.
func unpackKernel(ctx context.Context, kernel string) error {
	image, err := os.ReadFile(kernel)
	if err != nil {
		return err
	}
	packed := payload(image)
	if !bytes.HasPrefix(packed, []byte("\xfd7zXZ\x00")) {
		return nil // a packing that is quick to undo, or none
	}
	if err := errors.Join(os.WriteFile(kernel+".xz", packed, 0o644), os.Remove(kernel)); err != nil {
		return err
	}
	// behind the stream stands its size
	return run(ctx, "xz", "--decompress", "--single-stream", kernel+".xz")
}

// payload is what is packed in a bzImage, as the kernel's Documentation/x86/boot
// says; nil if the image is none.
func payload(image []byte) []byte {
	const sectors, magic, version, offset, length, end = 0x1f1, 0x202, 0x206, 0x248, 0x24c, 0x250
	if len(image) < end || string(image[magic:version]) != "HdrS" || binary.LittleEndian.Uint16(image[version:]) < 0x208 {
		return nil
	}
	start := (uint64(image[sectors])+1)*512 + uint64(binary.LittleEndian.Uint32(image[offset:]))
	stop := start + uint64(binary.LittleEndian.Uint32(image[length:]))
	if stop > uint64(len(image)) {
		return nil
	}
	return image[start:stop]
}
