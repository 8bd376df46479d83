package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
)

// sidedLab cannot come up on libvirt's test driver: its sides have no bridges there.
const sidedLab = `
name: sided
image: debian-slim
networks:
  control: {subnet: 10.9.1.0/24, uplink: none}
  test: {sides: [a, b]}
nodes:
  one: {memory: 128MiB, nics: [{network: control}, {network: test, side: a}]}
  two: {memory: 128MiB, nics: [{network: control}, {network: test, side: b}]}
`

// putBase puts what passes for the base image of the recipe debian-slim into the cache.
func putBase(t *testing.T, h *host.Host) {
	t.Helper()
	const recipe = "debian-slim"
	r, err := images.BuiltIn(recipe)
	must(t, err)
	dir := filepath.Join(h.ImageDir(), r.ID())
	must(t, os.MkdirAll(dir, 0o755))
	m := images.Manifest{Recipe: recipe, Digest: r.Digest(), DiskBytes: 2 << 30, Files: map[string]images.Sum{}}
	for _, name := range []string{"disk.qcow2", "kernel", "initrd"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
		sum := sha256.Sum256([]byte(name))
		m.Files[name] = images.Sum{SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(name))}
	}
	text, err := json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o644))
}

func noTools(t *testing.T) {
	t.Helper()
	before := tools
	tools = nil
	t.Cleanup(func() { tools = before })
}

// clean fails the test where anything of a lab is left.
func clean(t *testing.T, h *host.Host) {
	t.Helper()
	if left := domainsAndNetworks(t, h); len(left) > 0 {
		t.Errorf("left in libvirt: %v", left)
	}
	for _, dir := range []string{filepath.Dir(h.LabDir("any")), host.LockDir} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left (%v)", dir, err)
		}
	}
}

func TestUpThatFailsTakesBackWhatItMade(t *testing.T) {
	noTools(t)
	h := newHost(t)
	putBase(t, h)
	var r recorder
	_, _, err := Up(t.Context(), h, loadFile(t, sidedLab), Wanted{From: "lab.yaml", Timeout: time.Minute}, r.tell)
	if err == nil || !strings.Contains(err.Error(), "create network/test.a: ") {
		t.Errorf("%v", err)
	}
	r.complete(t)
	clean(t, h)
}

