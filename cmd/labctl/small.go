package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

var initCommand = &cli.Command{
	Name:      "init",
	Usage:     "write the built-in lab as a commented file to edit",
	ArgsUsage: "[FILE]",
	Action:    runInit,
}

func runInit(c *cli.Context) error {
	args, err := arguments(c, 0, 1)
	if err != nil {
		return err
	}
	name := append(args, defaultFile)[0]
	_, src := topology.Default()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: it is not overwritten", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(src)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s written; labctl up %s brings it up\n", name, name)
	return nil
}

var schemaCommand = &cli.Command{
	Name:   "schema",
	Usage:  "print the JSON Schema of the lab file",
	Action: runSchema,
}

func runSchema(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	schema, err := topology.Schema()
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, string(schema))
	return nil
}

var versionCommand = &cli.Command{
	Name:   "version",
	Usage:  "print labctl's version",
	Action: runVersion,
}

func runVersion(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, "labctl", lab.Version())
	return nil
}

var completionCommand = &cli.Command{
	Name:   "completion",
	Usage:  "print the completion script for bash: . <(labctl completion)",
	Action: runCompletion,
}

// The library completes when it is called with the words so far and its own flag,
// and flags when the last of the words begins one.
const completion = `_labctl() {
	local current="${COMP_WORDS[COMP_CWORD]}" words
	local -a call=("${COMP_WORDS[@]:0:COMP_CWORD}")
	case $current in
	- | --) call+=(-) ;;
	-*) call+=("$current") ;;
	esac
	words=$("${call[@]}" --generate-bash-completion 2>/dev/null)
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _labctl labctl
`

func runCompletion(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	_, err := fmt.Fprint(c.App.Writer, completion)
	return err
}

var helpCommand = &cli.Command{
	Name:      "help",
	Usage:     "tell of a command",
	ArgsUsage: "[COMMAND…]",
	Action:    runHelp,
}

func runHelp(c *cli.Context) error {
	names, err := arguments(c, 0, -1)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return cli.ShowAppHelp(c)
	}
	parent, commands := c.App.Name, c.App.Commands
	for _, name := range names {
		i := slices.IndexFunc(commands, func(k *cli.Command) bool { return k.HasName(name) })
		if i < 0 {
			return noSuchCommand(commands, name, parent)
		}
		parent, commands = parent+" "+name, commands[i].Subcommands
	}
	return c.App.RunContext(c.Context, slices.Concat([]string{c.App.Name}, names, []string{"--help"}))
}
