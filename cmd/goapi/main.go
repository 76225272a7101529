// Command goapi is an API gateway that is driven by service discovery.
//
// goapi run starts the gateway, goapi demo shows it with sample services, and
// goapi help lists the commands that talk to a running one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/goapi-dev/goapi/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	code := run(ctx, os.Args[1:], world{os.Stdin, os.Stdout, os.Stderr, os.LookupEnv})
	stop()
	os.Exit(code)
}

// world is what the command sees of the system around it.
type world struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
}

// An exitError ends the command with a status of its own, and without a word.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// oneLine is an error as a terminal may show it: services and servers have a
// word in it.
func oneLine(err error) string {
	const most = 1000
	s := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(s) > most {
		s = s[:most] + "…"
	}
	return printable(s)
}

// newRoot returns the command line.
func newRoot(w world) *cobra.Command {
	root := &cobra.Command{
		Use:   "goapi",
		Short: "An API gateway driven by service discovery",
		Long: `goapi is an API gateway that is driven by service discovery: services announce
themselves and their HTTP routes in a registry, and the gateway routes to them.

Try it:  goapi demo`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd, w.env) },
	}
	root.AddCommand(runCommand(w), checkCommand(w), demoCommand(w), servicesCommand(w), routesCommand(w), explainCommand(w), exposedCommand(w),
		callCommand(w), registerCommand(w), publishCommand(w), subscribeCommand(w),
		dlqCommand(w), keyCommand(w), versionCommand(w))
	return root
}

// run executes the command line and returns the status to exit with.
func run(ctx context.Context, args []string, w world) int {
	root := newRoot(w)
	root.SetArgs(args)
	root.SetIn(w.in)
	root.SetOut(w.out)
	root.SetErr(w.err)

	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	if wrong, ok := errors.AsType[*config.Error](err); ok { // a line for each mistake
		for line := range strings.SplitSeq(wrong.Error(), "\n") {
			fmt.Fprintln(w.err, "goapi:", printable(line))
		}
		return 1
	}
	fmt.Fprintln(w.err, "goapi:", strings.TrimPrefix(oneLine(err), "goapi: "))
	return 1
}
