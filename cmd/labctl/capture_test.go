package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A capture that never begins leaves the file of an earlier one as it is.
func TestLateFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "frames.pcap")
	is := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if err := os.WriteFile(name, []byte("an earlier capture"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &lateFile{name: name}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	is("an earlier capture")
	for _, b := range []string{"a", "b"} {
		if _, err := l.Write([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	is("ab")
	fresh := &lateFile{name: filepath.Join(t.TempDir(), "fresh.pcap")}
	if _, err := fresh.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(fresh.name); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("a new capture has mode %v, %v", i.Mode(), err)
	}
	_ = fresh.Close()
	if _, err := (&lateFile{name: filepath.Join(name, "x")}).Write([]byte("a")); err == nil {
		t.Error("a file in no folder was written")
	}
}
