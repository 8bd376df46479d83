package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
)

// A package is fetched once, and what came whole is kept; all else is asked for each time.
func TestPackageCache(t *testing.T) {
	asked := map[string]int{}
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		if r.URL.Path == "/pool/cut.deb" {
			w.Header().Set("Content-Length", "100")
		}
		_, _ = io.WriteString(w, "what is in "+r.URL.Path)
	}))
	defer mirror.Close()
	dir := t.TempDir()
	cache := httptest.NewServer(packageCache{dir, http.DefaultTransport})
	defer cache.Close()
	at, err := url.Parse(cache.URL)
	must(t, err)
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at)}}
	for range 2 {
		for _, path := range []string{"/pool/a.deb", "/dists/Release", "/pool/cut.deb"} {
			answer, err := client.Get(mirror.URL + path)
			must(t, err)
			text, _ := io.ReadAll(answer.Body)
			must(t, answer.Body.Close())
			if string(text) != "what is in "+path || answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s, %q", path, answer.Status, text)
			}
		}
	}
	if asked["/pool/a.deb"] != 1 || asked["/dists/Release"] != 2 || asked["/pool/cut.deb"] != 2 {
		t.Errorf("the mirror was asked %v", asked)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("kept are %q, %v", left, err)
	}
	if hidden, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(hidden) != 0 {
		t.Errorf("left are %q", hidden)
	}
}
