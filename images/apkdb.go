package images

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// installed is apk's database of what a tree has.
type installed struct {
	versions map[string]string
	provides map[string]bool     // names, of packages and of what else they provide
	needs    map[string][]string // by package
}

// readInstalled reads the database of the tree.
func readInstalled(root *os.Root) (installed, error) {
	db := installed{make(map[string]string), make(map[string]bool), make(map[string][]string)}
	text, err := root.ReadFile("lib/apk/db/installed")
	if err != nil {
		return db, err
	}
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		field := make(map[string]string)
		for line := range strings.Lines(stanza) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			if _, ok := field[key]; !ok { // lines on files use some of the letters again
				field[key] = value
			}
		}
		name := field["P"]
		if name == "" {
			continue
		}
		db.versions[name] = field["V"]
		db.provides[name] = true
		for _, p := range strings.Fields(field["p"]) {
			db.provides[dependencyName(p)] = true
		}
		db.needs[name] = strings.Fields(field["D"])
	}
	return db, nil
}

// dependencyName is the name in what apk calls a dependency: NAME[@TAG][OPERATOR VERSION].
func dependencyName(dependency string) string {
	if end := strings.IndexAny(dependency, "@<>=~"); end >= 0 {
		return dependency[:end]
	}
	return dependency
}

// missing is an error that names what the recipe asks for and the tree lacks, what
// its packages need and it lacks, and where it differs from the recipe's lock.
func (db installed) missing(r Recipe) error {
	var wrong []string
	for _, p := range r.Packages {
		if !db.provides[dependencyName(p)] {
			wrong = append(wrong, dependencyName(p)+" is not installed")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(db.needs)) {
		for _, need := range db.needs[name] {
			if !strings.HasPrefix(need, "!") && !strings.HasPrefix(need, "/") && !db.provides[dependencyName(need)] {
				wrong = append(wrong, fmt.Sprintf("%s needs %s, which is not installed", name, need))
			}
		}
	}
	if r.locked != nil {
		wrong = append(wrong, db.unlike(r.locked)...)
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New("apk did not install what was asked for: " + strings.Join(wrong, "; "))
}

// unlike tells where the packages are other than the lock says.
func (db installed) unlike(locked map[string]string) []string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(locked)) {
		if got := db.versions[name]; got == "" {
			wrong = append(wrong, fmt.Sprintf("%s %s is locked and not installed", name, locked[name]))
		} else if got != locked[name] {
			wrong = append(wrong, fmt.Sprintf("%s %s is installed and %s is locked", name, got, locked[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(db.versions)) {
		if locked[name] == "" {
			wrong = append(wrong, fmt.Sprintf("%s %s is installed and not locked", name, db.versions[name]))
		}
	}
	return wrong
}
