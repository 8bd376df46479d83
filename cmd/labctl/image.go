package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
)

var imageCommand = &cli.Command{
	Name:  "image",
	Usage: "build, list, verify and prune the base images that nodes stand on",
	Subcommands: []*cli.Command{
		{
			Name: "build", Usage: "build the base image of each recipe, unless it is there and whole", ArgsUsage: "RECIPE…",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "mirror", EnvVars: []string{"LABCTL_MIRROR"}, Usage: "`URI` of a package mirror; the host's own sources where not given"},
				eventsFlag,
			},
			Action: runImageBuild,
		},
		{Name: "list", Usage: "list the base images in the cache", Flags: []cli.Flag{jsonFlag}, Action: runImageList},
		{Name: "verify", Usage: "compare every file of the base images with what was built", Action: runImageVerify},
		{
			Name: "prune", Usage: "remove base images that no lab stands on and no recipe of this labctl makes",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "all", Usage: "those that recipes make too, as long as no lab stands on them"},
			},
			Action: runImagePrune,
		},
	},
	Action: noImageCommand,
}

func noImageCommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return noSuchCommand(c.Command.Subcommands, name, "labctl image")
	}
	return cli.ShowSubcommandHelp(c)
}

// imageDir is the cache in labctl's folder.
func imageDir(c *cli.Context) string { return filepath.Join(c.String("dir"), "images") }

func runImageBuild(c *cli.Context) error {
	names, err := arguments(c, 1, -1)
	if err != nil {
		return err
	}
	if err := needRoot(c); err != nil {
		return err
	}
	show := newDisplay(c)
	defer show.close()
	for _, name := range names {
		r, err := images.BuiltIn(name)
		if err != nil {
			return usage{err.Error()}
		}
		b, err := lab.BuildBase(c.Context, imageDir(c), r, images.Options{Mirror: c.String("mirror")}, show.tell)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%s is in %s, %d MiB\n", name, b.Dir, b.Bytes()>>20)
	}
	return nil
}

// listedImage is a base image as JSON.
type listedImage struct {
	images.Manifest
	Dir   string `json:"dir"`
	Bytes int64  `json:"bytes"`
}

func runImageList(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	bases, err := images.List(imageDir(c))
	if c.Bool("json") {
		all := []listedImage{}
		for _, b := range bases {
			all = append(all, listedImage{b.Manifest, b.Dir, b.Bytes()})
		}
		if perr := printJSON(c, all); perr != nil {
			return perr
		}
		return err
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, b := range bases {
		fmt.Fprintf(t, "%s\t%s\t%d MiB\tLinux %s\t%d packages\n", b.Recipe, b.ID(), b.Bytes()>>20, b.Kernel, len(b.Packages))
	}
	if ferr := t.Flush(); ferr != nil {
		return ferr
	}
	return err
}

func runImageVerify(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	bases, err := images.List(imageDir(c))
	errs := []error{err}
	for _, b := range bases {
		if err := b.Verify(c.Context); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(c.App.Writer, "%s is whole\n", b.ID())
	}
	return errors.Join(errs...)
}

func runImagePrune(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	if err := needRoot(c); err != nil {
		return err
	}
	var keep []images.Recipe
	if !c.Bool("all") {
		for _, name := range images.Recipes() {
			r, err := images.BuiltIn(name)
			if err != nil {
				return err
			}
			keep = append(keep, r)
		}
	}
	tell := func(what string) { fmt.Fprintln(c.App.ErrWriter, what) }
	pruned, err := images.Prune(c.Context, imageDir(c), keep, tell)
	for _, b := range pruned {
		size := "which could not be read"
		if n := b.Bytes(); n > 0 {
			size = fmt.Sprintf("%d MiB", n>>20)
		}
		fmt.Fprintf(c.App.Writer, "%s removed, %s\n", b.ID(), size)
	}
	return err
}
