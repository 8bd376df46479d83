package images

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// source is one of apt's sources: where packages come from.
type source struct {
	uris, suites []string
	signedBy     string // the keyring's path; "" for apt's own
}

// hostSources returns, in apt's deb822 format, where a Debian host gets its own
// packages from, with the host's release replaced by suite: its main archive,
// updates and security. It is empty on other hosts and where nothing fits.
// root is the host's root folder.
func hostSources(root, suite string) string {
	id, release := osRelease(filepath.Join(root, "etc/os-release"))
	if id != "debian" || release == "" {
		return ""
	}
	var b strings.Builder
	for _, s := range readSources(filepath.Join(root, "etc/apt")) {
		var suites []string
		for _, name := range s.suites {
			rest, ok := strings.CutPrefix(name, release)
			if ok && slices.Contains([]string{"", "-updates", "-security"}, rest) {
				suites = append(suites, suite+rest)
			}
		}
		if len(suites) == 0 {
			continue
		}
		b.WriteString("Types: deb\nURIs: " + strings.Join(s.uris, " ") + "\nSuites: " + strings.Join(suites, " ") + "\nComponents: main\n")
		if s.signedBy != "" {
			b.WriteString("Signed-By: " + s.signedBy + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// osRelease reads a distribution's name and its release's name.
func osRelease(path string) (id, release string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", "" // not a host that we know
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			id = value
		case "VERSION_CODENAME":
			release = value
		}
	}
	return id, release
}

// readSources reads the sources in apt's folder dir; what cannot be read counts as not there.
func readSources(dir string) []source {
	var all []source
	lists, _ := filepath.Glob(filepath.Join(dir, "sources.list.d/*.list")) // the pattern is valid
	for _, path := range append([]string{filepath.Join(dir, "sources.list")}, lists...) {
		if text, err := os.ReadFile(path); err == nil {
			all = append(all, parseList(string(text))...)
		}
	}
	deb822, _ := filepath.Glob(filepath.Join(dir, "sources.list.d/*.sources"))
	for _, path := range deb822 {
		if text, err := os.ReadFile(path); err == nil {
			all = append(all, parseDeb822(string(text))...)
		}
	}
	return all
}

// parseList reads apt's one-line format: deb [OPTION=VALUE …] URI SUITE COMPONENT ….
func parseList(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		var s source
		if open := strings.IndexByte(line, '['); open >= 0 {
			options, rest, ok := strings.Cut(line[open+1:], "]")
			if !ok {
				continue
			}
			for _, o := range strings.Fields(options) {
				if value, ok := strings.CutPrefix(o, "signed-by="); ok {
					s.signedBy = value
				}
			}
			line = line[:open] + rest
		}
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != "deb" || !slices.Contains(f[3:], "main") {
			continue
		}
		s.uris, s.suites = f[1:2], f[2:3]
		all = append(all, s)
	}
	return all
}

// parseDeb822 reads apt's newer format: stanzas of "Key: values" lines.
func parseDeb822(text string) []source {
	var all []source
	stanza := make(map[string]string)
	key := ""
	end := func() {
		fields := func(key string) []string { return strings.Fields(stanza[key]) }
		if slices.Contains(fields("types"), "deb") && slices.Contains(fields("components"), "main") && stanza["enabled"] != "no" {
			s := source{uris: fields("uris"), suites: fields("suites")}
			if by := fields("signed-by"); len(by) == 1 { // else a key in the text itself
				s.signedBy = by[0]
			}
			all = append(all, s)
		}
		clear(stanza)
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			end()
		case line[0] == ' ' || line[0] == '\t':
			stanza[key] += " " + strings.TrimSpace(line)
		default:
			k, value, _ := strings.Cut(line, ":")
			key = strings.ToLower(k)
			stanza[key] = strings.TrimSpace(value)
		}
	}
	end()
	return all
}

// aptOptions returns the host's own apt options that decide whether it reaches
// its mirror, in apt.conf's format: proxies, and how old a mirror may be. It is
// empty on a host without apt.
func aptOptions(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err != nil {
		return ""
	}
	return keepOptions(string(out))
}

func keepOptions(dump string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		name, _, _ := strings.Cut(line, " ")
		name = strings.ToLower(name)
		if strings.Contains(name, "::proxy") || strings.HasPrefix(name, "acquire::check-") || name == "acquire::retries" {
			b.WriteString(line)
		}
	}
	return b.String()
}
