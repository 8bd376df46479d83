package images

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mib = 1 << 20

// testDisk is a disk of 64 MiB that holds nothing.
type testDisk []byte

func newTestDisk() testDisk { return make(testDisk, 64*mib) }

func (d testDisk) code() testDisk {
	copy(d, "\xeb\x63\x90")
	d[510], d[511] = 0x55, 0xaa
	return d
}

// fs puts a file system's magic at start.
func (d testDisk) fs(name string, start int) testDisk {
	for _, m := range magics {
		if m.fs == name {
			copy(d[start+int(m.offset):], m.magic)
			return d
		}
	}
	panic(name)
}

// gpt writes a GPT with those partitions.
func (d testDisk) gpt(parts ...tableEntry) testDisk {
	le := binary.LittleEndian
	entries := d[2*sector : 2*sector+128*128]
	for _, p := range parts {
		e := entries[(p.Number-1)*128:]
		var a, b, c, tail, end uint64
		if _, err := fmt.Sscanf(p.Type, "%x-%x-%x-%x-%x", &a, &b, &c, &tail, &end); err != nil {
			panic(err)
		}
		le.PutUint32(e, uint32(a))
		le.PutUint16(e[4:], uint16(b))
		le.PutUint16(e[6:], uint16(c))
		binary.BigEndian.PutUint64(e[8:], tail<<48|end)
		le.PutUint64(e[32:], uint64(p.Start/sector))
		le.PutUint64(e[40:], uint64((p.Start+p.Bytes)/sector-1))
		if p.Bootable {
			e[48] = 4
		}
	}
	h := d[sector:]
	copy(h, "EFI PART")
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	return d.sign()
}

// sign gives the GPT's header its checksum.
func (d testDisk) sign() testDisk {
	h := d[sector : sector+92]
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	return d
}

// mbr writes an MBR at a byte of the disk, its entries told from there.
func (d testDisk) mbr(at int, parts ...tableEntry) testDisk {
	for i, p := range parts {
		e := d[at+446+16*i:]
		if p.Bootable {
			e[0] = 0x80
		}
		_, _ = fmt.Sscanf(p.Type, "%x", &e[4])
		binary.LittleEndian.PutUint32(e[8:], uint32(p.Start/sector))
		binary.LittleEndian.PutUint32(e[12:], uint32(p.Bytes/sector))
	}
	d[at+510], d[at+511] = 0x55, 0xaa
	return d
}

const typeLinux = "0fc63daf-8483-4772-8e79-3d69d8477de4"

