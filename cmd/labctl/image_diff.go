package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/images"
)

func runImageDiff(c *cli.Context) error {
	names, err := arguments(c, 2, 2)
	if err != nil {
		return err
	}
	var m [2]images.Manifest
	for i, name := range names {
		if m[i], err = findManifest(c, name); err != nil {
			return err
		}
	}
	changes, err := images.Diff(m[0], m[1])
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = printJSON(c, append([]images.Change{}, changes...))
	} else {
		for _, change := range changes {
			fmt.Fprintln(c.App.Writer, change)
		}
	}
	if err == nil && len(changes) > 0 {
		return status(exitFailed)
	}
	return err
}

// findManifest is the manifest of a base image in the cache or in a file.
func findManifest(c *cli.Context, argument string) (images.Manifest, error) {
	file := strings.Contains(argument, "/") || slices.Contains([]string{".tar", ".json"}, filepath.Ext(argument))
	if file && filepath.Ext(argument) != ".yaml" {
		return images.ReadManifest(argument)
	}
	b, err := findImage(c, argument)
	return b.Manifest, err
}
