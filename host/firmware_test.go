package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUEFI(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	was := firmwares
	defer func() { firmwares = was }()
	firmwares = []Firmware{{file("code"), file("variables")}, {file("old-code"), file("old-variables")}}
	if err := os.WriteFile(file("code"), nil, 0o600); err != nil { // of no use alone
		t.Fatal(err)
	}
	var unfits Unfits
	err := Preflight(t.Context(), fake(t), Needs{UEFI: true})
	if !errors.As(err, &unfits) || len(unfits) != 1 || !strings.Contains(err.Error(), "apt-get install ovmf") {
		t.Errorf("without it: %v", err)
	}
	if err := Preflight(t.Context(), fake(t), Needs{}); err != nil {
		t.Errorf("where none is asked for: %v", err)
	}
	for _, f := range []string{"old-code", "old-variables"} {
		if err := os.WriteFile(file(f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Preflight(t.Context(), fake(t), Needs{UEFI: true}); err != nil {
		t.Error(err)
	}
	if got, err := UEFI(); got != firmwares[1] || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
