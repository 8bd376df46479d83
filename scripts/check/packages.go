package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// packagesDir keeps Debian's packages for all that is built with them: images, and what tests stand on.
const packagesDir = "/var/cache/labctl/packages"

// packageCache is a proxy for apt that keeps packages in a folder. apt checks the sums of what it gets, so that nothing
// here is trusted.
type packageCache struct {
	dir string
	via http.RoundTripper
}

// sharePackages has all builds of this process and those it starts get their packages by one cache, until it is stopped.
// It does nothing where apt has a proxy already, or there is no apt.
func sharePackages(ctx context.Context, dir string) (stop func(), err error) {
	said, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err != nil || strings.Contains(strings.ToLower(string(said)), "::proxy ") || os.Getenv("http_proxy") != "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	old, _ := filepath.Glob(filepath.Join(dir, "*")) // the pattern is valid
	for _, path := range old {
		if i, err := os.Stat(path); err == nil && time.Since(i.ModTime()) > 30*24*time.Hour {
			_ = os.Remove(path)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: packageCache{dir, http.DefaultTransport}, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	config, err := os.CreateTemp("", "labctl-apt-*.conf")
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(config, "Acquire::http::Proxy \"http://%s\";\n", listener.Addr())
	_ = config.Close()
	_ = os.Setenv("APT_CONFIG", config.Name())
	return func() {
		_ = os.Remove(config.Name())
		_ = server.Close()
	}, err
}

// ServeHTTP answers a request for a package from the folder, once it is there, and passes all others on.
func (c packageCache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Host == "" {
		http.Error(w, "this is a proxy", http.StatusBadRequest)
		return
	}
	sum := sha256.Sum256([]byte(r.URL.String()))
	path := filepath.Join(c.dir, hex.EncodeToString(sum[:16])+".deb")
	kept := r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".deb") && r.Header.Get("Range") == ""
	if kept {
		if _, err := os.Stat(path); err == nil {
			http.ServeFile(w, r, path)
			return
		}
	}
	request := r.Clone(r.Context())
	request.RequestURI = ""
	request.Header.Del("Proxy-Connection")
	answer, err := c.via.RoundTrip(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	if !kept || answer.StatusCode != http.StatusOK {
		_, _ = io.Copy(w, answer.Body)
		return
	}
	c.keep(path, w, answer)
}

// keep passes a package on and puts it in the folder, if it is whole.
func (c packageCache) keep(path string, w io.Writer, answer *http.Response) {
	file, err := os.CreateTemp(c.dir, ".new-*")
	if err != nil {
		_, _ = io.Copy(w, answer.Body)
		return
	}
	n, err := io.Copy(io.MultiWriter(w, file), answer.Body)
	if closed := file.Close(); err != nil || closed != nil || n != answer.ContentLength || os.Rename(file.Name(), path) != nil {
		_ = os.Remove(file.Name())
	}
}