func TestInspectDisks(t *testing.T) {
	for name, c := range map[string]struct {
		disk  testDisk
		boot  string
		roots []Partition
	}{
		"a cloud image": {
			newTestDisk().code().gpt(
				tableEntry{Number: 14, Type: typeBIOSBoot, Start: mib, Bytes: mib},
				tableEntry{Number: 15, Type: typeESP, Start: 2 * mib, Bytes: mib},
				tableEntry{Number: 1, Type: typeLinux, Start: 4 * mib, Bytes: 32 * mib},
			).fs(fsExt4, 4*mib).fs(fsVFAT, 2*mib),
			BootBIOS,
			[]Partition{{Number: 1, Start: 4 * mib, Bytes: 32 * mib, FS: fsExt4, Last: true}},
		},
		"UEFI alone, the first of two, boot code of a protective MBR": {
			newTestDisk().code().gpt(
				tableEntry{Number: 1, Type: typeESP, Start: mib, Bytes: mib},
				tableEntry{Number: 2, Type: typeRoot, Start: 4 * mib, Bytes: 8 * mib},
				tableEntry{Number: 3, Type: typeLinux, Start: 12 * mib, Bytes: 32 * mib},
			).fs(fsXFS, 4*mib).fs(fsXFS, 12*mib),
			BootUEFI,
			[]Partition{
				{Number: 2, Start: 4 * mib, Bytes: 8 * mib, FS: fsXFS},
				{Number: 3, Start: 12 * mib, Bytes: 32 * mib, FS: fsXFS, Last: true},
			},
		},
		"a BIOS boot partition without a loader": {
			newTestDisk().gpt(
				tableEntry{Number: 1, Type: typeBIOSBoot, Start: mib, Bytes: mib},
				tableEntry{Number: 2, Type: typeESP, Start: 2 * mib, Bytes: mib},
			), BootUEFI, nil,
		},
		"syslinux on a GPT": {
			newTestDisk().code().gpt(tableEntry{Number: 1, Type: typeLinux, Start: mib, Bytes: mib, Bootable: true}).fs(fsBtrfs, mib),
			BootBIOS,
			[]Partition{{Number: 1, Start: mib, Bytes: mib, FS: fsBtrfs, Last: true}},
		},
		"an MBR": {
			newTestDisk().code().mbr(0,
				tableEntry{Type: "83", Start: mib, Bytes: 2 * mib, Bootable: true},
				tableEntry{Type: "8e", Start: 4 * mib, Bytes: 8 * mib},
				tableEntry{Type: "82", Start: 3 * mib, Bytes: mib},
			).fs(fsExt4, mib).fs(fsLVM, 4*mib).fs(fsSwap, 3*mib),
			BootBIOS,
			[]Partition{
				{Number: 2, Start: 4 * mib, Bytes: 8 * mib, FS: fsLVM, Last: true},
				{Number: 1, Start: mib, Bytes: 2 * mib, FS: fsExt4},
			},
		},
		"UEFI on an MBR": {
			newTestDisk().mbr(0, tableEntry{Type: "ef", Start: mib, Bytes: mib}, tableEntry{Type: "83", Start: 4 * mib, Bytes: mib}).fs(fsExt4, 4*mib),
			BootUEFI,
			[]Partition{{Number: 2, Start: 4 * mib, Bytes: mib, FS: fsExt4, Last: true}},
		},
		"logical partitions": {
			newTestDisk().code().
				mbr(0, tableEntry{Type: "05", Start: 8 * mib, Bytes: 32 * mib}).
				mbr(8*mib, tableEntry{Type: "83", Start: mib, Bytes: 2 * mib}, tableEntry{Type: "05", Start: 4 * mib, Bytes: 8 * mib}).
				mbr(12*mib, tableEntry{Type: "83", Start: mib, Bytes: 4 * mib}).
				fs(fsExt4, 9*mib).fs(fsExt4, 13*mib),
			BootBIOS,
			[]Partition{
				{Number: 6, Start: 13 * mib, Bytes: 4 * mib, FS: fsExt4},
				{Number: 5, Start: 9 * mib, Bytes: 2 * mib, FS: fsExt4},
			},
		},
		"no table":      {newTestDisk().code().fs(fsExt4, 0), BootBIOS, []Partition{{Bytes: 64 * mib, FS: fsExt4, Last: true}}},
		"only a kernel": {newTestDisk().fs(fsExt4, 0), "", []Partition{{Bytes: 64 * mib, FS: fsExt4, Last: true}}},
		"encrypted":     {newTestDisk().code().mbr(0, tableEntry{Type: "83", Start: mib, Bytes: mib}).fs(fsLUKS, mib), BootBIOS, nil},
		"nothing":       {newTestDisk(), "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := bytes.NewReader(c.disk)
			got, err := readTable(r, r.Size())
			if err != nil {
				t.Fatal(err)
			}
			boot, err := got.boots()
			if boot != c.boot || (boot == "") != errors.Is(err, errNoBoot) {
				t.Errorf("boots by %q, %v", boot, err)
			}
			if diff := cmp.Diff(c.roots, candidates(r, r.Size(), got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTablesThatAreNot(t *testing.T) {
	good := tableEntry{Number: 1, Type: typeLinux, Start: mib, Bytes: mib}
	change := func(at int, b byte) testDisk {
		d := newTestDisk().gpt(good)
		d[at] = b
		return d
	}
	for name, c := range map[string]struct {
		disk testDisk
		want string
	}{
		"cut off":             {newTestDisk().gpt(tableEntry{Number: 1, Type: typeLinux, Start: mib, Bytes: 64 * mib}), "partition 1 is from byte 1048576"},
		"a changed header":    {change(sector+72, 3), "damaged"},
		"a changed partition": {change(2*sector+32, 1), "damaged"},
		"many partitions":     {change(sector+83, 0xff).sign(), "damaged"},
		"long partitions":     {change(sector+87, 0xff).sign(), "damaged"},
		"a lone protector":    {newTestDisk().mbr(0, tableEntry{Type: "ee", Start: sector, Bytes: mib}), "GPT"},
		"a chain that turns": {
			newTestDisk().mbr(0, tableEntry{Type: "05", Start: 8 * mib, Bytes: 32 * mib}).
				mbr(8*mib, tableEntry{}, tableEntry{Type: "05", Start: 0, Bytes: mib}), "no end",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := bytes.NewReader(c.disk)
			got, err := readTable(r, r.Size())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want %q", got, err, c.want)
			}
		})
	}
}

// What sfdisk writes is read as it was meant.
func TestReadTableOfSfdisk(t *testing.T) {
	for label, script := range map[string]string{
		"gpt": "label: gpt\n1: start=8192, size=8192, type=" + typeLinux + "\n14: start=2048, size=2048, type=" + typeBIOSBoot + "\n",
		"dos": "label: dos\n1: start=2048, size=2048, type=83, bootable\n2: start=8192, size=65536, type=5\n5: start=10240, size=2048, type=83\n6: start=14336, size=2048, type=83\n",
	} {
		t.Run(label, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, make([]byte, 64*mib), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := command(t.Context(), "sfdisk", "--quiet", path)
			if err != nil {
				t.Fatal(err)
			}
			c.Stdin = strings.NewReader(script)
			if _, err := finish(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			disk, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer disk.Close()
			got, err := readTable(disk, 64*mib)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]tableEntry{
				"gpt": {{1, typeLinux, 4 * mib, 4 * mib, false}, {14, typeBIOSBoot, mib, mib, false}},
				"dos": {{1, "83", mib, mib, true}, {5, "83", 5 * mib, mib, false}, {6, "83", 7 * mib, mib, false}},
			}[label]
			if diff := cmp.Diff(want, got.Partitions); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// No table makes its reader panic, or read without end.
func FuzzReadTable(f *testing.F) {
	short := func(d testDisk) []byte { return d[:40*sector] }
	f.Add(short(newTestDisk().code().gpt(tableEntry{Number: 1, Type: typeLinux, Start: 36 * sector, Bytes: sector})))
	f.Add(short(newTestDisk().mbr(0, tableEntry{Type: "05", Start: 8 * sector, Bytes: 8 * sector}).mbr(8*sector, tableEntry{Type: "83", Start: sector, Bytes: sector})))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		got, err := readTable(r, r.Size())
		if err == nil {
			_, _ = got.boots()
			for _, p := range candidates(r, r.Size(), got) {
				if p.Start < 0 || p.Start+p.Bytes > r.Size() {
					t.Errorf("%+v", p)
				}
			}
		}
	})
}
