package images

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// sector is the unit of partition tables, in bytes: QEMU's disks have no other.
const sector = 512

// table is a disk's partition table, or that there is none.
type table struct {
	GPT        bool
	Partitions []tableEntry // by number; none where the disk has no table
	Code       bool         // the first sector holds a program that a BIOS starts
}

// tableEntry is a partition as its table has it.
type tableEntry struct {
	Number       int    // from 1
	Type         string // a GUID in lower case, or MBR's in hexadecimal
	Start, Bytes int64
	Bootable     bool // GPT's "legacy BIOS bootable", or MBR's active
}

// Types of partitions.
// Source: UEFI 2.10, 5.3.3; the Discoverable Partitions Specification.
const (
	typeBIOSBoot  = "21686148-6449-6e6f-744e-656564454649"
	typeESP       = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	typeRoot      = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709" // Linux root, x86-64
	typeUnused    = "00000000-0000-0000-0000-000000000000"
	mbrESP        = "ef"
	mbrProtective = "ee" // the real table is a GPT
)

// readTable reads the partition table of a disk of that many bytes.
func readTable(disk io.ReaderAt, size int64) (table, error) {
	first := make([]byte, sector)
	if _, err := disk.ReadAt(first, 0); err != nil {
		return table{}, err
	}
	const codeEnd, signature = 440, 510
	t := table{Code: slices.Max(first[:codeEnd]) > 0 && first[signature] == 0x55 && first[signature+1] == 0xaa}
	header := make([]byte, sector)
	if _, err := disk.ReadAt(header, sector); err != nil && !errors.Is(err, io.EOF) {
		return table{}, err
	}
	var err error
	if t.GPT = string(header[:8]) == "EFI PART"; t.GPT {
		t.Partitions, err = readGPT(disk, header)
	} else {
		t.Partitions, err = readMBR(disk, first, size)
	}
	if err != nil {
		return table{}, err
	}
	for _, p := range t.Partitions {
		if p.Start <= 0 || p.Bytes <= 0 || p.Start > size-p.Bytes {
			return table{}, fmt.Errorf("partition %d is from byte %d for %d, on a disk of %d: the image is cut off or its partition table is damaged", p.Number, p.Start, p.Bytes, size)
		}
	}
	slices.SortFunc(t.Partitions, func(a, b tableEntry) int { return a.Number - b.Number })
	return t, nil
}

// readGPT reads the entries that a GPT's header tells of.
func readGPT(disk io.ReaderAt, header []byte) ([]tableEntry, error) {
	le := binary.LittleEndian
	headerBytes, entries, count, each := le.Uint32(header[12:]), le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	damaged := errors.New("its GPT is damaged\n  sgdisk --verify tells more; qemu-img convert makes a raw image for it")
	if headerBytes < 92 || headerBytes > sector || entries < 2 || entries > 1<<40 || count > 1024 || each < 128 || each > 4096 {
		return nil, damaged
	}
	sum := le.Uint32(header[16:])
	copied := bytes.Clone(header[:headerBytes])
	clear(copied[16:20])
	if crc32.ChecksumIEEE(copied) != sum {
		return nil, damaged
	}
	all := make([]byte, count*each)
	if _, err := disk.ReadAt(all, int64(entries)*sector); err != nil {
		return nil, damaged
	}
	if crc32.ChecksumIEEE(all) != le.Uint32(header[88:]) {
		return nil, damaged
	}
	var found []tableEntry
	for i := range int(count) {
		e := all[i*int(each):]
		p := tableEntry{Number: i + 1, Type: guid(e), Bootable: e[48]&4 != 0}
		if p.Type == typeUnused {
			continue
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if last < first || last > 1<<40 {
			return nil, damaged
		}
		p.Start, p.Bytes = int64(first)*sector, int64(last-first+1)*sector
		found = append(found, p)
	}
	return found, nil
}

// guid is a GUID as people write it: its first three numbers are little-endian on disk.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// readMBR reads the partitions of an MBR: the four in it, and those in the chain
// of an extended one, from 5.
func readMBR(disk io.ReaderAt, first []byte, size int64) ([]tableEntry, error) {
	var found []tableEntry
	primary := mbrEntries(first, 0)
	for i, p := range primary {
		if p.Bytes > 0 && p.Start > size-p.Bytes { // a boot sector of a file system, with no table in it
			return nil, nil
		}
		p.Number = i + 1
		switch {
		case p.Type == mbrProtective:
			return nil, errors.New("its partition table is a GPT, and there is none")
		case extended(p.Type):
			logical, err := readLogical(disk, p)
			if err != nil {
				return nil, err
			}
			found = append(found, logical...)
		case p.Type != "00" && p.Bytes > 0:
			found = append(found, p)
		}
	}
	return found, nil
}

// readLogical follows the chain in an extended partition: each link has a partition
// and where the next link is.
func readLogical(disk io.ReaderAt, extension tableEntry) ([]tableEntry, error) {
	const most = 64
	var found []tableEntry
	at := extension.Start
	for range most {
		link := make([]byte, sector)
		if _, err := disk.ReadAt(link, at); err != nil {
			return nil, fmt.Errorf("its extended partition: %w", err)
		}
		entries := mbrEntries(link, at)
		if len(entries) == 0 {
			return found, nil
		}
		if p := entries[0]; p.Type != "00" && p.Bytes > 0 {
			p.Number = 5 + len(found)
			found = append(found, p)
		}
		next := entries[1]
		if !extended(next.Type) || next.Bytes == 0 {
			return found, nil
		}
		at = extension.Start + next.Start - at // its place is told from the extended partition's
	}
	return nil, errors.New("its extended partition has no end")
}

func extended(mbrType string) bool { return slices.Contains([]string{"05", "0f", "85"}, mbrType) }

// mbrEntries are the four entries of a sector, told from base; nil where it is no MBR.
func mbrEntries(b []byte, base int64) []tableEntry {
	const entries, each = 446, 16
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil
	}
	var four []tableEntry
	for e := b[entries : entries+4*each]; len(e) > 0; e = e[each:] {
		if e[0]&0x7f != 0 { // neither active nor not: no table
			return nil
		}
		le := binary.LittleEndian
		four = append(four, tableEntry{
			Type:     fmt.Sprintf("%02x", e[4]),
			Start:    base + int64(le.Uint32(e[8:]))*sector,
			Bytes:    int64(le.Uint32(e[12:])) * sector,
			Bootable: e[0] == 0x80,
		})
	}
	return four
}