func TestUpThatFailsKeepsForALook(t *testing.T) {
	noTools(t)
	h := newHost(t)
	putBase(t, h)
	var r recorder
	_, _, err := Up(t.Context(), h, loadFile(t, sidedLab), Wanted{Keep: true, Timeout: time.Minute}, r.tell)
	if err == nil {
		t.Error("it came up")
	}
	if d := cmp.Diff([]string{"labctl.sided.control", "labctl.sided.test.a", "labctl.sided.test.b"}, domainsAndNetworks(t, h)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	warned := false
	for _, e := range r.events {
		warned = warned || e.Phase == Warns && strings.Contains(e.Note, "--keep")
	}
	if !warned {
		t.Error("nobody was told that something is left")
	}
	if n, err := Down(t.Context(), h, "sided", deaf); err != nil || n == 0 {
		t.Errorf("%d, %v", n, err)
	}
	clean(t, h)
}

// What was there before stays.
func TestUpThatFailsLeavesWhatWasThere(t *testing.T) {
	noTools(t)
	h := newHost(t)
	putBase(t, h)
	b := prepare(t, h, sidedLab)
	must(t, b.folder().Create(t.Context()))
	must(t, b.segments()[0].Create(t.Context()))
	if _, _, err := Up(t.Context(), h, loadFile(t, sidedLab), Wanted{Timeout: time.Minute}, deaf); err == nil {
		t.Error("it came up")
	}
	is(t, b.folder(), host.Present)
	if d := cmp.Diff([]string{"labctl.sided.control"}, domainsAndNetworks(t, h)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestUpInterruptedTakesBackWhatItMade(t *testing.T) {
	noTools(t)
	for _, at := range []string{"folder/sided", "image/debian-slim", "network/control"} {
		t.Run(at, func(t *testing.T) {
			h := newHost(t)
			putBase(t, h)
			ctx, cancel := context.WithCancel(t.Context())
			var r recorder
			_, _, err := Up(ctx, h, loadFile(t, sidedLab), Wanted{Timeout: time.Minute}, func(e Event) {
				r.tell(e)
				if e.Resource == at && e.Phase == Starts {
					cancel()
				}
			})
			if err == nil {
				t.Error("it came up")
			}
			r.complete(t)
			clean(t, h)
		})
	}
}

func TestUpInNoTime(t *testing.T) {
	noTools(t)
	h := newHost(t)
	putBase(t, h)
	_, _, err := Up(t.Context(), h, loadFile(t, sidedLab), Wanted{Timeout: time.Nanosecond}, deaf)
	if !errors.As(err, new(TimedOut)) {
		t.Errorf("%v", err)
	}
	clean(t, h)
}

func TestUpWithACorruptBase(t *testing.T) {
	noTools(t)
	h := newHost(t)
	putBase(t, h)
	kernels, err := filepath.Glob(filepath.Join(h.ImageDir(), "*", "kernel"))
	must(t, err)
	must(t, os.WriteFile(kernels[0], []byte("KERNEL"), 0o644))
	_, _, err = Up(t.Context(), h, loadFile(t, sidedLab), Wanted{Timeout: time.Minute}, deaf)
	if !errors.As(err, new(images.Corrupt)) || !strings.Contains(err.Error(), "verify image/debian-slim") {
		t.Errorf("%v", err)
	}
	clean(t, h)
}

// A size that a disk cannot have is refused before anything else is made.
func TestUpWithADiskThatIsTooSmall(t *testing.T) {
	noTools(t)
	h := newHost(t)
	putBase(t, h)
	var r recorder
	_, _, err := Up(t.Context(), h, loadFile(t, strings.Replace(sidedLab, "one: {", "one: {disk: 1GiB, ", 1)), Wanted{Timeout: time.Minute}, r.tell)
	if err == nil || !strings.Contains(err.Error(), "disk/one: 1024 MiB are too few: the image debian-slim needs 2048 MiB") {
		t.Errorf("%v", err)
	}
	for _, e := range r.events {
		if e.Verb == "create" && e.Resource != "folder/sided" {
			t.Errorf("%s was made", e.Resource)
		}
	}
	clean(t, h)
}

func TestUpOfAChangedLab(t *testing.T) {
	noTools(t)
	h := newHost(t)
	putBase(t, h)
	old := prepare(t, h, strings.Replace(plainLab, "name: plain", "name: sided", 1))
	put(t, old)
	_, _, err := Up(t.Context(), h, loadFile(t, sidedLab), Wanted{Timeout: time.Minute}, deaf)
	if !errors.As(err, new(Changed)) {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff([]string{"labctl.sided.control", "labctl.sided.one", "labctl.sided.two"}, domainsAndNetworks(t, h)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	// replaced, the old one is gone, whatever comes of the new one
	if _, _, err := Up(t.Context(), h, loadFile(t, sidedLab), Wanted{Replace: true, Timeout: time.Minute}, deaf); err == nil || errors.As(err, new(Changed)) {
		t.Errorf("%v", err)
	}
	clean(t, h)
}

func TestUpOnAHostThatIsNotFit(t *testing.T) {
	before := tools
	tools = []string{"no-such-tool"}
	t.Cleanup(func() { tools = before })
	h := newHost(t)
	if _, _, err := Up(t.Context(), h, loadFile(t, sidedLab), Wanted{Timeout: time.Minute}, deaf); !errors.As(err, new(host.Unfits)) {
		t.Errorf("%v", err)
	}
	clean(t, h)
}

func TestMissingBases(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, strings.Replace(sidedLab, "one: {", "one: {image: debian, ", 1))
	missing := func() (all []string) {
		bases, err := b.MissingBases(t.Context())
		must(t, err)
		for _, m := range bases {
			all = append(all, m.Verb()+" "+m.String())
		}
		return all
	}
	if d := cmp.Diff([]string{"build image/debian", "build image/debian-slim"}, missing()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	putBase(t, h)
	if d := cmp.Diff([]string{"build image/debian"}, missing()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestLoginAndOptions(t *testing.T) {
	b := Build{On: newHost(t), Lab: decided(t, sidesLab)}
	if login, err := Login(mustNode(t, b.Lab, "a")); login != "root@10.9.1.2" || err != nil {
		t.Errorf("%q, %v", login, err)
	}
	if _, err := Login(mustNode(t, b.Lab, "b")); err == nil || !strings.Contains(err.Error(), "labctl exec") {
		t.Errorf("%v: b is on no network with the host", err)
	}
	options := strings.Join(b.SSHOptions(mustNode(t, b.Lab, "a")), " ")
	for _, want := range []string{"-F none", "BatchMode=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=a", b.keys().Dir} {
		if !strings.Contains(options, want) {
			t.Errorf("no %q in %q", want, options)
		}
	}
}
