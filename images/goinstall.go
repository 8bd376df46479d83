package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mami-project/labctl/host"
)

// goBin is where commands built with Go lie in an image.
const goBin = "/usr/local/bin"

// goInstall builds the recipe's Go commands on this host, and notes them in added
// by their places. They are static: an image needs nothing for them.
func goInstall(ctx context.Context, root *os.Root, r Recipe, added map[string]Input, tell func(string)) error {
	if len(r.Go) == 0 {
		return nil
	}
	compiler, err := findGo()
	if err != nil {
		return err
	}
	temp, err := privateTemp(root.Name())
	if err != nil {
		return err
	}
	version, err := runGo(ctx, compiler, temp, "", "env", "GOVERSION")
	if err != nil {
		return err
	}
	for _, pkg := range r.Go {
		tell("building " + pkg)
		bin, err := os.MkdirTemp(temp, "bin")
		if err != nil {
			return err
		}
		if _, err := runGo(ctx, compiler, temp, bin, "install", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", pkg); err != nil {
			return fmt.Errorf("go-install %s: %w", pkg, err)
		}
		built, err := os.ReadDir(bin)
		if err == nil && len(built) != 1 {
			err = errors.New("it is no command: expected the path of a package main")
		}
		if err != nil {
			return fmt.Errorf("go-install %s: %w", pkg, err)
		}
		in := input{from: pkg + " by " + strings.TrimSpace(version), place: path.Join(goBin, built[0].Name()), path: filepath.Join(bin, built[0].Name()), mode: 0o755}
		if in.sum, err = sum(ctx, in.path); err != nil {
			return err
		}
		if err := put(root, in.place, func(p string) error { _, err := copyInput(ctx, root, p, in, tell); return err }); err != nil {
			return err
		}
		added[in.place] = Input{in.from, in.sum}
	}
	return os.RemoveAll(temp)
}

// goPlaces are where Go's own command may be: sudo's PATH may lack the second.
var goPlaces = []string{"go", "/usr/local/go/bin/go"}

// findGo is the path of Go's own command.
func findGo() (string, error) {
	for _, name := range goPlaces {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", host.Unfit{
		What: "Go is not installed, which the recipe's go-install needs",
		Fix:  "install it (https://go.dev/doc/install), or build the command elsewhere and name it under binaries:",
	}
}

// runGo runs Go in the folder temp, so that no module around it is read or
// changed; programs go to bin.
func runGo(ctx context.Context, compiler, temp, bin string, args ...string) (string, error) {
	c, err := command(ctx, compiler, args...)
	if err != nil {
		return "", err
	}
	c.Dir = temp
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off", "GO111MODULE=on", "GOBIN="+bin, "GOTMPDIR="+temp,
		"GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOEXPERIMENT=")
	if os.Getenv("HOME") == "" { // Go's caches are there
		c.Env = append(c.Env, "HOME=/root")
	}
	// its compilers end with it
	c.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	return finish(ctx, c)
}
