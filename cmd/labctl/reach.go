package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

var sshCommand = &cli.Command{
	Name:      "ssh",
	Usage:     "log into a node, or run a command in it, by ssh with the lab's own key",
	ArgsUsage: "NODE [-- COMMAND…]",
	Flags:     []cli.Flag{labFlag},
	Action:    runSSH,
}

func runSSH(c *cli.Context) error {
	b, node, command, err := openNode(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	login, err := lab.Login(node)
	if err != nil {
		return err
	}
	args := append(b.SSHOptions(node), login)
	if len(command) > 0 {
		args = append(append(args, "--"), command...)
	}
	return passOn(c, "ssh", args)
}

var cpCommand = &cli.Command{
	Name:      "cp",
	Usage:     "copy files to or from a node by scp; a path in a node is NODE:PATH",
	ArgsUsage: "FROM… TO",
	Flags:     []cli.Flag{labFlag, &cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "copy folders too"}},
	Action:    runCp,
}

func runCp(c *cli.Context) error {
	paths, err := arguments(c, 2, -1)
	if err != nil {
		return err
	}
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	args, err := scpArguments(b, paths)
	if err != nil {
		return err
	}
	if c.Bool("recursive") {
		args = append([]string{"-r"}, args...)
	}
	return passOn(c, "scp", args)
}

// scpArguments puts a login in the place of each node. All paths in nodes are of
// one node: scp knows one host key alias.
func scpArguments(b lab.Build, paths []string) ([]string, error) {
	var node topology.Node
	for i, p := range paths {
		name, path, remote := strings.Cut(p, ":")
		if !remote || strings.Contains(name, "/") {
			continue
		}
		m, err := b.Machine(name)
		if err != nil {
			return nil, err
		}
		if node.Name != "" && node.Name != name {
			return nil, usage{"copy between two nodes in two steps, through this host"}
		}
		node = m.Node
		login, err := lab.Login(node)
		if err != nil {
			return nil, err
		}
		paths[i] = login + ":" + path
	}
	if node.Name == "" {
		return nil, usage{"no path is in a node: write it as NODE:PATH"}
	}
	return append(append(b.SSHOptions(node), "--"), paths...), nil
}

var execCommand = &cli.Command{
	Name:      "exec",
	Usage:     "run a command in a node through its guest agent, without a network; nothing is on its standard input",
	ArgsUsage: "NODE -- COMMAND…",
	Flags:     []cli.Flag{labFlag},
	Action:    runExec,
}

func runExec(c *cli.Context) error {
	b, node, command, err := openNode(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	if len(command) == 0 {
		return usage{"labctl exec takes NODE -- COMMAND…"}
	}
	r, err := domains.Agent{On: b.On, Node: node}.Exec(c.Context, nil, command...)
	if err != nil {
		return err
	}
	fmt.Fprint(c.App.Writer, forReader(c.App.Writer, r.Out))
	fmt.Fprint(c.App.ErrWriter, forReader(c.App.ErrWriter, r.Err))
	if r.Code != 0 {
		return status(r.Code)
	}
	return nil
}

// forReader is a guest's output as it is, or made harmless where it goes to a terminal.
func forReader(w any, text []byte) string {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return host.Printable(text)
	}
	return string(text)
}

var consoleCommand = &cli.Command{
	Name:      "console",
	Usage:     "attach to a node's serial console; Ctrl-] leaves it",
	ArgsUsage: "NODE",
	Flags:     []cli.Flag{labFlag},
	Action:    runConsole,
}

func runConsole(c *cli.Context) error {
	b, node, rest, err := openNode(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	if len(rest) > 0 {
		return usage{"labctl console takes NODE"}
	}
	m, err := b.Machine(node.Name)
	if err != nil {
		return err
	}
	if f, ok := c.App.Reader.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintln(c.App.ErrWriter, "Ctrl-] leaves the console")
		before, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(f.Fd()), before) }()
	}
	return m.Attach(c.Context, c.App.Reader, c.App.Writer)
}

// openNode reads NODE [--] COMMAND… and opens the node's lab, which the caller closes.
func openNode(c *cli.Context) (b lab.Build, node topology.Node, command []string, err error) {
	args := c.Args().Slice()
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return b, node, nil, usage{"labctl " + c.Command.Name + " takes " + c.Command.ArgsUsage}
	}
	command = args[1:]
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	} else if len(command) > 0 && strings.HasPrefix(command[0], "-") {
		return b, node, nil, usage{fmt.Sprintf("flags go before NODE: labctl %s %s %s", c.Command.Name, command[0], args[0])}
	}
	b, err = openLab(c)
	if err != nil {
		return b, node, nil, err
	}
	m, err := b.Machine(args[0])
	if err != nil {
		b.On.Close()
	}
	return b, m.Node, command, err
}

// passOn runs a program in labctl's place and passes its exit status on.
func passOn(c *cli.Context, program string, args []string) error {
	cmd := exec.CommandContext(c.Context, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.App.Reader, c.App.Writer, c.App.ErrWriter
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() > 0 {
		return status(ended.ExitCode())
	}
	return err
}
