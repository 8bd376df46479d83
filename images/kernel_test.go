package images

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bzImage is a kernel image in which packed is packed.
func bzImage(packed []byte) []byte {
	b := make([]byte, 0x1000)
	b[0x1f1] = 3 // sectors after the first, then 0x800 bytes of unpacking code
	copy(b[0x202:], "HdrS\x0f\x02")
	binary.LittleEndian.PutUint32(b[0x248:], 0x800)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(packed)))
	return append(append(b, packed...), "the image's own end"...)
}

func xz(t *testing.T, text []byte) []byte {
	t.Helper()
	c, err := command(t.Context(), "xz", "--check=crc32")
	if err != nil {
		t.Fatal(err)
	}
	c.Stdin = bytes.NewReader(text)
	out, err := finish(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(out)
}

func TestUnpackKernel(t *testing.T) {
	elf := bytes.Repeat([]byte("the kernel "), 1<<16)
	sized := func(packed []byte) []byte { return append(packed, 0x40, 0x77, 0x1b, 0) } // as the kernel's Makefile does
	lz4 := bzImage([]byte("\x02\x21\x4c\x18 packed by lz4"))
	for name, c := range map[string]struct{ image, want []byte }{
		"packed with xz":       {bzImage(sized(xz(t, elf))), elf},
		"packed otherwise":     {lz4, lz4},
		"not packed":           {elf, elf},
		"ends before its data": {lz4[:0x1000], lz4[:0x1000]},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			kernel := filepath.Join(dir, "kernel")
			if err := os.WriteFile(kernel, c.image, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := unpackKernel(t.Context(), kernel); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(kernel)
			if err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("%v, it holds %d bytes that begin with %.20q", err, len(got), got)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestUnpackDamagedKernel(t *testing.T) {
	packed := xz(t, bytes.Repeat([]byte("the kernel "), 1<<16))
	kernel := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(kernel, bzImage(packed[:len(packed)/2]), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unpackKernel(t.Context(), kernel); err == nil || !strings.HasPrefix(err.Error(), "xz: ") {
		t.Errorf("got %v", err)
	}
}
