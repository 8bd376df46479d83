package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/images"
)

var imageCommand = &cli.Command{
	Name:  "image",
	Usage: "build, list, compare, carry, verify and prune the base images that nodes stand on",
	Subcommands: []*cli.Command{
		{
			Name: "build", Usage: "build the base image of each recipe, unless it is there and whole; or one of an Alpine ISO", ArgsUsage: "RECIPE…",
			Description: "A RECIPE with a / or ending in .yaml is a file; the others are labctl's own: " + strings.Join(images.Recipes(), ", ") + ".",
			Flags: append([]cli.Flag{
				&cli.StringFlag{Name: "mirror", EnvVars: []string{"LABCTL_MIRROR"}, Usage: "`URI` of a package mirror, or of Alpine a folder; the host's own sources, or Alpine's, where not given"},
				eventsFlag,
			}, isoFlags...),
			Action: runImageBuild,
		},
		{Name: "list", Usage: "list the base images in the cache", Flags: []cli.Flag{jsonFlag}, Action: runImageList},
		{Name: "verify", Usage: "compare every file of the base images with what was built", Action: runImageVerify},
		{Name: "lock", Usage: "print the lock file that pins what the base image of a recipe has", ArgsUsage: "RECIPE", Action: runImageLock},
		{
			Name: "diff", Usage: "compare what two base images are made of; exits 1 where they differ", ArgsUsage: "IMAGE IMAGE",
			Description: "An IMAGE is a recipe or an id, as image list prints them, an exported file, or a manifest; those with a / or ending in .tar or .json are files.",
			Flags:       []cli.Flag{jsonFlag}, Action: runImageDiff,
		},
		{
			Name: "export", Usage: "write a base image to one file, with its kernel and its manifest", ArgsUsage: "RECIPE or ID",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "o", Usage: "the `FILE` to write, which must not be there; - is stdout; ID.tar in this folder where not given"},
			},
			Action: runImageExport,
		},
		{
			Name: "import", Usage: "put a base image that export wrote into the cache", ArgsUsage: "FILE",
			Description: "FILE is - for stdin. Everything is compared with the file's own manifest: import from whom you trust.",
			Flags:       []cli.Flag{eventsFlag}, Action: runImageImport,
		},
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

// readRecipe is the recipe of that name, or in that file.
func readRecipe(argument string) (images.Recipe, error) {
	if images.IsRecipeFile(argument) {
		return images.ReadRecipe(argument)
	}
	r, err := images.BuiltIn(argument)
	if err != nil {
		return r, usage{err.Error() + "; a file has a / in its name or ends in .yaml"}
	}
	return r, nil
}

// findImage is the base image in the cache that a recipe or an id stands for.
func findImage(c *cli.Context, argument string) (images.Base, error) {
	dir := imageDir(c)
	if images.IsRecipeFile(argument) || slices.Contains(images.Recipes(), argument) {
		r, err := readRecipe(argument)
		if err != nil {
			return images.Base{}, err
		}
		return images.Find(dir, r)
	}
	all, err := images.List(dir)
	var found []images.Base
	var ids []string
	for _, b := range all {
		if b.ID() == argument || b.Recipe == argument {
			found, ids = append(found, b), append(ids, b.ID())
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return images.Base{}, usage{fmt.Sprintf("%s is the name of %d base images: %s", argument, len(found), strings.Join(ids, ", "))}
	default:
		return images.Base{}, errors.Join(fmt.Errorf("there is no base image %s\n  labctl image list", argument), err)
	}
}
