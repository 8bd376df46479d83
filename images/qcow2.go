package images

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// qcow2Magic begins a QCOW2 image.
const qcow2Magic = "QFI\xfb"

// checkQCOW2 refuses an image that is more than one file or that only its owner
// can read, before QEMU opens what it names, and returns the size of its disk. What
// it says of a file that is no QCOW2 image begins with "is".
// Source: QEMU, docs/interop/qcow2.txt.
func checkQCOW2(image io.ReaderAt) (int64, error) {
	const header, version, backing, size, crypt, incompatible = 104, 4, 8, 24, 32, 72
	const dataFile = 1 << 2
	b := make([]byte, header)
	n, err := image.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if n < len(qcow2Magic) || string(b[:len(qcow2Magic)]) != qcow2Magic {
		return 0, errNotQCOW2
	}
	be := binary.BigEndian
	v := be.Uint32(b[version:])
	if v != 2 && v != 3 {
		return 0, fmt.Errorf("is a QCOW2 image of version %d: 2 and 3 are known", v)
	}
	if be.Uint64(b[backing:]) != 0 {
		return 0, errors.New("stands on another file, its backing file\n  qemu-img convert -O qcow2 OLD NEW makes one file of both")
	}
	if be.Uint32(b[crypt:]) != 0 {
		return 0, errors.New("is encrypted\n  qemu-img convert makes one that is not")
	}
	if v == 3 && be.Uint64(b[incompatible:])&dataFile != 0 {
		return 0, errors.New("keeps its data in another file\n  qemu-img convert -O qcow2 OLD NEW makes one file of both")
	}
	bytes := be.Uint64(b[size:])
	if bytes == 0 || bytes > 1<<56 || bytes%sector != 0 {
		return 0, fmt.Errorf("holds a disk of %d bytes, which cannot be", bytes)
	}
	return int64(bytes), nil
}

var errNotQCOW2 = errors.New("is no QCOW2 image")
