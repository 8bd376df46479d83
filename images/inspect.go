package images

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// File systems and the like, as their first blocks tell.
const (
	fsExt4  = "ext4" // or ext2 or ext3, which the same tools know
	fsXFS   = "xfs"
	fsBtrfs = "btrfs"
	fsLVM   = "lvm"
	fsLUKS  = "luks"
	fsVFAT  = "vfat"
	fsSwap  = "swap"
)

var magics = []struct {
	fs     string
	offset int64
	magic  string
}{
	{fsExt4, 1024 + 56, "\x53\xef"},
	{fsXFS, 0, "XFSB"},
	{fsBtrfs, 64<<10 + 64, "_BHRfS_M"},
	{fsLVM, 512, "LABELONE"}, // one of the first four sectors; this is where it is put
	{fsLUKS, 0, "LUKS\xba\xbe"},
	{fsVFAT, 82, "FAT32"},
	{fsVFAT, 54, "FAT1"},
	{fsSwap, 4096 - 10, "SWAPSPACE2"},
}

// fsAt is what stands at start on a disk; "" where it is not known.
func fsAt(disk io.ReaderAt, start int64) string {
	for _, m := range magics {
		got := make([]byte, len(m.magic))
		if _, err := disk.ReadAt(got, start+m.offset); err == nil && string(got) == m.magic {
			return m.fs
		}
	}
	return ""
}

// errNoBoot says that no firmware can start a disk.
var errNoBoot = errors.New("nothing on it boots: there is neither a BIOS's boot loader (in the first sector, with a BIOS boot partition where the table is a GPT) nor an EFI system partition\n" +
	"  bring an image that boots by itself, as distributions publish for clouds")

// boots is how a machine boots from the disk, by BIOS where both would do.
func (t table) boots() (string, error) {
	has := func(is func(tableEntry) bool) bool { return slices.ContainsFunc(t.Partitions, is) }
	byBIOS := !t.GPT || has(func(p tableEntry) bool { return p.Type == typeBIOSBoot || p.Bootable })
	switch {
	case t.Code && byBIOS:
		return BootBIOS, nil
	case has(func(p tableEntry) bool { return p.Type == typeESP || p.Type == mbrESP }):
		return BootUEFI, nil
	default:
		return "", errNoBoot
	}
}

// candidates are the partitions that may hold the root file system, the likeliest
// first; the whole disk, with the number 0, where there is no table.
func candidates(disk io.ReaderAt, size int64, t table) []Partition {
	if len(t.Partitions) == 0 {
		if fs := fsAt(disk, 0); rootFS(fs) {
			return []Partition{{Bytes: size, FS: fs, Last: true}}
		}
		return nil
	}
	var found []Partition
	typed := make(map[int]bool)
	for _, p := range t.Partitions {
		if fs := fsAt(disk, p.Start); rootFS(fs) {
			found = append(found, Partition{Number: p.Number, Start: p.Start, Bytes: p.Bytes, FS: fs, Last: t.last(p)})
			typed[p.Number] = p.Type == typeRoot
		}
	}
	slices.SortStableFunc(found, func(a, b Partition) int {
		if typed[a.Number] != typed[b.Number] {
			if typed[a.Number] {
				return -1
			}
			return 1
		}
		return int(min(max(b.Bytes-a.Bytes, -1), 1))
	})
	return found
}

func rootFS(fs string) bool { return slices.Contains([]string{fsExt4, fsXFS, fsBtrfs, fsLVM}, fs) }

// last says that no partition stands behind p, nor is it in another.
func (t table) last(p tableEntry) bool {
	const firstLogical = 5
	if !t.GPT && p.Number >= firstLogical { // to grow it is to grow the extended one too
		return false
	}
	return !slices.ContainsFunc(t.Partitions, func(o tableEntry) bool { return o.Start > p.Start })
}

// unclean says that an ext4 file system at start must be checked before it is
// written to: its journal has not been replayed, or it was in use since it was
// checked, so that resize2fs refuses it.
// Source: the kernel's Documentation/filesystems/ext4/super.rst.
func unclean(disk io.ReaderAt, start int64) (bool, error) {
	const size, mtime, state, lastCheck, incompat = 256, 0x2c, 0x3a, 0x40, 0x60
	const valid, hasErrors, needsRecovery = 1, 2, 4
	b := make([]byte, size)
	if _, err := disk.ReadAt(b, start+1024); err != nil {
		return false, err
	}
	le := binary.LittleEndian
	s := le.Uint16(b[state:])
	return s&valid == 0 || s&hasErrors != 0 || le.Uint32(b[incompat:])&needsRecovery != 0 ||
		le.Uint32(b[lastCheck:]) < le.Uint32(b[mtime:]), nil
}
