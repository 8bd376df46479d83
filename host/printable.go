package host

import (
	"strings"
	"unicode"
)

// The most of a guest's words that stands in an error.
const excerptMost = 4096

// Printable is text from a guest made safe for a terminal: control characters,
// escape sequences among them, become "?".
func Printable(text []byte) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			return r
		case r == '\r':
			return -1
		default:
			return '?'
		}
	}, string(text))
}

// Excerpt is the end of a guest's text, at most 4096 bytes of it, Printable and trimmed: for errors.
func Excerpt(text []byte) string {
	return strings.TrimSpace(Printable(text[max(0, len(text)-excerptMost):]))
}
