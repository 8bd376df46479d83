package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

var (
	connectFlag = &cli.StringFlag{Name: "connect", EnvVars: []string{"LABCTL_CONNECT"}, Usage: "libvirt's `URI`", Value: "qemu:///system"}
	dirFlag     = &cli.StringFlag{Name: "dir", EnvVars: []string{"LABCTL_DIR"}, Usage: "`FOLDER` of the image cache and of the labs' disks", Value: host.DefaultDir, Action: plainDir}
	labFlag     = &cli.StringFlag{Name: "lab", Usage: "`NAME` of the lab; not needed where there is only one"}
	jsonFlag    = &cli.BoolFlag{Name: "json", Usage: "print JSON"}
	eventsFlag  = &cli.BoolFlag{Name: "events", Usage: "tell of the work as JSON lines"}
)

// plainDir refuses a folder whose name means more than itself to a program that is
// given it, such as % and ${…} to ssh.
func plainDir(_ *cli.Context, dir string) error {
	if strings.ContainsAny(dir, "\"'\\%$") || strings.ContainsFunc(dir, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return usage{fmt.Sprintf("--dir is %q\n  expected a folder without control characters, quotes, \\, %% and $ in its name", dir)}
	}
	return nil
}

// connect opens the host.
func connect(c *cli.Context) (*host.Host, error) {
	dir, err := labctlDir(c)
	if err != nil {
		return nil, err
	}
	return host.Connect(c.String("connect"), dir)
}

// labctlDir is labctl's folder; libvirt and base images know no working folder.
func labctlDir(c *cli.Context) (string, error) { return filepath.Abs(c.String("dir")) }

// toLook opens the host for what changes nothing, and sees what only root does.
func toLook(c *cli.Context) (*host.Host, error) {
	if err := needSight(c); err != nil {
		return nil, err
	}
	return connect(c)
}

func needSight(c *cli.Context) error {
	if euid() == 0 || strings.HasPrefix(c.String("connect"), "test:") {
		return nil
	}
	return host.Unfit{
		What: c.Command.HelpName + " looks at firewall tables and labs' marks, which only root sees",
		Fix:  "sudo " + strings.Join(os.Args, " "),
	}
}

// asRoot opens the host for what changes it.
func asRoot(c *cli.Context) (*host.Host, error) {
	if err := needRoot(c); err != nil {
		return nil, err
	}
	return connect(c)
}

// euid is who labctl runs as.
var euid = os.Geteuid

func needRoot(c *cli.Context) error {
	if euid() == 0 {
		return nil
	}
	return host.Unfit{
		What: c.Command.HelpName + " changes the host and runs as root",
		Fix:  "sudo " + strings.Join(os.Args, " "),
	}
}

// arguments returns the command's arguments: at least least and at most most of
// them (-1: any number). The library reads no flags behind the first argument;
// they are refused rather than passed over.
func arguments(c *cli.Context, least, most int) ([]string, error) {
	args := c.Args().Slice()
	for _, a := range args {
		if strings.HasPrefix(a, "-") && a != "-" {
			return nil, usage{fmt.Sprintf("flags go before arguments: %s %s …", c.Command.HelpName, a)}
		}
	}
	if len(args) < least || most >= 0 && len(args) > most {
		return nil, usage{fmt.Sprintf("%d arguments where %s takes %s", len(args), c.Command.HelpName, argumentsText(c))}
	}
	return args, nil
}

func argumentsText(c *cli.Context) string {
	if c.Command.ArgsUsage == "" {
		return "none"
	}
	return c.Command.ArgsUsage
}

// defaultFile is what is read when no file is named.
const defaultFile = "lab.yaml"

// readFile reads the lab file that is the command's argument, or lab.yaml, or the built-in lab.
func readFile(c *cli.Context) (f topology.File, from string, err error) {
	args, err := arguments(c, 0, 1)
	if err != nil {
		return topology.File{}, "", err
	}
	name := defaultFile
	if len(args) == 1 {
		name = args[0]
	}
	src, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && len(args) == 0 {
		name, src = topology.Default()
		err = nil
	}
	if err != nil {
		return topology.File{}, "", err
	}
	f, err = load(name, src)
	return f, name, err
}

func load(name string, src []byte) (topology.File, error) {
	return topology.Load(name, src, topology.Known{Recipes: images.Recipes()})
}

// isFile says whether an argument that may be a lab's name or a file is a file.
func isFile(argument string) bool {
	return strings.Contains(argument, "/") || strings.HasSuffix(argument, ".yaml")
}

// labName is the lab which a command is about: the one that --lab, its name or
// its file says, or the only one there is.
func labName(c *cli.Context, h *host.Host, argument string) (string, error) {
	switch {
	case argument == "" && c.String("lab") == "":
		return lab.Only(h)
	case argument == "":
		return validName(c.String("lab"))
	case c.String("lab") != "":
		return "", usage{"name the lab once: by --lab or as the argument"}
	case !isFile(argument):
		return validName(argument)
	}
	src, err := os.ReadFile(argument)
	if err != nil {
		return "", err
	}
	f, err := load(argument, src)
	return f.Name, err
}

func validName(name string) (string, error) {
	if !topology.ValidName(name) {
		return "", usage{fmt.Sprintf("%q is no lab's name (lower-case letters, digits and dashes), nor a file (with a / or ending in .yaml)", name)}
	}
	return name, nil
}

// openLab opens, as root, the lab that --lab names, or the only one. The caller closes its host.
func openLab(c *cli.Context) (lab.Build, error) {
	h, err := asRoot(c)
	if err != nil {
		return lab.Build{}, err
	}
	var b lab.Build
	name, err := labName(c, h, "")
	if err == nil {
		b, err = lab.Open(h, name)
	}
	if err != nil {
		h.Close()
	}
	return b, err
}
