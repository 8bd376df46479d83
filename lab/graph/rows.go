package graph

import (
	"strings"
	"unicode/utf8"
)

// ascii is a row without what is none; lines have a likeness.
func ascii(row string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < utf8.RuneSelf:
			return r
		case r == '│', r == '┼', r == '╪': // what passes is not what joins
			return '|'
		case r == '─':
			return '-'
		case r == '║', r == '╫', r == '╬':
			return '#'
		case r == '═':
			return '='
		case r == '┊':
			return ':'
		case r == '▸':
			return '>'
		case r >= '┌' && r <= '╬':
			return '+'
		}
		return '?'
	}, row)
}

// wrap breaks a text between words, and inside those that are longer than a line.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(plain(text)) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
		for utf8.RuneCountInString(line) > width {
			r := []rune(line)
			lines, line = append(lines, string(r[:width])), string(r[width:])
		}
	}
	return append(lines, line)
}
