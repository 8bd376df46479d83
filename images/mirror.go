package images

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// slirpHost is the host's loopback, as a machine on QEMU's user network reaches it.
const slirpHost = "10.0.2.2"

// mirror is where a machine gets its packages from while it is built.
type mirror struct {
	URL   string // as the machine reaches it, without a slash at its end
	Kept  string // as others reach it, or Alpine's own where they cannot
	close func() error
}

// openMirror makes a mirror be reached: a folder is served on the host's loopback
// until the mirror is closed.
func openMirror(ctx context.Context, where string) (mirror, error) {
	none := func() error { return nil }
	if where == "" {
		return mirror{alpineMirror, alpineMirror, none}, nil
	}
	if !strings.Contains(where, "://") {
		return serveFolder(ctx, where)
	}
	u, err := url.Parse(where)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || !isPlain(where) {
		return mirror{}, fmt.Errorf("--mirror %q is no mirror: http://…, https://… and folders are", where)
	}
	where = strings.TrimRight(where, "/")
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return mirror{where, where, none}, nil
	}
	inside := *u
	inside.Host = slirpHost
	if port := u.Port(); port != "" {
		inside.Host += ":" + port
	}
	return mirror{strings.TrimRight(inside.String(), "/"), alpineMirror, none}, nil
}

// isPlain says whether a URL is one word to a shell, wherever it stands.
func isPlain(u string) bool {
	return !strings.ContainsFunc(u, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/@%+[]", r)
	})
}

func serveFolder(ctx context.Context, folder string) (mirror, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return mirror{}, fmt.Errorf("--mirror: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return mirror{}, err
	}
	server := &http.Server{Handler: http.FileServerFS(root.FS()), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until it is closed
	port := listener.Addr().(*net.TCPAddr).Port
	return mirror{fmt.Sprintf("http://%s:%d", slirpHost, port), alpineMirror, func() error {
		_ = root.Close() // it was read only
		return server.Close()
	}}, nil
}

// Close ends the serving.
func (m mirror) Close() error { return m.close() }
