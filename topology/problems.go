package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one mistake in a lab file.
type Problem struct {
	File string
	Line int // from 1
	Msg  string
	Hint string // the way out
}

func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Msg)
	if p.Hint != "" {
		s += "\n  " + p.Hint
	}
	return s
}

// Problems are all the mistakes in a lab file, by line.
type Problems []Problem

func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return strings.Join(texts, "\n")
}

// collector gathers the problems of a file, up to a number that anyone would read.
type collector struct {
	file  string
	found Problems
}

const mostProblems = 1000

func (c *collector) add(line int, msg, hint string) {
	if !c.full() {
		c.found = append(c.found, Problem{c.file, line, msg, hint})
	}
}

func (c *collector) full() bool { return len(c.found) >= mostProblems }

// err is a Problems by line, each problem once; nil if there are none.
func (c *collector) err() error {
	if len(c.found) == 0 {
		return nil
	}
	ps := c.found
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	if c.full() {
		ps = append(ps, Problem{c.file, ps[len(ps)-1].Line, fmt.Sprintf("more than %d problems", mostProblems), "the others are not looked for: check again when these are mended"})
	}
	return slices.Compact(ps)
}

// show is the user's text as it may stand in a message: on one line, not too long.
func show(s string) string {
	const longest = 60
	cut := s
	if len(cut) > longest {
		cut = cut[:longest] + "…"
	}
	if plain := strings.IndexFunc(cut, func(r rune) bool { return r <= ' ' || r == '"' || !strconv.IsPrint(r) }) < 0; plain && s != "" {
		return cut
	}
	return strconv.Quote(cut)
}

// nearest is the candidate that was probably meant by a word; "" if none looks like it.
func nearest(word string, candidates []string) string {
	const (
		most = 200 // candidates looked at: a hint is not worth more time
		long = 64  // bytes of a word that can be a misspelt key or name
	)
	if len(word) > long {
		return ""
	}
	best, least := "", min(3, len(word)/2+1)
	for _, c := range candidates[:min(most, len(candidates))] {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, drop, change or swap between two words.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// meant is a hint: what was probably meant, and what there is.
func meant(word, kind string, candidates []string) string {
	if len(candidates) == 0 {
		return "there are no " + kind
	}
	const most = 12
	list := strings.Join(candidates[:min(most, len(candidates))], ", ")
	if len(candidates) > most {
		list += ", …"
	}
	if c := nearest(word, candidates); c != "" {
		return fmt.Sprintf("did you mean %s? %s: %s", c, kind, list)
	}
	return kind + ": " + list
}
