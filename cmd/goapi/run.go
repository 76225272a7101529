package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func runCommand(w world) *cobra.Command {
	var c settings
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway",
		Long: `run starts the gateway. It follows the registries, routes requests to the services
that it finds there, and stops on SIGTERM or Ctrl-C when the requests in flight
have ended.

Each flag is also an environment variable: --log-level is GOAPI_LOG_LEVEL.
Repeated values are split at white space.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.configure(cmd.Flags(), w.env); err != nil {
				return err
			}
			log, err := newLogger(w.err, c.logLevel, c.logFormat)
			if err != nil {
				return err
			}
			captureLog(log)
			limitMemory(w.env)
			reloads := make(chan os.Signal, 1)
			signal.Notify(reloads, syscall.SIGHUP) // from the start: it must not end the program
			defer signal.Stop(reloads)
			g, err := newGateway(cmd.Context(), c, w.env, log)
			if interrupted(cmd.Context(), err) {
				return nil
			}
			if err != nil {
				return err
			}
			return errors.Join(g.Run(cmd.Context(), reloads), g.Close())
		},
	}
	c.addListeners(cmd.Flags(), defaultAddress)
	c.addServer(cmd.Flags(), w.env)
	return cmd
}

// interrupted says that an error is only the user's Ctrl-C.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}
