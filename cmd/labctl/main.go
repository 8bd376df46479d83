// Command labctl builds a network-measurement lab on a KVM host from one file,
// and takes it away again without a trace.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

func main() {
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is labctl from its words to its exit code. The first interrupt ends the
// work, which is then undone; a second one ends labctl at once.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // who reads what labctl says may go: the work, or its undoing, goes on
	unix.Umask(0o022)                                       // QEMU passes through labctl's folders
	err := app(stdin, stdout, stderr).RunContext(ctx, args)
	code := exitCode(ctx, err)
	if err != nil && err.Error() != "" && !errors.As(err, new(told)) {
		fmt.Fprintf(stderr, "labctl: %s\n", host.Printable([]byte(err.Error())))
	}
	return code
}

func app(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	commands := []*cli.Command{
		upCommand, downCommand, resetCommand, planCommand, graphCommand, statusCommand, listCommand, gcCommand, checkCommand, doctorCommand, verifyCommand, impairCommand,
		runCommand, reportCommand, flowsCommand,
		sshCommand, execCommand, consoleCommand, cpCommand, captureCommand,
		imageCommand, initCommand, schemaCommand, versionCommand, completionCommand, helpCommand,
	}
	furnish(commands)
	return &cli.App{
		Name:                 "labctl",
		Usage:                "build a network-measurement lab on a KVM host from one file, and take it away without a trace",
		Description:          exitCodes,
		Version:              lab.Version(),
		HideVersion:          true, // labctl version tells it
		HideHelpCommand:      true, // helpCommand stands in its place
		Reader:               stdin,
		Writer:               stdout,
		ErrWriter:            stderr,
		Suggest:              true,
		EnableBashCompletion: true,
		ExitErrHandler:       func(*cli.Context, error) {}, // exit codes are decided in run alone
		OnUsageError:         usageError,
		Action:               noCommand,
		Flags:                []cli.Flag{connectFlag, dirFlag, cli.HelpFlag},
		Commands:             commands,
	}
}

// furnish gives every command what the library gives to the first level alone.
func furnish(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = usageError
		c.HideHelpCommand = true
		furnish(c.Subcommands)
	}
}
