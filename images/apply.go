package images

import (
	_ "embed"
	"path"
	"strings"
)

// ApplyScript is for sh: a system that was given a node's files after it had
// started takes them on. Its arguments are those of ApplyArguments.
//
//go:embed apply.sh
var ApplyScript string

// agentScript is for sh: it installs the guest agent where the image lacks it.
//
//go:embed agent.sh
var agentScript string

// ApplyArguments are what the files' links mean to a system that runs: a service
// that they start at boot is to be started, and of one that they hide its name
// with a - before it is to be stopped. systemd's have an extension, OpenRC's none.
func ApplyArguments(files []File) []string {
	var names []string
	for _, f := range files {
		dir, name := path.Split(f.Path)
		switch {
		case f.Link == "":
		case f.Link == nowhere && dir == "/etc/systemd/system/":
			names = append(names, "-"+name)
		case strings.HasSuffix(dir, ".wants/") || strings.HasPrefix(dir, "/etc/runlevels/"):
			names = append(names, name)
		}
	}
	return names
}
