package host

import (
	"os/exec"
	"path/filepath"
)

// Folders of root's programs, which sudo's PATH may lack.
var rootsFolders = []string{"/usr/sbin", "/sbin"}

// Tool is the path of a program that is run: on PATH, or among root's programs.
func Tool(name string) (string, error) {
	path, missing := exec.LookPath(name)
	if missing == nil {
		return path, nil
	}
	for _, dir := range rootsFolders {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", missing
}
