package flows

import (
	"context"
	"io"
	"strings"
)

// Guest is a node in which traffic is made or captured. What it says is not trusted.
type Guest interface {
	// Bash runs a script as root to its end and returns what it printed, 1 MiB or so
	// at the most; a script that fails is an error which holds what it said.
	Bash(ctx context.Context, script string) ([]byte, error)
	// Fetch runs a script as root and passes on what it prints, of any length.
	Fetch(ctx context.Context, script string, to io.Writer) error
}

// shell makes words of a shell of texts.
func shell(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
