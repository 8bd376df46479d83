package lab

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
)

func is(t *testing.T, r Removable, want host.State) {
	t.Helper()
	got, err := r.State(t.Context())
	must(t, err)
	if got != want {
		t.Fatalf("%s is %s, want %s", r, got, want)
	}
}

func TestFolderContract(t *testing.T) {
	h := newHost(t)
	f := Folder{On: h, Tag: host.Tag{Lab: "demo", Format: host.Format, File: "name: demo\n"}}
	is(t, f, host.Absent)
	must(t, f.Destroy(t.Context()))
	must(t, f.Create(t.Context()))
	is(t, f, host.Present)
	must(t, f.Create(t.Context()))
	is(t, f, host.Present)
	if _, err := os.Stat(filepath.Join(f.dir(), markFile+".part")); err == nil {
		t.Error("what was written beside is left")
	}
	for path, want := range map[string]os.FileMode{f.dir(): 0o711, filepath.Join(f.dir(), markFile): 0o600} {
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, i.Mode(), err, want)
		}
	}
	must(t, os.MkdirAll(filepath.Join(f.dir(), "keys"), 0o700))
	must(t, os.WriteFile(filepath.Join(f.dir(), "keys", "id"), []byte("x"), 0o600))
	must(t, f.Destroy(t.Context()))
	is(t, f, host.Absent)
	if _, err := os.Stat(filepath.Dir(f.dir())); err == nil {
		t.Error("the folder of the labs is left")
	}
	must(t, f.Destroy(t.Context()))
}

// The last of the other labs may go at any instant, and the folder of the labs with it.
func TestFolderBesideTheEndOfOthers(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	var tidying sync.WaitGroup
	tidying.Go(func() {
		for ctx.Err() == nil {
			Tidy(h)
		}
	})
	t.Cleanup(func() { cancel(); tidying.Wait() })
	f := Folder{On: h, Tag: host.Tag{Lab: "plain"}}
	for range 100 {
		must(t, f.Create(ctx))
		must(t, f.Destroy(ctx))
	}
}

func TestFolderCutShort(t *testing.T) {
	h := newHost(t)
	f := Folder{On: h, Tag: host.Tag{Lab: "demo"}}
	must(t, os.MkdirAll(f.dir(), 0o711)) // made, and its mark half written
	must(t, os.WriteFile(filepath.Join(f.dir(), markFile+".part"), []byte("<lab"), 0o600))
	is(t, f, host.Partial)
	folders, err := findFolders(h)
	if err != nil || len(folders) != 1 || folders[0].Tag.Lab != "demo" || folders[0].Tag.File != "" {
		t.Errorf("found %v, %v", folders, err)
	}
	must(t, f.Create(t.Context()))
	is(t, f, host.Present)
	must(t, f.Destroy(t.Context()))
	is(t, f, host.Absent)
}

func TestFolderLeavesOthersAlone(t *testing.T) {
	h := newHost(t)
	one, two := Folder{On: h, Tag: host.Tag{Lab: "one"}}, Folder{On: h, Tag: host.Tag{Lab: "two"}}
	must(t, one.Create(t.Context()))
	must(t, two.Create(t.Context()))
	must(t, one.Destroy(t.Context()))
	is(t, two, host.Present)
	notes := filepath.Join(filepath.Dir(two.dir()), "notes.txt")
	must(t, os.WriteFile(notes, nil, 0o600))
	must(t, two.Destroy(t.Context()))
	if _, err := os.Stat(notes); err != nil {
		t.Errorf("a file of somebody's: %v", err)
	}
	if folders, err := findFolders(h); err != nil || len(folders) != 0 {
		t.Errorf("found %v, %v", folders, err)
	}
}

func TestFolderWithAFileInItsPlace(t *testing.T) {
	f := Folder{On: newHost(t), Tag: host.Tag{Lab: "demo"}}
	must(t, os.MkdirAll(filepath.Dir(f.dir()), 0o755))
	must(t, os.WriteFile(f.dir(), []byte("x"), 0o600))
	if s, err := f.State(t.Context()); err == nil {
		t.Errorf("a file is %s", s)
	}
	if err := f.Create(t.Context()); err == nil {
		t.Error("a folder was made where a file is")
	}
}

func TestFindFolders(t *testing.T) {
	h := newHost(t)
	if folders, err := findFolders(h); err != nil || len(folders) != 0 {
		t.Errorf("found %v, %v before there was any lab", folders, err)
	}
	must(t, Folder{On: h, Tag: host.Tag{Lab: "good", Format: 1, File: "name: good\n"}}.Create(t.Context()))
	for lab, mark := range map[string]string{
		"unreadable": "<lab", "foreign": "<x/>", "moved": `<lab xmlns="urn:labctl:lab:1" name="good" format="1"><file>name: good</file></lab>`,
	} {
		must(t, os.MkdirAll(h.LabDir(lab), 0o711))
		must(t, os.WriteFile(filepath.Join(h.LabDir(lab), markFile), []byte(mark), 0o600))
	}
	folders, err := findFolders(h)
	must(t, err)
	got := map[string]string{}
	for _, f := range folders {
		got[f.Tag.Lab] = f.Tag.File
	}
	want := map[string]string{"good": "name: good\n", "unreadable": ""}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
